"""Running flows in tests: what came out, and what Prefect saw of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from make_recordings import eeg_stream, write_xdf
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from prefect import Flow

WINDOWS = {"window_size_s": 1.0}


@dataclass(frozen=True)
class Run:
    """One flow run.

    Parameters
    ----------
    state
        Its final state.
    artifacts
        Key (or type, where there is none) of each artifact → its data.
    descriptions
        The same → its description.
    """

    state: Any
    artifacts: dict[str, Any]
    descriptions: dict[str, str]

    def task(self, name: str) -> str:
        """Return the name of a task run's final state, when the API has heard of it."""
        wait_until(lambda: name in self.finals(), f"the task run {name!r}")
        return self.finals()[name]

    def finals(self) -> dict[str, str]:
        """Return the names of the task runs that have ended with those of their final states."""
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[self.state.state_details.flow_run_id]))
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=wanted)
        return {task.name: task.state.name for task in found if task.state and task.state.is_final()}

    @property
    def result(self) -> Any:
        """What the flow returned, or the error it raised."""
        return self.state.result(raise_on_failure=False)


def run(flow: Flow[Any, Any], **parameters: Any) -> Run:
    """Run a flow to its end, whatever that is, and ask the API what it saw."""
    state = flow(**parameters, return_state=True)
    wanted = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[wanted]))
        )
    named = {artifact.key or artifact.type or "": artifact for artifact in artifacts}
    return Run(
        state,
        {name: artifact.data for name, artifact in named.items() if name},
        {name: artifact.description or "" for name, artifact in named.items() if name},
    )


def record(folder: Path, session: str, *, seconds: int = 4, first: int = 0, rate: float = 32.0) -> Path:
    """Write a session of one EEG recording whose samples count from `first`."""
    t = 100 + np.arange(int(seconds * rate)) / rate
    x = first + np.arange(len(t))[:, None] + np.array([0, 1000])
    place = folder / session
    place.mkdir(parents=True, exist_ok=True)
    write_xdf(place / "recording.xdf", [eeg_stream(t, x, rate=rate)])
    return place


def survey(folder: Path, nights: int, *, objects: int = 3, placed: bool = False) -> dict[str, Any]:
    """Write one CSV catalogue per night; return the specification. Object i is i mag in night 0, fainter later."""
    folder.mkdir(parents=True, exist_ok=True)
    for night in range(nights):
        rows = "".join(f"{i},{6000 + night},{i + night / 8},0.125,{i},{-i}\n" for i in range(objects))
        (folder / f"night_{night:03}.csv").write_text(f"id,mjd,mag,err,ra,dec\n{rows}")
    return ({"ra": "ra", "dec": "dec"} if placed else {}) | {
        "object_id": "id",
        "time": "mjd",
        "time_scale": "utc",
        "epoch": {"filename": r"night_(\d+)"},
        "measurements": {"g": {"value": "mag", "error": "err"}},
        "unit": "mag",
    }


OF_A_RUN = {"write_id", "store", "backup", "undo", "seconds"}
"""What is a receipt's own: its name and what is called after it, its place, its time. docs/prefect.md says so."""


def receipts_in(store: Path) -> list[dict[str, Any]]:
    """Return the receipts of a store without what is each one's own, in the order of its generations."""
    found = [json.loads(path.read_text()) for path in (store / ".aggrade" / "receipts").glob("*.json")]
    found.sort(key=lambda receipt: receipt["generation"])
    return [{name: value for name, value in one.items() if name not in OF_A_RUN} for one in found]


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder with its size and time of change."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


def hold_intent(store: Path) -> None:
    """Make a store look as if a writer died in it: its intent is held by a process that is gone."""
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    path = store / ".aggrade" / "intent.json"
    intent = json.loads(path.read_text())
    intent["state"] = "held"
    intent["owner"]["process"] = int(gone.stdout)
    path.write_text(json.dumps(intent))


def lose_chunk(store: Path, row: int | None = None) -> None:
    """Remove one chunk of the EEG, of a row if that is asked for."""
    folder = store / "eeg" / "c" if row is None else store / "eeg" / "c" / str(row)
    next(
        path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")
    ).unlink()
