"""What the columns of a catalogue mean, and how its rows find their objects.

A specification is said, never guessed: what a file holds beside it is not looked at. All of them are frozen,
refuse unknown fields, and may be given as plain dictionaries.
"""

from __future__ import annotations

import hashlib
import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from aggrade.catalogues.conditions import Condition, parsed_condition
from aggrade.catalogues.footprint import Footprint
from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CatalogueSpec", "MatchSpec", "Measurement", "Origin", "spec_digest", "specification"]

TIME_SCALES = ("utc", "tai", "tt", "tdb", "tcb", "tcg", "ut1")
TIME_REFS = (
    "topocentric",
    "geocentric",
    "heliocentric",
    "barycentric",
    "topocenter",
    "geocenter",
    "heliocenter",
    "barycenter",
)
_CORRECTED = re.compile(r"(bjd|hjd|bmjd|hmjd|bary|helio)", re.IGNORECASE)


def _one_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    if groups != 1:
        raise ValueError(f"{pattern!r} has {groups} groups; put ( ) around the one part that is meant")
    return pattern


def _among(words: tuple[str, ...]) -> BeforeValidator:
    def check(value: Any) -> Any:
        known = value.lower() if isinstance(value, str) else value
        if known is not None and known not in words:
            raise ValueError(f"{value!r} is not known; give one of {', '.join(words)}")
        return known

    return BeforeValidator(check)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Frozen):
    """Where a name is read: a part of the file's name, a column, or a header key. Exactly one of them."""

    filename: Annotated[str, AfterValidator(_one_group)] | None = Field(
        default=None,
        description="Regular expression with one group, searched in the file's name: 'night_(\\d+)\\.fits'.",
    )
    column: str | None = Field(default=None, description="Column whose value is the name, row by row.")
    header: str | None = Field(default=None, description="Key in the file's header whose value is the name.")

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(part is not None for part in (self.filename, self.column, self.header)) != 1:
            raise ValueError("give exactly one of 'filename', 'column' and 'header'")
        return self


