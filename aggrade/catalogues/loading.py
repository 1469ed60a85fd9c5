"""From files to whole epochs: read, interpret, put together."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.catalogues.epochs import EpochCatalogue, content_digest, merged
from aggrade.catalogues.finding import Source, content_mark, read_source
from aggrade.catalogues.footprint import Exposure, exposures_digest
from aggrade.catalogues.interpreting import Interpreted, interpret, together
from aggrade.catalogues.reading import read_tables
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, spec_digest
from aggrade.catalogues.tables import Wanted
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Epoch", "EpochSources", "How", "Loaded", "digest_of", "load_epoch", "load_file", "mark_of"]

_FILES_KEPT = 2
_BYTES_KEPT = 64 << 20
_LOCK = threading.Lock()
_kept: OrderedDict[_Reading, Loaded] = OrderedDict()


class How(BaseModel):
    """How catalogues are read and matched: what every worker needs to know beside the files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: CatalogueSpec = Field(description="What the columns mean.")
    match: MatchSpec = Field(description="How rows find their objects.")

    @property
    def by_id(self) -> bool:
        """Whether rows are matched by id."""
        return self.match.by_id(self.spec)

    @property
    def digest(self) -> str:
        """Digest of both."""
        return spec_digest(self.spec, self.match)


class EpochSources(BaseModel):
    """One epoch and the files it lies in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="The epoch's key.")
    sources: tuple[Source, ...] = Field(description="Its files, sorted by where they lie.")
    exposures: tuple[Exposure, ...] | None = Field(
        default=None, description="Where it was looked, if a table of exposures says so."
    )

    @property
    def looked(self) -> tuple[str, ...]:
        """Digest of the exposures, for the epoch's own; empty if there is no table of them."""
        return () if self.exposures is None else (exposures_digest(self.exposures),)


@dataclass(frozen=True, eq=False)
class Loaded:
    """One file, read and interpreted, with the mark of its content."""

    interpreted: Interpreted
    mark: str

    @cached_property
    def parts(self) -> dict[str, list[EpochCatalogue]]:
        """Key of each epoch → what the file's tables say of it."""
        found: dict[str, list[EpochCatalogue]] = {}
        for epoch in self.interpreted.epochs:
            found.setdefault(epoch.key, []).append(epoch)
        return found


def load_file(
    source: Source, how: How, storage_options: Mapping[str, Any] | None, *, kept: int = _FILES_KEPT
) -> Loaded:
    """Read and interpret one file; what is wrong with it is in the result.

    Where files hold several epochs, the last of them are kept, so that epochs that share files do not each read
    them again: 64 MiB of files, or more if `kept` files are larger.

    Parameters
    ----------
    source
        The file.
    how
        How it is read.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    kept
        How many files to keep, however large they are.

    Raises
    ------
    Unavailable
        If the store does not answer.
    Conflict
        If the file changed since it was found.
    """
    reading = _Reading(source, how.model_dump_json(), repr(storage_options), how, storage_options)
    return _recent(reading, kept) if how.spec.epoch.filename is None else _load(reading)


@dataclass(frozen=True)
class _Reading:
    source: Source
    how_text: str
    options_text: str
    how: How = field(compare=False)
    options: Mapping[str, Any] | None = field(compare=False)


def _load(reading: _Reading) -> Loaded:
    source, how = reading.source, reading.how
    data = read_source(source, reading.options)
    mark = content_mark(source, data)
    try:
        tables = read_tables(data, source.key, Wanted(how.spec.numbers, how.spec.labels))
    except BadInput as error:
        return Loaded(Interpreted((), (), error.problems), mark)
    return Loaded(together([interpret(each, source.key, how.spec, by_id=how.by_id) for each in tables]), mark)


