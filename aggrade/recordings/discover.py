"""Where recordings lie: from a source to its sessions, and from a session to files on this machine.

A source is a folder, a file or a prefix in a bucket; each child of it is one session. A session is a folder
with one or more recordings, or one recording; ``bids.py`` says what one of a BIDS dataset is. What is hidden (its name begins with a dot or two underscores) is
left alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem
from aggrade.recordings.bids import DESCRIPTION, SUBJECTS, is_recording, place_of, places_in
from aggrade.recordings.bids_tables import Sidecars, Table, acquired
from aggrade.recordings.formats import FORMATS
from aggrade.recordings.listing import exists, holds, listed, main_of, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from aggrade.recordings import Format
    from aggrade.recordings.bids import BidsPlace
    from aggrade.recordings.listing import Listing

__all__ = ["LocalSession", "SessionSource", "SourceFile", "local_session", "sessions_in", "source_digest"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SessionSource:
    """One session of a source: its id, and what `cut_windows` takes."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on this machine, the name that it has within its session, and its format (None: a companion)."""

    path: Path
    name: str
    format: Format | None


@dataclass(frozen=True, slots=True)
class LocalSession:
    """A session's files on this machine, in the order of their names.

    Parameters
    ----------
    id
        The session's name.
    files
        Recordings, and what belongs to them.
    sidecars
        Name of a recording → the tables that describe it.
    """

    id: str
    files: tuple[SourceFile, ...]
    sidecars: Mapping[str, Sidecars] = field(default_factory=dict)

    @property
    def recordings(self) -> tuple[SourceFile, ...]:
        """Those that are recordings."""
        return tuple(file for file in self.files if file.format is not None)


def sessions_in(
    source: str, *, storage_options: Mapping[str, Any] | None = None
) -> tuple[SessionSource, ...]:
    """Return the sessions of a source, sorted by id.

    Every folder directly below the source is one session, and so is every recording that lies there; other
    files are passed over. A source that is itself a recording is one session. Of a BIDS dataset, which has a
    ``dataset_description.json``, what was recorded under the same entities is one session.

    Parameters
    ----------
    source
        A folder or file, or a prefix or object as ``s3://bucket/…``.
    storage_options
        As for `aggrade.storage.open_storage`.

    Raises
    ------
    BadInput
        If there is no such source, if it holds no session, or if two children have the same id.
    """
    url = source.rstrip("/")
    if holds(url, DESCRIPTION, storage_options):
        return tuple(sorted(_dataset(url, storage_options), key=lambda child: child.id))
    with listed(url, storage_options) as listing:
        if listing.is_file:
            return (SessionSource(stem_of(_last(url)), url),)
        children = _children(listing.names)
        folders = [SessionSource(child, f"{url}/{child}") for child in children.folders]
        known = [name for name in children.files if listing.format(name) is not None]
        files = [SessionSource(stem_of(name), f"{url}/{name}") for name in _mains(known)]
    found = sorted([*folders, *files], key=lambda child: child.id)
    if not found:
        fix = f"give a folder that holds recordings ({_known_formats()}) or folders with recordings"
        raise BadInput(Problem(source, "no recordings", "one session per child", fix, "no-sessions"))
    _check_ids(source, found)
    logger.info("%s holds %d sessions", _last(url), len(found))
    return tuple(found)


@contextmanager
def local_session(
    source: str | Path, storage_options: Mapping[str, Any] | None = None
) -> Iterator[LocalSession]:
    """Give the files of one session as files on this machine, for the length of a ``with`` block.

    Parameters
    ----------
    source
        A folder or file, or a prefix or object, which is copied to a temporary folder; of a BIDS dataset
        ``root/sub-01/sub-01_task-x`` as `sessions_in` names it.
    storage_options
        As for `aggrade.storage.open_storage`.

    Raises
    ------
    BadInput
        If there is no such source, or no recording in it.
    """
    url = str(source).rstrip("/")
    if (place := _place(url, storage_options)) is not None:
        with listed(place.root, storage_options, place.prefixes) as listing:
            yield _of_dataset(place, listing)
        return
    with listed(url, storage_options) as listing:
        formats = {name: listing.format(name) for name in listing.names}
        mains = _mains([name for name, known in formats.items() if known is not None])
        if not mains:
            fix = f"put a recording there: {_known_formats()}"
            raise BadInput(Problem(_last(url), "no recording", "at least one", fix, "no-recording"))
        wanted = sorted({*mains, *_companions(mains, formats, listing.names)})
        files = tuple(
            SourceFile(listing.path(name), name, formats[name] if name in mains else None) for name in wanted
        )
        label = stem_of(_last(url)) if listing.is_file else _last(url)
        yield LocalSession(label, files)