def _origin(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


ColumnOrOrigin = Annotated[Origin, BeforeValidator(_origin, json_schema_input_type=str | Origin)]


_CONDITION = BeforeValidator(parsed_condition, json_schema_input_type=str | dict[str, Condition])


class Measurement(_Frozen):
    """The columns of one measurement, such as one band or one aperture."""

    value: str = Field(description="Column of the magnitude or flux.")
    error: str | None = Field(default=None, description="Column of its error, in the value's unit.")
    time: str | None = Field(
        default=None, description="Column of its own time, in the specification's format."
    )
    limit: str | None = Field(
        default=None, description="Column of the limit of detection; it counts where the value is missing."
    )
    flags: str | None = Field(default=None, description="Column of flags; any value but 0 marks the cell.")
    unit: str | None = Field(
        default=None, description="Unit of value and error, such as 'mag' or 'nJy'; the file's if not given."
    )
    where: Annotated[dict[str, Condition], _CONDITION] | None = Field(
        default=None,
        description="Rows that count, for tables with one row per band: {'band': 'g'}, {'fid': [1, 2]} or 'fid == 1'.",
    )
    name: Origin | None = Field(
        default=None, description="Where the measurement's name is read, if the file says it."
    )

    @property
    def numbers(self) -> frozenset[str]:
        """The columns that hold numbers."""
        named = (self.value, self.error, self.time, self.limit, self.flags)
        return frozenset(column for column in named if column is not None)


def _by_name(value: Any) -> Any:
    return (
        {str(index): each for index, each in enumerate(value)} if isinstance(value, (list, tuple)) else value
    )


Range = Annotated[tuple[float, float], Field(description="Lowest and highest, both included.")]


_BY_NAME = BeforeValidator(_by_name, json_schema_input_type=dict[str, Measurement] | list[Measurement])


class CatalogueSpec(_Frozen):
    """What the columns, headers and names of catalogues mean."""

    object_id: ColumnOrOrigin | None = Field(
        default=None,
        description="Column of the object's id, or {'filename': regex} for one file per object. Without it, rows "
        "are matched by their position.",
    )
    ra: str | None = Field(default=None, description="Column of the right ascension in degrees, -180 to 360.")
    dec: str | None = Field(default=None, description="Column of the declination in degrees.")
    time: str | None = Field(default=None, description="Column of the time of each row.")
    epoch_time: str | None = Field(default=None, description="Header key of the epoch's time.")
    time_format: Literal["mjd", "jd", "isot"] = Field(
        default="mjd", description="How times are written: 'mjd', 'jd' or 'isot' (2026-10-01T22:15:00)."
    )
    time_scale: Annotated[str, _among(TIME_SCALES)] = Field(
        description=f"Time scale of all times: {', '.join(TIME_SCALES)}."
    )
    time_ref: Annotated[str, _among(TIME_REFS)] | None = Field(
        default=None,
        description="Place that the times are corrected to for the travel of light: 'heliocentric', 'barycentric' …; "
        "not needed for times as observed.",
    )
    epoch: Origin = Field(
        description="What tells the epochs apart: {'filename': regex}, {'column': name} or {'header': key}."
    )
    filter: ColumnOrOrigin | None = Field(
        default=None,
        description="Column, file name or header key of the epoch's filter, where an epoch has one.",
    )
    measurements: Annotated[dict[str, Measurement], _BY_NAME] = Field(
        description="Name of each measurement → its columns.", min_length=1
    )
    value: Literal["mag", "flux"] = Field(
        default="mag", description="What is measured; it is stored as given."
    )
    unit: str | None = Field(
        default=None, description="Unit of all measurements that name none of their own."
    )
    system: str | None = Field(default=None, description="Photometric system, such as 'AB' or 'Vega'.")
    value_range: Range | None = Field(
        default=None, description="Values and limits outside are sentinels and count as missing."
    )
    error_range: Range | None = Field(
        default=None, description="An error outside is a sentinel: its value is no detection."
    )
    duplicates: Literal["refuse", "best", "first"] = Field(
        default="refuse",
        description="Two rows for one cell: 'refuse' the catalogue, keep the 'best' (smallest error) or the 'first'.",
    )
    footprint: Footprint | None = Field(
        default=None,
        description="Where the telescope looked; without it, what no row speaks of was not observed.",
    )

    @field_validator("value_range", "error_range")
    @classmethod
    def _ordered(cls, pair: tuple[float, float] | None) -> tuple[float, float] | None:
        if pair is not None and not pair[0] < pair[1]:
            raise ValueError(f"the first, {pair[0]}, must be below the second, {pair[1]}")
        return pair

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if wrong := list(self._contradictions()):
            raise ValueError("; ".join(wrong))
        return self

    def _contradictions(self) -> Iterator[str]:
        if (self.ra is None) != (self.dec is None):
            yield "give both 'ra' and 'dec', or neither"
        if self.object_id is None and self.ra is None:
            yield "give 'object_id', or 'ra' and 'dec', so that rows find their objects"
        if (
            not self.time
            and not self.epoch_time
            and any(each.time is None for each in self.measurements.values())
        ):
            yield "give 'time' (a column) or 'epoch_time' (a header key)"
        if self.time_ref is None and any(_CORRECTED.search(name) for name in self._times()):
            yield "'time_ref' is missing: the name of the time says that it is corrected for the travel of light"
        if self.unit == "":
            yield "'unit' is empty; name it or leave it out"
        yield from self._contradictions_of_footprint()

    def _contradictions_of_footprint(self) -> Iterator[str]:
        looked = self.footprint
        if looked is None:
            return
        if looked.extent and self.ra is None:
            yield "the extent of the rows needs 'ra' and 'dec'"
        told_by_rows = any(
            each.where or (each.name and each.name.column) for each in self.measurements.values()
        )
        if looked.exposures and looked.measurement is None and told_by_rows and not self._is_one_measurement:
            yield "rows tell which measurement was made, so exposures must too: give the footprint's 'measurement'"

    @property
    def _is_one_measurement(self) -> bool:
        return len(self.measurements) == 1 and all(each.name is None for each in self.measurements.values())

    def _times(self) -> Iterator[str]:
        named = (self.time, self.epoch_time, *(each.time for each in self.measurements.values()))
        yield from (name for name in named if name)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The columns that hold numbers."""
        plain = {name for name in (self.ra, self.dec) if name}
        if self.time and self.time_format != "isot":
            plain.add(self.time)
        columns = plain.union(*(each.numbers for each in self.measurements.values()))
        own_times = {each.time for each in self.measurements.values() if each.time}
        return frozenset(columns - own_times if self.time_format == "isot" else columns)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The columns that hold names: ids, epochs, filters, bands."""
        origins = (
            self.object_id,
            self.epoch,
            self.filter,
            *(each.name for each in self.measurements.values()),
        )
        columns = {origin.column for origin in origins if origin and origin.column}
        for each in self.measurements.values():
            columns |= set(each.where or {})
        if self.time_format == "isot":
            columns |= {name for name in (self.time, *(m.time for m in self.measurements.values())) if name}
        return frozenset(columns)

    @property
    def has_row_times(self) -> bool:
        """Whether rows of one epoch can differ in time."""
        own = any(each.time for each in self.measurements.values())
        return own or (self.time is not None and self.time != self.epoch.column)

    def unit_of(self, measurement: Measurement) -> str | None:
        """Return the unit that the specification gives a measurement, if it does."""
        return measurement.unit or self.unit


class MatchSpec(_Frozen):
    """How rows of a catalogue find their objects."""

    by: Literal["auto", "id", "sky"] = Field(
        default="auto",
        description="'id', 'sky', or 'auto': by id where the catalogues have ids, else by sky.",
    )
    radius_arcsec: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Rows farther than this from every object match none; also the distance within which positions "
        "are one object when the object table is built.",
    )
    new_objects: Literal["ignore", "refuse", "add"] = Field(
        default="ignore",
        description="Rows that match no object of the table: 'ignore' and count them, 'refuse' their epoch, or 'add' "
        "their objects behind those that are there.",
    )
    object_id: str | None = Field(default=None, description="Column of the id in the object table.")
    ra: str | None = Field(default=None, description="Column of the right ascension in the object table.")
    dec: str | None = Field(default=None, description="Column of the declination in the object table.")
    pmra: str | None = Field(
        default=None,
        description="Column of the proper motion in right ascension in the object table, mas/yr with the cosine of "
        "the declination; 'pmra' if it is there.",
    )
    pmdec: str | None = Field(
        default=None,
        description="Column of the proper motion in declination, mas/yr; 'pmdec' if it is there.",
    )
    reference_epoch: float | str | None = Field(
        default=None,
        description="When the objects are at their positions: a Julian year such as 2016.0, or a column of them; "
        "'ref_epoch' if it is there. Required where there is proper motion and objects are matched by sky or have a "
        "footprint.",
    )

    def by_id(self, spec: CatalogueSpec) -> bool:
        """Return whether rows are matched by id.

        Raises
        ------
        BadInput
            If the catalogues lack what the match needs.
        """
        if self.by == "id" and spec.object_id is None:
            raise BadInput(_lacking("object_id", "by='id'"))
        if self.by == "sky" and spec.ra is None:
            raise BadInput(_lacking("ra and dec", "by='sky'"))
        return self.by == "id" or (self.by == "auto" and spec.object_id is not None)


