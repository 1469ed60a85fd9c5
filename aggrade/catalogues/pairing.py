"""Which columns are values and which are their errors, by the ways that surveys name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from astropy import units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.catalogues.tables import Column

__all__ = ["Pair", "band_of", "pairs_among"]

_ERRORS = [
    "{}err",
    "{}_err",
    "{}error",
    "{}_error",
    "e_{}",
    "err_{}",
    "sig{}",
    "sigma{}",
    "d{}",
    "{}sigma",
    "{}_sigma",
    "{}unc",
    "{}_unc",
    "{}rms",
    "{}_std",
]
_SWAPS = (
    ("mag", "magerr"),
    ("mag", "mag_err"),
    ("mag", "err"),
    ("mag", "sigma"),
    ("mag", "sig"),
    ("flux", "fluxerr"),
    ("flux", "flux_err"),
    ("flux", "dflux"),
    ("fnu", "fnuerr"),
    ("aperture_sum", "aperture_sum_err"),
)
_MAG = re.compile(
    r"(?<![a-z])[a-z]?(psf|ap|model|cmodel|kron|auto|iso|mean)?_?mag(?!nr|lim|ref|dif|from|zp|apbig)",
    re.IGNORECASE,
)
_FLUX = re.compile(r"flux(?!iso|radius|lbs)|aperture_sum", re.IGNORECASE)
_NO_VALUES = re.compile(
    r"lim|err|sig|zp|zeropoint|radius|frac|chi|diff$|std|rms|ref|flag|max|min|nr$|from|calib", re.IGNORECASE
)
_BAND = re.compile(
    r"(?:^|_|mag|flux|Mag|Flux)(u|g|r|i|z|y|U|B|V|R|I|J|H|K|Ks|W[1-4]|BP|RP|G|NUV|FUV)(?:_|$|Flux|Mag|psf|mag|Psf|mean|ap)"
)


_FLUXES = (units.Jy, units.ct, units.adu, units.electron, units.ct / units.s, units.electron / units.s)


class Pair(NamedTuple):
    """A column of values and that of their errors, if there is one."""

    value: str
    error: str | None


def pairs_among(columns: Mapping[str, Column]) -> tuple[str, list[Pair]]:
    """Return ``"mag"`` or ``"flux"``, and the columns that hold such, those with errors alone if there are any.

    Parameters
    ----------
    columns
        The columns that hold numbers.
    """
    known = {name.lower(): name for name in columns}
    kinds = {
        kind: _of_kind(kind, pattern, columns, known) for kind, pattern in (("mag", _MAG), ("flux", _FLUX))
    }
    for kind, pairs in kinds.items():
        if with_errors := [pair for pair in pairs if pair.error]:
            return kind, with_errors
    return next(((kind, pairs) for kind, pairs in kinds.items() if pairs), ("mag", []))


def _of_kind(
    kind: str, pattern: re.Pattern[str], columns: Mapping[str, Column], known: Mapping[str, str]
) -> list[Pair]:
    pairs = [
        Pair(name, _error_of(name, known))
        for name, column in columns.items()
        if not _NO_VALUES.search(name) and (_kind_of(column.unit) or (pattern.search(name) and kind)) == kind
    ]
    taken = {pair.error for pair in pairs}
    return [pair for pair in pairs if pair.value not in taken]


def _kind_of(unit: str | None) -> str:
    """Return what a unit is one of: ``"mag"``, ``"flux"``, ``"neither"``, or nothing if it does not tell."""
    if not unit:
        return ""
    if "mag" in unit.lower():
        return "mag"
    parsed = units.Unit(unit, parse_strict="silent")
    if isinstance(parsed, units.UnrecognizedUnit):
        return ""
    return "flux" if any(parsed.is_equivalent(each) for each in _FLUXES) else "neither"


def _error_of(value: str, known: Mapping[str, str]) -> str | None:
    """Return the column that is called after a value in one of the usual ways."""
    return next(
        (known[each] for each in _spellings(value.lower()) if each in known and each != value.lower()), None
    )


def _spellings(value: str) -> Iterator[str]:
    for part, instead in _SWAPS:
        if part in value:
            yield value.replace(part, instead, 1)
    for form in _ERRORS:
        yield form.format(value)
    path, dot, field = value.rpartition(".")
    if dot:
        yield from (f"{path}.{each}" for each in _spellings(field))


def band_of(name: str) -> str:
    """Return the band that a column's name tells, or nothing.

    >>> band_of("mag_g"), band_of("psfMag_r"), band_of("W1mag"), band_of("MAG_AUTO")
    ('g', 'r', 'W1', '')
    """
    found = _BAND.search(name)
    return found[1] if found else ""
