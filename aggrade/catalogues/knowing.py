"""What is asked beside what the store is: everything that a population's plan is made from."""

from __future__ import annotations

import logging
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aggrade.catalogues.cube import Shape, shape_of
from aggrade.catalogues.exposures import read_exposures
from aggrade.catalogues.filling import read_array, read_objects
from aggrade.catalogues.finding import content_mark, find_catalogues
from aggrade.catalogues.gathering import clustered, grown, union
from aggrade.catalogues.given import given_objects
from aggrade.catalogues.inspecting import EpochReport, discover, inspect_all
from aggrade.catalogues.loading import EpochSources, How, mark_of
from aggrade.catalogues.planning import PopulatePlan, plan_population
from aggrade.commit import read_snapshot
from aggrade.errors import AggradeError, BadInput, Problem, Refused, raise_all
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aggrade.catalogues.exposures import Exposures
    from aggrade.catalogues.finding import Source
    from aggrade.catalogues.gathering import Gathered
    from aggrade.catalogues.objects import ObjectTable
    from aggrade.commit import Snapshot
    from aggrade.storage import Storage

__all__ = ["Asked", "Known", "plan_from"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What a population is asked for; the fields are the arguments of `aggrade.populate`."""

    catalogues: Any
    how: How
    objects: Any
    storage_options: dict[str, Any] | None
    map: Callable[..., Iterable[Any]]
    on_conflict: str = "refuse"


@dataclass(frozen=True, eq=False)
class Known:
    """What the store is.

    Parameters
    ----------
    storage
        The Zarr store's storage.
    snapshot
        Its state; None if there is no store.
    shape
        What it is beside its epochs; None if it has no arrays yet.
    epochs
        Key of each epoch → digest and mark of its catalogues.
    rows
        Key of each epoch → its index along `epoch`.
    """

    storage: Storage
    snapshot: Snapshot | None = None
    shape: Shape | None = None
    epochs: dict[str, tuple[str, str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: Storage) -> Known:
        """Read what the store is.

        Raises
        ------
        Refused
            If it holds something else than light curves.
        """
        snapshot = read_snapshot(storage)
        if snapshot is None or not snapshot.documents:
            return cls(storage, snapshot)
        if "rechunk" in snapshot.mark:
            found, fix = "a rechunked copy", "populate what it was made from, then rechunk again"
            raise Refused(
                Problem(storage.url, found, "light curves as they are written", fix, "rechunked-copy")
            )
        needed = {"lightcurves", "status", "object", "epoch", "measurement", "measurement_unit", "epoch_time"}
        needed |= {"source_digest", "source_mark"}
        if missing := sorted(needed - set(snapshot.documents)):
            found = f"a store without {', '.join(missing)}"
            fix = "name another store, or a dataset root"
            raise Refused(
                Problem(storage.url, found, "light curves as populate makes them", fix, "no-lightcurves")
            )

        def texts(name: str) -> list[str]:
            return [str(text) for text in read_array(storage, name, snapshot.documents[name])]

        told = list(zip(texts("epoch"), texts("source_digest"), texts("source_mark"), strict=True))
        gone = set(snapshot.mark.get("superseded", []))
        rows = {key: index for index, (key, _, _) in enumerate(told) if index not in gone}
        epochs = {key: told[index][1:] for key, index in rows.items()}
        shape = shape_of(snapshot.documents, texts("measurement"), texts("measurement_unit"))
        return cls(storage, snapshot, shape, epochs, rows)

    def digest_of(self, key: str) -> str | None:
        """Return the digest that an epoch was populated with, None if it isn't there."""
        return self.epochs[key][0] if key in self.epochs else None

    def objects(self) -> ObjectTable:
        """Read the store's object table."""
        assert self.snapshot is not None, "a store with a shape has a snapshot"
        return read_objects(self.storage, self.snapshot.documents)


def plan_from(asked: Asked, known: Known) -> tuple[PopulatePlan, ObjectTable | None]:
    """Look at all catalogues and plan; nothing is written.

    Parameters
    ----------
    asked
        What is asked.
    known
        What the store is.

    Returns
    -------
    PopulatePlan, ObjectTable or None
        The table only if the store is to be created with it, or if it grows.

    Raises
    ------
    BadInput
        If not one epoch can be used.
    Refused
        If an epoch is there with other content, or the catalogues don't fit the store.
    """
    how = asked.how
    if known.shape is not None:
        raise_all(_misfits(how, known.shape, known.storage.url))
    objects = _given(asked, known)
    looked = _look(asked, known, objects)
    shape = known.shape or _new_shape(looked.new, how)
    new, unfit = _fitting(looked.new, shape)
    problems = [*looked.problems, *unfit]
    if not new and not looked.same:
        raise_all(problems or [_nothing(asked)], _class_of(problems))
    if known.shape is None:
        objects = _first_table(objects, looked.gathered, asked)
        text, motion = objects.ids.dtype.kind == "U", objects.motion is not None
        shape = shape.model_copy(update={"objects": len(objects), "text_ids": text, "motion": motion})
    elif new and looked.gathered is not None and objects is not None:
        objects = grown(objects, looked.gathered, how.match, by_id=how.by_id, where=known.storage.url)
        shape = shape.model_copy(update={"objects": len(objects)})
    plan = plan_population(
        store=known.storage.url,
        snapshot=known.snapshot,
        how=how,
        shape=shape,
        objects_digest=(objects or known.objects()).digest if new else "",
        reports=new,
        unchanged=sorted(looked.same),
        refused=_by_file(problems),
        supersedes={report.key: known.rows[report.key] for report in new if report.key in known.rows},
    )
    return plan, objects if known.shape is None or plan.added_objects else None


def _misfits(how: How, shape: Shape, url: str) -> Iterator[Problem]:
    """Yield what the specification and the store contradict each other in."""
    spec = how.spec
    pairs = {
        "value": (spec.value, shape.value),
        "system": (spec.system, shape.system),
        "time_scale": (spec.time_scale, shape.time_scale),
        "time_ref": (spec.time_ref or "topocentric", shape.time_ref),
    }
    for name, (asked, stored) in pairs.items():
        if asked != stored:
            fix = "correct the specification, or populate another store"
            yield Problem(
                f"specification, {name}", repr(asked), f"{stored!r} as in {url}", fix, "store-differs"
            )


def _given(asked: Asked, known: Known) -> ObjectTable | None:
    """Return the object table if it is given, or if rows without an object are to be refused or added."""
    given = None if asked.objects is None else given_objects(asked.objects, asked.how, asked.storage_options)
    if known.shape is None or (given is None and asked.how.match.new_objects == "ignore"):
        return given
    own = known.objects()
    adding = asked.how.match.new_objects == "add"
    if given is not None and own.motion is None:
        given = replace(given, motion=None)
    if given is not None and given.digest != (own.first(len(given)) if adding else own).digest:
        found = f"{len(given):,} objects"
        expected = f"the {len(own):,} objects of {known.storage.url}, at the same positions"
        raise Refused(
            Problem(
                "objects", found, expected, "leave 'objects' out, or name another store", "objects-differ"
            )
        )
    return own


@dataclass(frozen=True)
class _Looked:
    """What the look at all catalogues found."""

    new: list[EpochReport]
    same: set[str]
    problems: list[Problem]
    gathered: Gathered | None


def _look(asked: Asked, known: Known, objects: ObjectTable | None) -> _Looked:
    """Look at every catalogue but those that bear the mark they had when they were populated."""
    how, options = asked.how, asked.storage_options
    exposures = read_exposures(how.spec, options)
    sources = find_catalogues(asked.catalogues, options)
    found = discover(_catalogues_among(sources, exposures), how, options, asked.map)
    epochs = _with_exposures(found.epochs, exposures, known)
    same = _unread(epochs, known, asked)
    reports, gathered = inspect_all(
        [epoch for epoch in epochs if epoch.key not in same],
        how,
        options,
        objects=objects if how.match.new_objects in {"refuse", "add"} else None,
        gathering=how.match.new_objects == "add" or (objects is None and known.shape is None),
        there=frozenset(digest for digest, _ in known.epochs.values()),
        map=asked.map,
    )
    sound = [report for report in reports if not report.problems]
    again = {report.key for report in sound if known.digest_of(report.key) == report.digest}
    if asked.on_conflict == "refuse":
        differing = [each for each in sound if each.key in known.epochs and each.key not in again]
        raise_all(_differs(report, known) for report in differing)
    new = [report for report in sound if report.key not in again]
    problems = [*found.problems, *(problem for report in reports for problem in report.problems)]
    return _Looked(new, same | again, problems, gathered)


def _catalogues_among(sources: Sequence[Source], exposures: Exposures | None) -> list[Source]:
    """Return the files but for tables of exposures, which may lie beside the catalogues."""
    tables = exposures.urls if exposures else frozenset()
    return [source for source in sources if source.url not in tables]


def _with_exposures(
    epochs: Sequence[EpochSources], exposures: Exposures | None, known: Known
) -> list[EpochSources]:
    """Return the epochs with the exposures of each."""
    if exposures is None:
        return list(epochs)
    told = exposures.of_epochs
    if alone := sorted(set(told) - {epoch.key for epoch in epochs} - set(known.epochs)):
        _log.warning("%d epochs have exposures and no catalogue, such as %s: left out", len(alone), alone[0])
    return [epoch.model_copy(update={"exposures": told.get(epoch.key, ())}) for epoch in epochs]


def _unread(epochs: Sequence[EpochSources], known: Known, asked: Asked) -> set[str]:
    """Return the epochs whose files bear the mark they had when they were populated."""
    if asked.how.spec.epoch.filename is None:
        return set()
    there = [epoch for epoch in epochs if epoch.key in known.epochs]

    def is_same(epoch: EpochSources) -> bool:
        marks = [content_mark(source, storage_options=asked.storage_options) for source in epoch.sources]
        return mark_of(marks, asked.how, epoch.looked) == known.epochs[epoch.key][1]

    with ThreadPoolExecutor(settings().parallel_requests) as pool:
        return {epoch.key for epoch, same in zip(there, pool.map(is_same, there), strict=True) if same}


def _differs(report: EpochReport, known: Known) -> Problem:
    return Problem(
        f"epoch {report.key!r} ({', '.join(source.key for source in report.sources)})",
        f"other rows, or another specification, than {known.storage.url} was populated with",
        "the same catalogues read in the same way, or a new epoch",
        "check which is right; leave these files out by a glob, or pass on_conflict='replace'",
        "epoch-differs",
    )


def _new_shape(reports: Sequence[EpochReport], how: How) -> Shape:
    """Return what a new store will be, but for its objects."""
    units: dict[str, str] = {}
    for report in sorted(reports, key=lambda each: (each.time, each.key)):
        units = {**report.units, **units}
    stated = [name for name in how.spec.measurements if name in units]
    names = [*stated, *sorted(set(units) - set(stated))]
    return Shape(
        objects=0,
        text_ids=False,
        units={name: units[name] for name in names},
        value=how.spec.value,
        system=how.spec.system,
        time_scale=how.spec.time_scale,
        time_ref=how.spec.time_ref or "topocentric",
        offsets=how.spec.has_row_times or any(report.varies for report in reports),
    )


def _fitting(reports: Sequence[EpochReport], shape: Shape) -> tuple[list[EpochReport], list[Problem]]:
    """Part the epochs that fit the store from the reasons why others don't."""
    problems = {report.key: list(_unfit(report, shape)) for report in reports}
    fitting = [report for report in reports if not problems[report.key]]
    return fitting, [problem for each in problems.values() for problem in each]


def _unfit(report: EpochReport, shape: Shape) -> Iterator[Problem]:
    where = ", ".join(source.key for source in report.sources)
    for name, unit in report.units.items():
        if name not in shape.units:
            fix = "populate another store, or correct the measurements' names"
            yield Problem(
                where, f"measurement {name!r}", f"one of {', '.join(shape.units)}", fix, "measurement"
            )
        elif unit != shape.units[name]:
            fix = "values are never converted; deliver the file in the store's unit"
            yield Problem(where, f"{name} in {unit!r}", f"{name} in {shape.units[name]!r}", fix, "unit")
    named = {each.measurement for each in report.exposures or () if each.measurement is not None}
    if strange := sorted(named - set(shape.units)):
        found, expected = f"exposures of {', '.join(map(repr, strange))}", f"one of {', '.join(shape.units)}"
        fix = "say in the footprint's 'names' which measurement is meant, or null"
        yield Problem(where, found, expected, fix, "measurement")
    if report.varies and not shape.offsets:
        found = f"several times in epoch {report.key}"
        fix = "populate another store with these catalogues from the start"
        yield Problem(where, found, "one time, as the store has no time_offset", fix, "time-offset")


def _nothing(asked: Asked) -> Problem:
    return Problem(
        str(asked.catalogues), "no epochs", "at least one", "name catalogues that have rows", "no-epochs"
    )


def _class_of(problems: Sequence[Problem]) -> type[AggradeError]:
    """Return the class of error of what can't be used at all: new objects are a human's decision."""
    return Refused if problems and all(problem.code == "new-objects" for problem in problems) else BadInput


def _first_table(given: ObjectTable | None, gathered: Gathered | None, asked: Asked) -> ObjectTable:
    if given is None:
        return _built(gathered, asked)
    if gathered is None:
        return given
    return grown(given, gathered, asked.how.match, by_id=asked.how.by_id, where="objects")


def _built(gathered: Gathered | None, asked: Asked) -> ObjectTable:
    if gathered is None or not len(gathered.keys):
        raise BadInput(
            Problem("objects", "no detections to build them from", "some", "give an object table", "objects")
        )
    if asked.how.by_id:
        return union(gathered, "the catalogues")
    return clustered(gathered, asked.how.match, "the catalogues")


def _by_file(problems: Sequence[Problem]) -> dict[str, str]:
    """Return file → why it is refused."""
    told: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        file, _, place = problem.where.partition(", column ")
        told[file].append(
            f"{place and f'column {place}: '}found {problem.found}, expected {problem.expected}; {problem.fix}"
        )
    return {file: ". ".join(reasons) for file, reasons in sorted(told.items())}
