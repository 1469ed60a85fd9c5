"""What says what values mean: names of codes, rules that windows were cut by, scales of times and values, counts.

A store has each of them once, for all of its layers, and keeps its own. A layer that says otherwise would be read as
something else than it is, so it is refused; what only one side says is not compared.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from aggrade.errors import Problem
from aggrade.modalities import MODALITIES, absent_variables
from aggrade.plain_attributes import fault_of, plain_attribute
from aggrade.window_spec import WindowSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from aggrade.asked import Asked

    Codes = Mapping[str, Any]

__all__ = ["codes_match", "counts_fit", "rules_match", "scales_match"]

_LABEL, _DATASET, _COUNTS = "label", "the dataset", "n_windows"
_MAPPING, _FLAGS = "mapping", "flag_meanings"
_SCALES = ("time_scale", "time_ref")
_OWN_SCALES = {"epoch_time": ("format",), "lightcurves": ("value", "system")}
_MOST_SHOWN = 12
_UNNAMED = "use another store: this one was made without names"
_CUT_AGAIN = "cut it again with the store's mapping, or use another store"
_NAME_AGAIN = "bring names and values into the store's, or use another store"


def codes_match(asked: Asked) -> Iterator[Problem]:
    """Refuse names of codes, by a mapping or CF flags, that readers would take for others or would not find."""
    told = set()
    for kind in (_MAPPING, _FLAGS):
        for where, mine, theirs, values in _compared(asked, kind):
            unfit = {name: code for name, code in mine.items() if not _fits(name, code, theirs, values)}
            if unfit and (sides := (str(mine), str(theirs))) not in told:
                told.add(sides)
                of_store = _shown(theirs, unfit)
                expected = f"{of_store}, as in the store" if theirs else "no names, as in the store"
                fix = (_CUT_AGAIN if kind == _MAPPING else _NAME_AGAIN) if theirs else _UNNAMED
                yield Problem(f"attribute {kind!r} of {where}", _shown(mine, unfit), expected, fix, "names")


def _compared(asked: Asked, kind: str) -> Iterator[tuple[str, Codes, Codes, xr.Variable | None]]:
    """Yield where both sides name codes: the layer's, the store's, and the values that bear them."""
    mine, theirs = _homes(asked.dataset), {} if asked.stored is None else _homes(asked.stored)
    for home, attributes in mine.items():
        others = {_LABEL: _DATASET, _DATASET: _LABEL} if kind == _MAPPING else {}
        both = [_codes(theirs.get(each, {}), kind) for each in (home, others.get(home, home))]
        own = _codes(attributes, kind)
        stored = both[0] or both[1] or next((each for each in both if each is not None), None)
        if own and stored is not None:
            name = _LABEL if home == _DATASET else home
            where = home if home == _DATASET else f"variable {home!r}"
            yield where, own, stored, asked.dataset.variables.get(name)


def _homes(dataset: xr.Dataset) -> dict[str, Mapping[Any, Any]]:
    """Return where attributes may name codes: the label first, the dataset last."""
    names = sorted(map(str, dataset.variables), key=lambda name: name != _LABEL)
    return {name: dataset.variables[name].attrs for name in names} | {_DATASET: dataset.attrs}


def _codes(attributes: Mapping[Any, Any], kind: str) -> Codes | None:
    """Return name → code, None if the attributes name none."""
    if any(fault_of(attributes.get(key)) for key in (kind, "flag_values")):
        return None
    found = plain_attribute(attributes.get(kind))
    if kind == _FLAGS:
        names, codes = str(found or "").split(), plain_attribute(attributes.get("flag_values"))
        fit = isinstance(codes, list | tuple) and len(codes) == len(names) > 0
        found = dict(zip(names, codes, strict=True)) if fit else None
    if not isinstance(found, dict) or not all(isinstance(code, int | float | str) for code in found.values()):
        return None
    return {str(name): code for name, code in found.items()}


def _fits(name: str, code: Any, theirs: Codes, values: xr.Variable | None) -> bool:
    """Tell whether the store names a code alike, or neither the name nor the code is anything to it."""
    alike = [other for other in theirs if other.casefold() == name.casefold()]
    known = [theirs[other] for other in ([name] if name in theirs else alike)]
    if known or code in theirs.values():
        return code in known
    return not _is_borne(code, values)


def _is_borne(code: Any, values: xr.Variable | None) -> bool:
    if values is None or isinstance(code, str) or values.dtype.kind not in "biuf":
        return False
    return bool((values == code).any())


def _shown(codes: Codes, unfit: Codes) -> str:
    """Return all names with their codes; where they are many, those that the names that don't fit concern."""
    if len(codes) <= _MOST_SHOWN:
        return str(dict(codes))
    concerned = [
        f"{name!r}: {code!r}" for name, code in codes.items() if name in unfit or code in unfit.values()
    ]
    return f"{{{', '.join([*concerned[:_MOST_SHOWN], '…'])}}} ({len(codes)})"