def _recent(reading: _Reading, least: int) -> Loaded:
    with _LOCK:
        if reading in _kept:
            _kept.move_to_end(reading)
            return _kept[reading]
    loaded = _load(reading)
    with _LOCK:
        _kept[reading] = loaded
        while len(_kept) > least and sum(each.source.size for each in _kept) > _BYTES_KEPT:
            _kept.popitem(last=False)
    return loaded


@dataclass(frozen=True, eq=False)
class Epoch:
    """One epoch of all its files.

    Parameters
    ----------
    catalogue
        Its rows.
    mark
        The mark of its files, empty where they hold several epochs.
    parts, how
        What each file says of it, and how they are read.
    looked
        Digest of its exposures, if a table of them is given.
    """

    catalogue: EpochCatalogue
    mark: str
    parts: tuple[EpochCatalogue, ...]
    how: How
    looked: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Digest of its content."""
        return digest_of([content_digest(part) for part in self.parts], self.how, self.looked)

    def is_as(self, digest: str, mark: str) -> bool:
        """Tell whether it has the content that it had; the same files need no second look at what they say."""
        return (bool(mark) and self.mark == mark) or self.digest == digest


def load_epoch(epoch: EpochSources, how: How, storage_options: Mapping[str, Any] | None) -> Epoch:
    """Read one epoch from all its files.

    Raises
    ------
    BadInput
        If any of them is wrong.
    """
    kept = max(_FILES_KEPT, len(epoch.sources))
    loaded = [load_file(source, how, storage_options, kept=kept) for source in epoch.sources]
    problems: list[Problem] = [problem for each in loaded for problem in each.interpreted.problems]
    parts = [part for each in loaded for part in each.parts.get(epoch.key, ())]
    problems += _disagreements(epoch, parts)
    if problems or not parts:
        raise BadInput(*problems or [_vanished(epoch)])
    catalogue = merged(parts, tuple(how.spec.measurements))
    by_name = how.spec.epoch.filename is not None
    mark = mark_of([each.mark for each in loaded], how, epoch.looked) if by_name else ""
    return Epoch(catalogue, mark, tuple(parts), how, epoch.looked)


def _disagreements(epoch: EpochSources, parts: Sequence[EpochCatalogue]) -> Iterator[Problem]:
    """Yield what the files of one epoch contradict each other in."""
    where = ", ".join(source.key for source in epoch.sources)
    filters = sorted({part.filter for part in parts if part.filter})
    if len(filters) > 1:
        fix = "leave 'filter' out and name the measurements by their filter"
        yield Problem(
            where, f"filters {', '.join(filters)} in epoch {epoch.key}", "one filter per epoch", fix, "filter"
        )
    units = {pair for part in parts for pair in zip(part.measurements, part.units, strict=True)}
    for name in sorted({name for name, _ in units if sum(name == other for other, _ in units) > 1}):
        told = f"units {', '.join(sorted(str(unit) for other, unit in units if other == name))} of measurement {name}"
        yield Problem(
            where, told, "one unit", "deliver all files in one unit, or split the measurement", "unit"
        )


def _vanished(epoch: EpochSources) -> Problem:
    where = ", ".join(source.key for source in epoch.sources)
    return Problem(where, f"no rows of epoch {epoch.key}", "some", "run it again", "epoch-gone")


def digest_of(parts: Iterable[str], how: How, looked: Iterable[str] = ()) -> str:
    """Return an epoch's digest from those of its files; their order counts only where the first row wins.

    Parameters
    ----------
    parts
        Digests of what each file says.
    how
        How they are read.
    looked
        Digest of the epoch's exposures, if a table of them is given.
    """
    ordered = list(parts) if how.spec.duplicates == "first" else sorted(parts)
    return hashlib.sha256("\0".join([how.digest, *ordered, *looked]).encode()).hexdigest()


def mark_of(marks: Iterable[str], how: How, looked: Iterable[str] = ()) -> str:
    """Return an epoch's mark from those of its files. The other arguments are those of `digest_of`."""
    return hashlib.sha256("\0".join([how.digest, *sorted(marks), *looked]).encode()).hexdigest()
