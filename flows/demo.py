"""The demonstration: everything aggrade does, once, on this machine, in one folder.

Killed at any moment and started again in the same folder, it goes on; started once more, it has nothing to do.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from aggrade.errors import AggradeError, BadInput, Problem
from flows import demo_process
from flows.demo_report import draw_pictures, show_stores, states
from flows.demo_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrade.catalogues import CatalogueSpec
    from aggrade.window_spec import WindowSpec
    from flows.demo_report import StoreState
    from flows.demo_servers import PrefectServer, S3Server

__all__ = ["DemoJob", "demo"]

_BUCKET = "demo"
_DRAIN_SECONDS = 10.0
_ANY_WINDOWS: dict[str, Any] = {"window_size_s": 2.0}


@dataclass(frozen=True)
class DemoJob:
    """What the demonstration runs on.

    Parameters
    ----------
    store
        The dataset root.
    recordings, windows
        Recordings, and how they are cut.
    catalogues, spec
        Catalogues, and what their columns mean.
    periods
        Period in days of each object of which it is known.
    """

    store: str
    recordings: str
    windows: WindowSpec
    catalogues: str
    spec: CatalogueSpec
    periods: dict[int, float] = field(default_factory=dict)


def demo(
    *,
    folder: Path = Path("demo"),
    store: Annotated[str | None, Parameter(env_var="DEMO_STORE")] = None,
    recordings: Annotated[str | None, Parameter(env_var="DEMO_RECORDINGS")] = None,
    catalogues: Annotated[str | None, Parameter(env_var="DEMO_CATALOGUES")] = None,
    window_spec: Annotated[Path | None, Parameter(env_var="DEMO_WINDOW_SPEC")] = None,
    catalogue_spec: Annotated[Path | None, Parameter(env_var="DEMO_CATALOGUE_SPEC")] = None,
    hold: bool = False,
    end_with_parent: bool = False,
) -> None:
    """Run everything once, on made-up recordings and catalogues, and say what lies where.

    Parameters
    ----------
    folder
        Where everything lies: inputs, servers, stores, pictures.
    store
        A folder or an s3:// URL of your own for the stores, instead of the demonstration's own S3 server.
    recordings
        A folder of recordings of your own, one child a session.
    catalogues
        A folder of catalogues of your own.
    window_spec
        A JSON file that says how your recordings are cut.
    catalogue_spec
        A JSON file that says which columns of your catalogues hold what.
    hold
        Leave the servers running at the end, to look at the runs in the Prefect UI and at the stores, until Ctrl-C.
    end_with_parent
        End when the process that started this one does.
    """
    started = time.monotonic()
    own = _own_input(recordings, window_spec, catalogues, catalogue_spec)
    if end_with_parent:
        demo_process.end_with_parent()
    demo_process.end_tidily_when_asked()
    folder, terminal = folder.absolute(), Terminal()
    terminal.title("aggrade: recordings and catalogues become layers of Zarr stores")
    environment = demo_process.demo_environment(os.environ, folder, own_store=store is None)
    with (
        demo_process.one_run_in(folder),
        demo_process.apply_environment(environment),
        _starting(folder, own_store=store is None) as servers,
    ):
        job = _job(folder, terminal, store, own)
        with terminal.step("start Prefect" + ("" if store else " and an S3 server")):
            importlib.import_module("flows.pipeline")
            prefect, s3 = servers()
        os.environ.update(prefect.environment | (s3.environment if s3 else {}))
        ready = time.monotonic()
        _work(terminal, folder, job, prefect.api_url)
        now = time.monotonic()
        terminal.say(
            f"{now - started:.1f} s in all, {ready - started:.1f} s of them to get ready.", style="dim"
        )
        if hold:
            _hold(terminal, prefect, s3)


@contextmanager
def _starting(
    folder: Path, *, own_store: bool
) -> Iterator[Callable[[], tuple[PrefectServer, S3Server | None]]]:
    """Begin to start the servers in the background; what is yielded waits for them. They end with the context."""
    from flows.demo_servers import prefect_server, s3_server

    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        prefect = pool.submit(stack.enter_context, prefect_server(folder / "prefect"))
        s3 = pool.submit(stack.enter_context, s3_server(folder / "s3", [_BUCKET])) if own_store else None
        yield lambda: (prefect.result(), s3.result() if s3 else None)


def _own_input(
    recordings: str | None, window_spec: Path | None, catalogues: str | None, catalogue_spec: Path | None
) -> dict[str, Any]:
    """Return the part of a `DemoJob` that the user brings, and refuse what can't work."""
    if catalogues and not catalogue_spec:
        raise BadInput(_no_spec(catalogues))
    own: dict[str, Any] = {}
    if recordings:
        from aggrade.window_spec import WindowSpec

        own |= {"recordings": recordings, "windows": WindowSpec.of(_read(window_spec) or _ANY_WINDOWS)}
    if catalogues:
        from aggrade.catalogues.spec import CatalogueSpec, specification

        own |= {"catalogues": catalogues, "spec": specification(CatalogueSpec, _read(catalogue_spec))}
    return own


