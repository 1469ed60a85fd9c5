"""EEG-BIDS and NIRS-BIDS datasets (https://bids-specification.readthedocs.io): what their files are called.

One session is what was recorded under the same entities: ``sub-01/ses-a/eeg/sub-01_ses-a_task-x_run-1_eeg.edf``
and ``sub-01/ses-a/nirs/sub-01_ses-a_task-x_run-1_nirs.snirf`` are the session ``sub-01_ses-a_task-x_run-1``, whose
place is ``sub-01/ses-a/sub-01_ses-a_task-x_run-1`` below the dataset. All that lies outside of the folders of
subjects (sourcedata, derivatives, code, stimuli) is left alone, but for tables that the folders inherit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DESCRIPTION", "SUBJECTS", "BidsPlace", "is_recording", "place_of", "places_in"]

DESCRIPTION = "dataset_description.json"
SUBJECTS = "sub-"

_RECORDING = re.compile(
    r"(?P<folder>(?P<sub>sub-[^/_]+)(?:/(?P<ses>ses-[^/_]+))?)/(?P<kind>eeg|nirs)/"
    r"(?P<label>(?P=sub)(?:_[A-Za-z]+-[^/_]+)*)_(?P=kind)\.[^/]+"
)
_PLACE = re.compile(
    r"(?:(?P<root>.*)/)?(?P<folder>(?P<sub>sub-[^/_]+)(?:/ses-[^/_]+)?)/(?P<label>(?P=sub)(?:_[A-Za-z]+-[^/_]+)*)"
)
_TABLE = re.compile(
    r"(?:(?P<folder>.*)/)?(?P<entities>(?:[A-Za-z]+-[^/_]+_)*)(?P<suffix>events|channels)\.tsv"
)
_DESCRIBING = (".json", ".tsv", ".tsv.gz")
_INHERITED = ("ses-", "task-", "acq-", "run-", "rec-", "events.", "channels.")


@dataclass(frozen=True, slots=True)
class BidsPlace:
    """Where a session of a dataset lies.

    Parameters
    ----------
    root
        The dataset.
    folder
        The folder of the subject, or of its session, below it.
    label
        The entities, as in file names.
    """

    root: str
    folder: str
    label: str

    @property
    def url(self) -> str:
        """What names the session as a source."""
        return f"{self.root}/{self.folder}/{self.label}"

    @property
    def scans(self) -> str:
        """Name of the table that says when each file was recorded."""
        return f"{self.folder}/{self.folder.replace('/', '_')}_scans.tsv"

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Beginnings of the names that may belong to the session."""
        subject = self.folder.partition("/")[0]
        return (f"{self.folder}/", f"{subject}/{subject}_", *_INHERITED)

    def own(self, names: Iterable[str]) -> list[str]:
        """Return the recordings of the session, and what belongs to them by name."""
        wanted = _same(self.label)
        return [name for name in names if (found := _parsed(name)) and _same(found[1]) == wanted]

    def table(self, names: Iterable[str], recording: str, suffix: str) -> str | None:
        """Return the table that holds for a recording: the nearest to it, of those the one that says most.

        Parameters
        ----------
        names
            All names of the dataset that may belong to the session.
        recording
            Name of the recording.
        suffix
            ``"events"`` or ``"channels"``.
        """
        entities = set(recording.rpartition("/")[2].rpartition("_")[0].split("_"))
        fitting = []
        for name in names:
            match = _TABLE.fullmatch(name)
            if match is None or match["suffix"] != suffix:
                continue
            folder, own = match["folder"] or "", set(filter(None, match["entities"].split("_")))
            if own <= entities and f"{recording}/".startswith(f"{folder}/" if folder else ""):
                fitting.append((folder.count("/") + bool(folder), len(own), name))
        return max(fitting)[2] if fitting else None

    def files(self, names: Iterable[str]) -> list[str]:
        """Return all names that the session depends on: recordings, tables, and the table of scans."""
        names = list(names)
        own = self.own(names)
        tables = {self.table(names, name, suffix) for name in own for suffix in ("events", "channels")}
        return [name for name in names if name in {*own, *tables, self.scans}]

    def scan(self, recording: str) -> str:
        """Return what a recording is called in the table of scans."""
        return recording.removeprefix(f"{self.folder}/")


def is_recording(name: str) -> bool:
    """Tell whether a file of a dataset may be a recording of EEG or fNIRS, by its name."""
    return _parsed(name) is not None


def place_of(url: str) -> BidsPlace | None:
    """Return the place that a URL may name; None if it can be no session of a dataset."""
    match = _PLACE.fullmatch(url)
    if match is None:
        return None
    root = match["root"]
    return BidsPlace("." if root is None else root, match["folder"], match["label"])


def places_in(root: str, recordings: Iterable[str]) -> list[BidsPlace]:
    """Return the sessions of a dataset, each once.

    Parameters
    ----------
    root
        The dataset.
    recordings
        Names of the recordings in it.
    """
    found: dict[tuple[str, frozenset[str]], BidsPlace] = {}
    for name in sorted(recordings):
        if parsed := _parsed(name):
            folder, label = parsed
            found.setdefault((folder, _same(label)), BidsPlace(root, folder, label))
    return list(found.values())


def _parsed(name: str) -> tuple[str, str] | None:
    """Return folder and entities of a recording's name."""
    match = None if name.endswith(_DESCRIBING) else _RECORDING.fullmatch(name)
    return (match["folder"], match["label"]) if match else None


def _same(label: str) -> frozenset[str]:
    """Return entities so that they can be compared: their order, and leading zeros of a run, do not matter."""
    return frozenset(_entities(label))


def _entities(label: str) -> Iterator[str]:
    for part in label.split("_"):
        name, _, value = part.partition("-")
        yield f"run-{int(value)}" if name == "run" and value.isdecimal() else part