def source_digest(source: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> str:
    """Return the SHA-256 of a session's files, names and contents, in hexadecimal digits.

    Recordings count, and the files that belong to them; notes that lie beside them do not. The same files
    elsewhere have the same digest. Of a BIDS dataset the tables count that hold for the recordings; of the table
    of scans, what it says of them.

    Parameters
    ----------
    source, storage_options
        As for `local_session`.

    Raises
    ------
    BadInput
        As `local_session`.
    """
    with local_session(source, storage_options) as session:
        return digest_of(session)


def digest_of(session: LocalSession) -> str:
    """Return what `source_digest` returns, of a session whose files are at hand."""
    total = hashlib.sha256()
    for file in session.files:
        with file.path.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").digest()
        total.update(file.name.encode() + b"\0" + content)
    for name, sidecars in sorted(session.sidecars.items()):
        if sidecars.start:
            total.update(f"{name}\0{sidecars.start}".encode())
    return total.hexdigest()


def _place(url: str, storage_options: Mapping[str, Any] | None) -> BidsPlace | None:
    """Return the place of a session in a BIDS dataset; None where the source is anything else."""
    if holds(url, DESCRIPTION, storage_options):
        found = _dataset(url, storage_options)
        if len(found) > 1:
            expected, fix = "one session", f"give one of them, e.g. {found[0].url}"
            raise BadInput(Problem(url, f"a dataset of {len(found)} sessions", expected, fix, "dataset"))
        return place_of(found[0].url)
    place = None if exists(url) else place_of(url)
    return place if place is not None and holds(place.root, DESCRIPTION, storage_options) else None


def _dataset(url: str, storage_options: Mapping[str, Any] | None) -> list[SessionSource]:
    """Return the sessions of a BIDS dataset."""
    with listed(url, storage_options, (SUBJECTS,)) as listing:
        known = [name for name in listing.names if is_recording(name) and listing.format(name) is not None]
    found = [SessionSource(place.label, place.url) for place in places_in(url, known)]
    if not found:
        expected = "sub-…/eeg/sub-…_eeg.… or sub-…/nirs/sub-…_nirs.…"
        fix = f"put recordings there ({_known_formats()}), or give the folder that holds them"
        raise BadInput(Problem(url, "a BIDS dataset without EEG and NIRS", expected, fix, "no-sessions"))
    _check_ids(url, found)
    logger.info("%s is a BIDS dataset of %d sessions", _last(url), len(found))
    return found


def _of_dataset(place: BidsPlace, listing: Listing) -> LocalSession:
    """Return a session's recordings, and the tables that hold for them."""
    own = place.own(listing.names)
    formats = {name: listing.format(name) for name in own}
    mains = _mains([name for name, known in formats.items() if known is not None])
    if not mains:
        fix = "give a session as the dataset names it: root/sub-01[/ses-a]/sub-01[_ses-a]_task-x"
        raise BadInput(Problem(place.url, "no recording", "at least one", fix, "no-recording"))
    names = sorted({*mains, *_companions(mains, formats, own)})
    files = [SourceFile(listing.path(name), name, formats[name] if name in mains else None) for name in names]
    sidecars = {name: _sidecars(place, listing, name) for name in mains}
    tables = {table.name: table.path for found in sidecars.values() for table in found.tables}
    files += [SourceFile(path, name, None) for name, path in tables.items()]
    return LocalSession(place.label, tuple(sorted(files, key=lambda file: file.name)), sidecars)


def _sidecars(place: BidsPlace, listing: Listing, recording: str) -> Sidecars:
    found = {suffix: place.table(listing.names, recording, suffix) for suffix in ("events", "channels")}
    tables = {suffix: Table(listing.path(name), name) for suffix, name in found.items() if name}
    start = ""
    if place.scans in listing.names:
        start = acquired(Table(listing.path(place.scans), place.scans), place.scan(recording))
    kind = stem_of(recording).rpartition("_")[2]
    return Sidecars(kind, tables.get("events"), tables.get("channels"), start, place.scans)


@dataclass(frozen=True, slots=True)
class _Children:
    folders: list[str]
    files: list[str]


def _last(url: str) -> str:
    return url.rpartition("/")[2]


def _children(names: Iterable[str]) -> _Children:
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    return _Children(folders, sorted(name for name in names if "/" not in name))


def _mains(names: list[str]) -> list[str]:
    """Leave out the files that continue another one."""
    return [name for name in names if main_of(name) not in names]


def _companions(mains: list[str], formats: Mapping[str, Format | None], names: list[str]) -> Iterator[str]:
    """Yield the files that belong to recordings: their continuations, and what their format keeps apart."""
    for main in mains:
        known, folder = formats[main], main.rpartition("/")[0]
        for name in names:
            if name not in mains and name.rpartition("/")[0] == folder:
                kept_apart = known is not None and name.lower().endswith(known.companions or ("\0",))
                if kept_apart or main_of(name) == main:
                    yield name


def _check_ids(source: str, found: list[SessionSource]) -> None:
    for label, count in Counter(child.id for child in found).items():
        if count > 1:
            fix = f"put the files of one session into a folder {label!r}"
            raise BadInput(Problem(source, f"{count} children named {label!r}", "one", fix, "session-twice"))


def _known_formats() -> str:
    return ", ".join(known.name for known in FORMATS)
