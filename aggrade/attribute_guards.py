"""Attributes of a later layer: units and rates have to be the store's, all else is left out and said so.

A store has each attribute once, for all of its layers. A unit or a rate that differs makes a wrong number, and so does
one that only one side has; any other attribute that differs is not kept, which plan and receipt say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aggrade.errors import Problem
from aggrade.modalities import MODALITIES
from aggrade.plain_attributes import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from aggrade.asked import Asked

__all__ = ["NAMES", "RATES", "UNITS", "is_rate", "is_unit", "left_out", "rates_match", "units_match"]

UNITS = ("unit", "units")
"""Words of names of attributes that tell a unit."""

RATES = (
    *("rate", "rates", "samplerate", "samplingrate", "srate", "sfreq", "fs", "fsample"),
    *("sample freq", "sample frequency", "sampling freq", "sampling frequency"),
    *("samplefreq", "samplefrequency", "samplingfreq", "samplingfrequency"),
    *("sample interval", "sampling interval", "sampleinterval", "samplinginterval"),
    *("sample period", "sampling period", "sampleperiod", "samplingperiod"),
    *("time step", "timestep", "repetition time", "offset s"),
    *("window s", "window size", "window stride", "window length", "window duration", "window step"),
)
"""Words, in this order, of names of attributes that tell a rate or how long windows are."""

NAMES = ("sr", "hz", "freq", "frequency", "dt", "tr")
"""Names of attributes that tell a rate where they are the whole name, or follow ``eeg_`` or ``fnirs_``."""

_OWN = "aggrade"
_BORDER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")


def _words(name: str) -> str:
    """Return the words of a name in small letters, a space around each.

    >>> _words("SamplingFrequency"), _words("eeg.sampling_rate"), _words("SFREQ")
    (' sampling frequency ', ' eeg sampling rate ', ' sfreq ')
    """
    return f" {' '.join(_BORDER.split(name)).strip().lower()} "


def is_unit(name: str) -> bool:
    """Tell whether an attribute of this name tells a unit.

    >>> is_unit("Units"), is_unit("eeg_unit"), is_unit("community")
    (True, True, False)
    """
    return any(f" {word} " in _words(name) for word in UNITS)


def is_rate(name: str) -> bool:
    """Tell whether an attribute of this name tells a rate or how long windows are.

    >>> is_rate("sfreq"), is_rate("SamplingRate"), is_rate("eeg_hz"), is_rate("generated_by"), is_rate("line_freq")
    (True, True, True, False, False)
    """
    words = _words(name)
    own = words
    for modality in MODALITIES:
        own = own.removeprefix(f" {modality}")
    return own.strip() in NAMES or any(f" {phrase} " in words for phrase in RATES)


def units_match(asked: Asked) -> Iterator[Problem]:
    """Refuse a unit that differs, or that only one side has: it makes a wrong number."""
    for where, found, expected in _compared(asked):
        for name, mine, theirs in _differing(found, expected):
            if is_unit(name):
                told = "unit" if _words(name).strip() in UNITS else name
                there = f"{told} {mine[0]!r}" if mine else f"no {told}"
                wanted = repr(theirs[0]) if theirs else "none, as in the store"
                yield Problem(where, there, wanted, "convert it", "unit")


def rates_match(asked: Asked) -> Iterator[Problem]:
    """Demand the store's sampling rates and window lengths: they stand there once, for all layers."""
    for where, found, expected in _compared(asked):
        for name, mine, theirs in _differing(found, expected):
            if is_rate(name) and not is_unit(name):
                there, wanted = (repr(side[0]) if side else "nothing" for side in (mine, theirs))
                place = f"attribute {name!r}" + (f" of {where}" if where != "dataset" else "")
                fix = "use a store of its own for this setting"
                yield Problem(place, there, wanted, fix if mine and theirs else _ONE_SIDE[bool(mine)], "rate")


_ONE_SIDE = {
    False: "add it, if it is the store's; else use another store",
    True: "leave it out, if it goes for all of the store; else use another store",
}


def left_out(asked: Asked) -> Iterator[str]:
    """Yield the attributes of a layer that the store won't keep, since it has others or none of that name.

    Units and rates are not among them: they are the store's, or refused.
    """
    for where, found, expected in _compared(asked):
        for name, mine, _ in _differing(found, expected):
            if mine and not is_unit(name) and not is_rate(name):
                yield f"attribute {name!r} of {'the dataset' if where == 'dataset' else where}"


def _compared(asked: Asked) -> Iterator[tuple[str, Mapping[Any, Any], Mapping[Any, Any]]]:
    """Yield where attributes stand, those of the layer and those of the store: nothing on create."""
    if asked.stored is None:
        return
    yield "dataset", asked.dataset.attrs, asked.stored.attrs
    for name, variable in asked.known.items():
        if name in asked.stored.variables:
            both = variable, asked.stored.variables[name]
            timed = any(one.dtype.kind in "mM" for one in both)
            mine, theirs = (_own_attributes(one, timed=timed) for one in both)
            yield f"variable {name!r}", mine, theirs


def _own_attributes(variable: xr.Variable, *, timed: bool) -> dict[str, Any]:
    """Return a variable's attributes, of times without those that say how they are stored."""
    skipped = {"units", "calendar"} if timed else set()
    return {str(name): value for name, value in variable.attrs.items() if name not in skipped}


def _differing(
    found: Mapping[Any, Any], expected: Mapping[Any, Any]
) -> Iterator[tuple[str, tuple[Any, ...], tuple[Any, ...]]]:
    """Yield each attribute that is not the same on both sides: its name, and its value on each that has it.

    Names are the same whatever their case, and what a mapping holds is compared item by item.
    """
    mine, theirs = (
        {name.lower(): (name, value) for name, value in _flat(side)} for side in (found, expected)
    )
    for key in dict.fromkeys((*theirs, *mine)):
        name = (mine.get(key) or theirs[key])[0]
        values = mine.get(key, (name,))[1:], theirs.get(key, (name,))[1:]
        if not (key in mine and key in theirs and _equal(mine[key][1], theirs[key][1])):
            yield name, *values


def _flat(attributes: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in attributes.items():
        if not above and (name == _OWN or fault_of(name) or fault_of(value)):
            continue
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two attributes are the same in JSON, or as text."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return str(one) == str(other) or (numbers and one == other)