def _job(folder: Path, terminal: Terminal, store: str | None, own: dict[str, Any]) -> DemoJob:
    """Return what the demonstration runs on; make what the user doesn't bring."""
    if {"recordings", "catalogues"} <= own.keys():
        return DemoJob(_root(store), **own)
    from aggrade.catalogues.spec import CatalogueSpec, specification
    from aggrade.window_spec import WindowSpec
    from flows.demo_inputs import CATALOGUE_SPEC, WINDOW_SPEC, make_inputs

    with terminal.step(f"make recordings and catalogues in {folder / 'inputs'}"):
        inputs = make_inputs(folder / "inputs")
    terminal.say(f"    {len(inputs.made)} files made" if inputs.made else "    they are there", style="dim")
    made: dict[str, Any] = {
        "recordings": str(inputs.recordings),
        "windows": WindowSpec.of(WINDOW_SPEC),
        "catalogues": str(inputs.catalogues),
        "spec": specification(CatalogueSpec, CATALOGUE_SPEC),
        "periods": {} if "catalogues" in own else inputs.periods,
    }
    return DemoJob(_root(store), **(made | own))


def _root(store: str | None) -> str:
    if store is None:
        return f"s3://{_BUCKET}/data"
    return store if "://" in store else str(Path(store).absolute())


def _read(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        spec: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        problem = Problem(str(path), str(error), "a JSON file", "name one that can be read", "demo-spec")
        raise BadInput(problem) from error
    return spec


def _no_spec(catalogues: str) -> Problem:
    return Problem(
        f"DEMO_CATALOGUES={catalogues}",
        "no specification of their columns",
        "a JSON file in DEMO_CATALOGUE_SPEC",
        "write one as docs/operations.md shows",
        "demo-spec",
    )


def _work(terminal: Terminal, folder: Path, job: DemoJob, api_url: str) -> None:
    """Run the pipeline and say what lies where, also of a run of which a part failed."""
    before = states(job.store)
    try:
        with terminal.step("run the pipeline"):
            _run_pipeline(job, api_url)
    except AggradeError:
        _report(terminal, folder, job, before)
        raise
    _report(terminal, folder, job, before)


def _run_pipeline(job: DemoJob, api_url: str) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.pipeline import pipeline
    from flows.terminal import at_terminal
    from tasks.progress import terminal

    settings = {PREFECT_API_URL: api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    with temporary_settings(settings), at_terminal(terminal()):
        try:
            pipeline(
                recordings=job.recordings,
                catalogues=job.catalogues,
                store=job.store,
                windows=job.windows,
                spec=job.spec,
            )
        finally:
            _send_what_waits()


def _send_what_waits() -> None:
    """Send Prefect what it has not been told yet, while its server lives; later it would be tried for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_DRAIN_SECONDS)


def _report(terminal: Terminal, folder: Path, job: DemoJob, before: Mapping[str, StoreState]) -> None:
    from flows.demo_reads import show_reads

    after = states(job.store)
    show_stores(terminal, job.store)
    terminal.title("What lies where")
    changed = [path for path in after if after[path] != before.get(path)]
    if changed:
        terminal.say(f"Written: {', '.join(changed)}.", style="bold")
    else:
        terminal.say("Nothing had to be done: every layer lies there already.", style="bold")
    pictures = draw_pictures(job.store, folder / "pictures", job.periods)
    for what, where in (
        ("stores", job.store),
        ("receipts", f"{job.store}/<store>/.aggrade/receipts/"),
        ("recordings", job.recordings),
        ("catalogues", job.catalogues),
        *(("picture" if drawn else "picture, as it was", str(path)) for path, drawn in pictures.items()),
    ):
        terminal.say(f"{what:20} {where}")
    terminal.title("What a read costs, as it was written and as it was rechunked")
    show_reads(terminal, job.store)


def _hold(terminal: Terminal, prefect: PrefectServer, s3: S3Server | None) -> None:
    """Leave the servers running until the user has looked enough."""
    terminal.title("The servers stay until Ctrl-C")
    terminal.say(f"Prefect: {prefect.ui_url}")
    for name, value in (s3.environment if s3 else {}).items():
        terminal.say(f"export {name}={value}")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()