def rules_match(asked: Asked) -> Iterator[Problem]:
    """Refuse windows that were labelled, or placed around their markers, by another rule than the store's."""
    mine = _spec(asked.dataset.attrs)
    theirs = None if asked.stored is None else _spec(asked.stored.attrs)
    if asked.stored is None or mine is None or theirs is None or mine.cuts_trials != theirs.cuts_trials:
        return
    if not mine.cuts_trials and mine.mapping and theirs.mapping and mine.label != theirs.label:
        yield _another_rule("label", repr(mine.label), repr(theirs.label))
    if mine.cuts_trials:
        rates = _rate(asked.dataset.attrs, _absent(asked)), _rate(asked.stored.attrs, set())
        begins = [spec.trial_offsets_s(rate)[0] for spec, rate in zip((mine, theirs), rates, strict=True)]
        if abs(begins[0] - begins[1]) > 0.5 / max(rates):
            yield _another_rule("trial_start_offset", *(f"{begin:g} s" for begin in begins))


def _absent(asked: Asked) -> set[str]:
    """Return the variables that only fill the place of a modality that the first layer lacks."""
    variables = {str(name): variable for name, variable in asked.dataset.variables.items()}
    return absent_variables(variables, asked.dim, 0) if asked.dataset.sizes[asked.dim] else set()


def _another_rule(name: str, mine: str, theirs: str) -> Problem:
    fix = "cut it again with the store's, or use another store"
    where = f"attribute 'spec' of {_DATASET}, {name}"
    return Problem(where, mine, f"{theirs}, as in the store", fix, "window-rule")


def _spec(attributes: Mapping[Any, Any]) -> WindowSpec | None:
    """Return the specification that windows were cut by, None if there is none that can be read."""
    try:
        said = json.loads(attributes["spec"])
        return WindowSpec.model_validate(
            {name: said[name] for name in WindowSpec.model_fields if name in said}
        )
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _rate(attributes: Mapping[Any, Any], absent: set[str]) -> float:
    """Return that of the samples that a specification counts in, Hz: the first modality's that is there; NaN if unknown."""
    for modality in MODALITIES:
        rate = attributes.get(f"{modality}_nominal_rate")
        if isinstance(rate, int | float) and rate > 0 and f"{modality}_coverage" not in absent:
            return float(rate)
    return math.nan


def scales_match(asked: Asked) -> Iterator[Problem]:
    """Refuse times of another scale or place, and magnitudes of another system, than the store says."""
    if asked.stored is None:
        return
    homes, stored = _homes(asked.dataset), _homes(asked.stored)
    for home in filter(stored.__contains__, homes):
        for name in (*_SCALES, *_OWN_SCALES.get(home, ())):
            mine, theirs = homes[home].get(name), stored[home].get(name)
            if isinstance(mine, str) and isinstance(theirs, str) and mine.casefold() != theirs.casefold():
                where = f"attribute {name!r} of {home if home == _DATASET else f'variable {home!r}'}"
                yield Problem(where, repr(mine), f"{theirs!r}, as in the store", "convert it", "scale")


def counts_fit(asked: Asked) -> Iterator[Problem]:
    """Refuse sessions that say to have more windows than they bring: readers would show fill for the others."""
    counts, there = asked.dataset.variables.get(_COUNTS), asked.dataset.sizes.get("window")
    if counts is None or there is None or counts.dims != (asked.dim,) or counts.dtype.kind not in "iu":
        return
    odd = [int(count) for count in counts.values if not 0 <= count <= there]
    if odd:
        found = ", ".join(map(str, odd[:_MOST_SHOWN]))
        fix = "count them again: readers take it for how many are a session's own"
        yield Problem(f"variable {_COUNTS!r}", found, f"at most {there}, as many as there are", fix, "count")