def _lacking(field: str, wish: str) -> Problem:
    return Problem(
        "match", wish, f"a specification with {field}", f"name {field} in the specification", "match-by"
    )


Model = TypeVar("Model", bound=BaseModel)


def specification(model: type[Model], value: Model | Mapping[str, Any] | None) -> Model:
    """Return a specification from itself, a plain dictionary, or None for all defaults.

    Raises
    ------
    BadInput
        Naming every field that is wrong.
    """
    if isinstance(value, model):
        return value
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        raise BadInput(*(_field_problem(model, each) for each in error.errors())) from error


def _field_problem(model: type[BaseModel], each: Any) -> Problem:
    place = ".".join(str(part) for part in each["loc"]) or "the whole"
    found = "nothing" if each["type"] == "missing" else repr(each["input"])[:80]
    expected = each["msg"].removeprefix("Value error, ")
    return Problem(
        f"{model.__name__}, {place}", found, expected, "correct the specification", "specification"
    )


def spec_digest(spec: CatalogueSpec, match: MatchSpec) -> str:
    """Return the digest of what decides how rows become cells; fields left at their defaults do not count.

    Neither do tables of exposures: what they say of an epoch counts there.
    """
    how = match.model_dump_json(include={"by", "radius_arcsec"}, exclude_defaults=True)
    extent = (spec.footprint and spec.footprint.extent) or ""
    told = spec.model_dump_json(exclude_defaults=True, exclude={"footprint"})
    return hashlib.sha256(f"{told}{how}{extent}".encode()).hexdigest()
