"""The look at every catalogue before anything is planned: which epochs there are, and what is wrong with them."""

from __future__ import annotations

import functools
import logging
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from aggrade.catalogues.coverage import footprint_problems
from aggrade.catalogues.epochs import NOT_OBSERVED
from aggrade.catalogues.finding import Source
from aggrade.catalogues.footprint import Exposure
from aggrade.catalogues.gathering import Gathered, gather, united
from aggrade.catalogues.interpreting import name_in
from aggrade.catalogues.loading import Epoch, EpochSources, How, load_epoch, load_file
from aggrade.catalogues.matching import claims_of, duplicate_problems, match_epoch
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from aggrade.catalogues.epochs import EpochCatalogue
    from aggrade.catalogues.objects import ObjectTable

__all__ = ["Discovered", "EpochReport", "Inspection", "discover", "inspect", "inspect_all"]

_log = logging.getLogger(__name__)
_BATCH_BYTES = 64 << 20
_BATCH_EPOCHS = 1024


class EpochReport(BaseModel):
    """What the look at one epoch found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="The epoch's key.")
    sources: tuple[Source, ...] = Field(description="Its files.")
    exposures: tuple[Exposure, ...] | None = Field(
        default=None, description="Where it was looked, if a table of exposures says so."
    )
    digest: str = Field(default="", description="Digest of its rows and of how they are read.")
    mark: str = Field(default="", description="Mark of its files.")
    time: float = Field(default=0.0, description="MJD.")
    varies: bool = Field(default=False, description="Whether cells have times other than the epoch's.")
    filter: str = Field(default="", description="Its filter, or empty.")
    units: dict[str, str] = Field(default_factory=dict, description="Name of each measurement → its unit.")
    rows: int = Field(default=0, description="Rows of all its files.")
    cells: int = Field(default=0, description="Detections, limits and flagged values in them.")
    problems: tuple[Problem, ...] = Field(default=(), description="Why it is refused.")


class Inspection(NamedTuple):
    """What the look at several epochs found, and where their rows lie if that was asked for."""

    reports: tuple[EpochReport, ...]
    gathered: Gathered | None


class Discovered(NamedTuple):
    """The epochs that lie in the files, and the problems of files that are no use."""

    epochs: tuple[EpochSources, ...]
    problems: tuple[Problem, ...]


def discover(
    sources: Sequence[Source],
    how: How,
    storage_options: Mapping[str, Any] | None,
    map: Callable[..., Iterable[Any]],  # noqa: A002
) -> Discovered:
    """Find out which epochs lie in which files: by their names alone where these tell.

    An epoch that also lies in a file with a problem is left out: half of it must not be taken for the whole.

    Parameters
    ----------
    sources
        The files.
    how
        How they are read.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    map
        The builtin, or one that sends files to a cluster.
    """
    by_name = how.spec.epoch.filename is not None
    told = (
        [_named(how, each) for each in sources]
        if by_name
        else map(functools.partial(_held, how, storage_options), sources)
    )
    files: dict[str, list[Source]] = defaultdict(list)
    incomplete: set[str] = set()
    wrong: list[Problem] = []
    for source, (keys, problems) in zip(sources, told, strict=True):
        for key in keys:
            files[key].append(source)
        incomplete |= set(keys) if problems else set()
        wrong += problems
    whole = sorted(set(files) - incomplete)
    return Discovered(tuple(EpochSources(key=key, sources=tuple(files[key])) for key in whole), tuple(wrong))


def _named(how: How, source: Source) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    key = name_in(how.spec.epoch, source.key)
    if key is not None:
        return (key,), ()
    expected = f"a name in which {how.spec.epoch.filename!r} finds the epoch"
    fix = "correct 'epoch', or leave the file out by a glob"
    return (), (Problem(source.key, "no epoch in its name", expected, fix, "epoch-key"),)


def _held(
    how: How, storage_options: Mapping[str, Any] | None, source: Source
) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    interpreted = load_file(source, how, storage_options).interpreted
    return interpreted.keys, interpreted.problems


def inspect_all(
    epochs: Sequence[EpochSources],
    how: How,
    storage_options: Mapping[str, Any] | None,
    *,
    objects: ObjectTable | None = None,
    gathering: bool = False,
    there: frozenset[str] = frozenset(),
    map: Callable[..., Iterable[Any]],  # noqa: A002
) -> Inspection:
    """Look at every epoch, some per task.

    Parameters
    ----------
    epochs
        The epochs.
    how
        How they are read.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    objects
        The object table, if rows without an object are to be refused or gathered.
    gathering
        Whether to gather ids and positions, so that an object table can be built or grow: of all rows, or of those
        that `objects` lacks.
    there
        Digests of epochs whose rows are not to be gathered.
    map
        The builtin, or one that sends batches to a cluster.
    """
    look = functools.partial(inspect, how, storage_options, objects, gathering, there=there)
    reports: list[EpochReport] = []
    total: Gathered | None = None
    for done in map(look, list(_batches(epochs))):
        reports += done.reports
        total = (
            united([part for part in (total, done.gathered) if part is not None]) if done.gathered else total
        )
    _log.info("looked at %d epochs with %d rows", len(reports), sum(report.rows for report in reports))
    return Inspection(tuple(reports), total)


def _batches(epochs: Sequence[EpochSources]) -> Iterator[tuple[EpochSources, ...]]:
    """Cut the epochs into batches of some 64 MiB of files."""
    batch: list[EpochSources] = []
    files: dict[str, int] = {}
    for epoch in epochs:
        wider = files | {source.url: source.size for source in epoch.sources}
        if batch and ((sum(wider.values()) > _BATCH_BYTES and wider != files) or len(batch) == _BATCH_EPOCHS):
            yield tuple(batch)
            batch, wider = [], {source.url: source.size for source in epoch.sources}
        batch.append(epoch)
        files = wider
    if batch:
        yield tuple(batch)


def inspect(
    how: How,
    storage_options: Mapping[str, Any] | None,
    objects: ObjectTable | None,
    gathering: bool,
    batch: Sequence[EpochSources],
    *,
    there: frozenset[str] = frozenset(),
) -> Inspection:
    """Look at some epochs. The arguments are those of `inspect_all`."""
    reports, gathered = [], []
    for epoch in batch:
        try:
            found = load_epoch(epoch, how, storage_options)
        except BadInput as error:
            reports.append(EpochReport(key=epoch.key, sources=epoch.sources, problems=error.problems))
            continue
        problems = tuple(_epoch_problems(epoch, found, how, objects))
        reports.append(_report(epoch, found, problems))
        if gathering and not problems and found.digest not in there:
            gathered.append(gather(_strangers(found, how, objects), how.match, by_id=how.by_id))
    return Inspection(tuple(reports), united(gathered) if gathered else None)


def _strangers(found: Epoch, how: How, objects: ObjectTable | None) -> EpochCatalogue:
    """Return the rows that have no object in the table."""
    if objects is None:
        return found.catalogue
    claims = claims_of(found.catalogue, objects, how.match, by_id=how.by_id)
    return found.catalogue.taken(claims.objects < 0)


def _report(epoch: EpochSources, found: Epoch, problems: tuple[Problem, ...]) -> EpochReport:
    catalogue = found.catalogue
    return EpochReport(
        key=epoch.key,
        sources=epoch.sources,
        exposures=epoch.exposures,
        digest=found.digest,
        mark=found.mark,
        time=0.0 if problems else catalogue.mean_time,
        varies=catalogue.varies or _times_differ(epoch, catalogue.mean_time),
        filter=catalogue.filter,
        units={name: unit or "" for name, unit in zip(catalogue.measurements, catalogue.units, strict=True)},
        rows=catalogue.rows,
        cells=int((catalogue.status != NOT_OBSERVED).sum()),
        problems=problems,
    )


def _times_differ(epoch: EpochSources, time: float) -> bool:
    return any(each.time not in (None, time) for each in epoch.exposures or ())


def _epoch_problems(
    epoch: EpochSources, found: Epoch, how: How, objects: ObjectTable | None
) -> Iterator[Problem]:
    where = ", ".join(source.key for source in epoch.sources)
    if math.isnan(found.catalogue.mean_time):
        fix = "name a header key by 'epoch_time', or leave the file out"
        yield Problem(
            where, f"no row with a time in epoch {epoch.key}", "the epoch's time", fix, "epoch-time"
        )
    if how.spec.duplicates == "refuse":
        yield from duplicate_problems(found.catalogue, where)
    yield from footprint_problems(found, epoch.exposures, where)
    if objects is not None and how.match.new_objects == "refuse":
        counts = match_epoch(found.catalogue, objects, how.spec, how.match, by_id=how.by_id).counts
        if counts["unmatched"]:
            told = f"{counts['unmatched']} of {counts['rows']} rows of epoch {epoch.key} that match no object"
            fix = "set new_objects to 'ignore' or 'add', or give an object table that holds them"
            yield Problem(where, told, "rows of known objects", fix, "new-objects")
