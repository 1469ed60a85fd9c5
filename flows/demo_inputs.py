"""The demonstration's inputs, as files in real formats, and the specifications that fit them.

Every file is a function of its name alone, and a file that lies in its place is whole: it was written under
another name first. So whoever is interrupted makes what is missing and leaves the rest untouched.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows import demo_catalogues, demo_recordings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CATALOGUE_SPEC", "WINDOW_SPEC", "DemoInputs", "make_inputs"]

logger = logging.getLogger(__name__)

WINDOW_SPEC: dict[str, Any] = {
    "window_size_s": 2.0,
    "mapping": {"rest": 0, "tap left": 1, "tap right": 2},
    "label": "majority",
    "hold_markers": True,
}
CATALOGUE_SPEC: dict[str, Any] = {
    "object_id": "objid",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_format": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": r"survey_(\d{4}-\d{2}-\d{2})"},
    "measurements": {
        band: {
            "value": f"{band}_mag",
            "error": f"{band}_err",
            "limit": f"{band}_limit",
            "flags": f"{band}_flags",
            "unit": "mag",
        }
        for band in demo_catalogues.BANDS
    },
    "value": "mag",
}
_PARTIAL = ".partial"


@dataclass(frozen=True)
class DemoInputs:
    """Where the inputs lie, and what is true of them.

    Parameters
    ----------
    recordings
        Folder with one folder per session.
    catalogues
        Folder with one catalogue per night.
    sessions
        Ids of the sessions.
    periods
        Id of each variable star → its period in days.
    made
        Files that this call wrote.
    """

    recordings: Path
    catalogues: Path
    sessions: tuple[str, ...]
    periods: dict[int, float]
    made: tuple[Path, ...]


def _files(folder: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    for session in demo_recordings.SESSIONS:
        for name in session.files:
            write = partial(demo_recordings.write_session_file, session, name)
            yield folder / "recordings" / session.name / name, write
    for index, name in enumerate(demo_catalogues.file_names()):
        yield folder / "catalogues" / name, partial(demo_catalogues.write_catalogue, index)


def _make(path: Path, write: Callable[[Path], None], partial_folder: Path) -> bool:
    if path.exists():
        return False
    partial_folder.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = partial_folder / f"{os.getpid()}-{path.name}"
    write(unfinished)
    unfinished.replace(path)
    return True


def make_inputs(folder: str | Path) -> DemoInputs:
    """Make what is missing of the demonstration's inputs.

    Some 10 MB: three sessions with EEG and fNIRS, two as XDF (one with a gap in its EEG, one in its fNIRS) and
    one as EDF with SNIRF; one session with EEG only; and 32 catalogues of a field across RA 0, FITS and Parquet
    by turns.

    Parameters
    ----------
    folder
        Where the folders ``recordings`` and ``catalogues`` lie or shall lie.
    """
    root = Path(folder)
    made = tuple(path for path, write in _files(root) if _make(path, write, root / _PARTIAL))
    if (root / _PARTIAL).exists():
        shutil.rmtree(root / _PARTIAL)
    logger.info("made %d of the demonstration's %d input files", len(made), sum(1 for _ in _files(root)))
    return DemoInputs(
        recordings=root / "recordings",
        catalogues=root / "catalogues",
        sessions=tuple(session.name for session in demo_recordings.SESSIONS),
        periods=demo_catalogues.periods(),
        made=made,
    )
