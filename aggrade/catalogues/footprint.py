"""Where the telescope looked: what a specification says of it, and the exposures that a table of them holds."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Exposure", "Footprint", "exposures_digest"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _plain_path(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


class Footprint(_Frozen):
    """Where the telescope looked in each epoch: by a table of exposures, or by the extent of the catalogues' own rows.

    What lies within and was not detected has a `status` of 2, an upper limit; what lies outside was not observed.
    """

    extent: Literal["hull"] | None = Field(
        default=None,
        description="'hull': each file covers the smallest convex region around its rows of a measurement.",
    )
    exposures: Annotated[str, BeforeValidator(_plain_path)] | None = Field(
        default=None,
        description="Table of exposures, one or more per epoch: a path, glob or URL; any format of catalogues.",
    )
    epoch: str | None = Field(
        default=None, description="Its column of the epoch's key, as the catalogues' epochs are called."
    )
    ra: str | None = Field(default=None, description="Its column of the centre's right ascension in degrees.")
    dec: str | None = Field(default=None, description="Its column of the centre's declination in degrees.")
    radius: float | str | None = Field(
        default=None, description="Radius around the centre in degrees, or its column of them."
    )
    corners: tuple[tuple[str, str], ...] | None = Field(
        default=None,
        description="Instead of a centre: columns of right ascension and declination of each corner, in order: "
        "[['ra1', 'dec1'], ['ra2', 'dec2'], …].",
    )
    limit: str | None = Field(
        default=None, description="Its column of the limit of detection, in the measurement's unit."
    )
    time: str | None = Field(
        default=None,
        description="Its column of each exposure's time, written as the catalogues' times are; without it, the epoch's.",
    )
    measurement: str | None = Field(
        default=None,
        description="Its column of the measurement that was exposed; without it, all that the epoch's files have.",
    )
    names: dict[str, str | None] = Field(
        default_factory=dict,
        description="What that column calls a measurement → the measurement's name, where they differ; null leaves "
        "these exposures out.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if wrong := list(self._contradictions()):
            raise ValueError("; ".join(wrong))
        return self

    def _contradictions(self) -> Iterator[str]:
        if (self.extent is None) == (self.exposures is None):
            yield "give exactly one of 'extent' and 'exposures'"
        if self.exposures is None:
            yield from (f"'{name}' needs 'exposures'" for name in self._of_exposures())
            return
        if self.epoch is None:
            yield "'epoch' is missing: the column that says which epoch an exposure is of"
        circle = [each is not None for each in (self.ra, self.dec, self.radius)]
        if not all(circle) if self.corners is None else any(circle):
            yield "give 'ra', 'dec' and 'radius', or 'corners'"
        if self.corners is not None and len(self.corners) < 3:
            yield f"'corners' has {len(self.corners)} pairs; give three or more"
        if isinstance(self.radius, float) and not 0 < self.radius <= 180:
            yield f"'radius' is {self.radius:g}; give degrees above 0, up to 180"
        if self.names and self.measurement is None:
            yield "'names' needs 'measurement'"

    def _of_exposures(self) -> Iterator[str]:
        """Yield the fields that are set and speak of a table."""
        yield from (
            name
            for name in type(self).model_fields
            if name not in ("extent", "exposures") and getattr(self, name)
        )

    @property
    def degrees(self) -> tuple[str, ...]:
        """The columns of the table that hold degrees."""
        corners = [name for pair in self.corners or () for name in pair]
        radius = self.radius if isinstance(self.radius, str) else None
        return tuple(name for name in (self.ra, self.dec, radius, *corners) if name)

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns of the table that hold names."""
        return tuple(name for name in (self.epoch, self.measurement) if name)


class Exposure(_Frozen):
    """One region of the sky that was looked at: a circle, or a polygon whose sides are great circles."""

    ra: float | None = Field(default=None, description="Of the circle's centre, degrees.")
    dec: float | None = Field(default=None, description="Of the circle's centre, degrees.")
    radius: float | None = Field(default=None, description="Of the circle, degrees.")
    corners: tuple[tuple[float, float], ...] = Field(
        default=(), description="Right ascension and declination of the polygon's corners, degrees."
    )
    measurement: str | None = Field(
        default=None, description="What was measured; None: all that the epoch's files have."
    )
    limit: float | None = Field(default=None, description="Limit of detection; None where it isn't known.")
    time: float | None = Field(default=None, description="MJD; None: the epoch's.")
    unit: str | None = Field(default=None, description="Unit of the limit, if the table says it.")


def exposures_digest(exposures: Iterable[Exposure]) -> str:
    """Return the digest of some exposures, whatever their order and however their table is written."""
    told = sorted(each.model_dump_json(exclude={"unit"}) for each in exposures)
    return hashlib.sha256("\0".join(told).encode()).hexdigest()
