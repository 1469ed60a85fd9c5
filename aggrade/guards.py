"""The guards of an append: every reason to refuse, one small function each, all reported at once.

A guard looks at what is asked and at what the store is, and yields `Problem`s. It writes nothing and is the
same code in the dry run. A new guard is a function of `Asked` and a line in `GUARDS`.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.append_labels import stored_labels_differ
from aggrade.append_layout import name_problems
from aggrade.attribute_guards import rates_match, units_match
from aggrade.channels import other_values
from aggrade.codec_guards import codecs_are_exact
from aggrade.commit.documents import asked_sizes, dims_of, labels_of, shape_of, storable, unit_of
from aggrade.encoding import calendar_problem, changed_values
from aggrade.errors import Problem
from aggrade.exactness import differing
from aggrade.meaning_guards import codes_match, counts_fit, rules_match, scales_match
from aggrade.modalities import MODALITIES, is_of
from aggrade.name_guards import keys_fit, names_can_be_stored
from aggrade.plain_attributes import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import xarray as xr

    from aggrade.asked import Asked
    from aggrade.commit.documents import Document

    Guard = Callable[["Asked"], Iterator[Problem]]

__all__ = ["GUARDS", "OWN_GUARDS", "adopted_rows", "problems_of"]


def problems_of(asked: Asked, guards: Sequence[Guard] | None = None) -> list[Problem]:
    """Return what every guard has to say, or those that are named."""
    return [problem for guard in (GUARDS if guards is None else guards) for problem in guard(asked)]


def types_can_be_stored(asked: Asked) -> Iterator[Problem]:
    """Refuse types that Zarr doesn't have, and objects that are not text."""
    yield from asked.types.values()


def calendars_are_numpys(asked: Asked) -> Iterator[Problem]:
    """Refuse to make a store of times in a calendar that datetime64 doesn't have."""
    if asked.stored is not None:
        return
    for name, variable in asked.dataset.variables.items():
        if variable.dtype.kind == "M":
            problem = calendar_problem(str(name), {"units": "since", **variable.encoding})
            if problem is not None:
                fix = "drop its encoding: dataset.drop_encoding()"
                yield replace(problem, fix=fix)


def attributes_can_be_stored(asked: Asked) -> Iterator[Problem]:
    """Demand attributes that JSON can hold, where a store is made of them, and such as can be compared with its own."""
    carriers = {"dataset": asked.dataset.attrs}
    carriers |= {f"variable {str(name)!r}": v.attrs for name, v in asked.dataset.variables.items()}
    for where, attributes in carriers.items():
        for key, value in attributes.items():
            fault = fault_of(key) or fault_of(value)
            if fault or (asked.stored is None and not (isinstance(key, str) and _is_json(value))):
                name = "an attribute" if fault_of(key) else f"attribute {key!r}"
                found = f"{name} of {fault or repr(value)}"
                expected = "text, finite numbers and lists of them"
                yield Problem(where, found, expected, "convert it to text, or drop it", "attribute")


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def labels_are_usable(asked: Asked) -> Iterator[Problem]:
    """Demand one label for every layer, since a layer is found again by it."""
    where = f"coordinate {asked.dim!r}"
    if asked.dim in asked.types:
        return
    labels = labels_of(asked.dataset.variables[asked.dim])
    if not labels:
        yield Problem(
            where, "no layer", "one label for each layer", "append what isn't empty", "label-missing"
        )
    if any(label.strip() in {"", "nan", "NaT", "None"} for label in labels):
        yield Problem(
            where, "an empty label", "a label for every layer", "give each layer its id", "label-empty"
        )
    twice = sorted(label for label, count in Counter(labels).items() if count > 1)
    if twice:
        found = f"{', '.join(twice[:5])} more than once"
        yield Problem(where, found, "each label once", "make them differ", "label-twice")


def labels_are_new(asked: Asked) -> Iterator[Problem]:
    """Refuse labels of rows that another tool wrote: nothing says whether their content is the same."""
    rows = adopted_rows(asked.mark, asked.stored, asked.dim)
    if asked.stored is None or not rows or asked.dim not in asked.stored or asked.dim in asked.types:
        return
    known = set(labels_of(asked.stored[asked.dim].variable[:rows]))
    for label in sorted(known & set(labels_of(asked.dataset.variables[asked.dim]))):
        found = "the same label in a row that was there before aggrade"
        fix = "drop it if it is the same layer; give it another label if it isn't"
        yield Problem(f"layer {label!r}", found, "a new label", fix, "label-there")


def adopted_rows(mark: Mapping[str, Any], stored: xr.Dataset | None, dim: str) -> int:
    """Return how many rows of a store another tool wrote, so that no record tells of them."""
    if "dim" in mark or stored is None:
        return int(mark.get("adopted", 0))
    return int(stored.sizes.get(dim, 0))


def dimension_is_the_stores(asked: Asked) -> Iterator[Problem]:
    """Refuse to grow a store along another dimension than its own."""
    grows = asked.mark.get("dim", asked.dim)
    if grows != asked.dim:
        fix = f"append along {grows!r}, or use another store"
        yield Problem("dim", repr(asked.dim), f"{grows!r}, along which the store grows", fix, "dimension")


def variables_match(asked: Asked) -> Iterator[Problem]:
    """Refuse a variable too many or too few: it would leave holes that look like data."""
    names = {str(name) for name in asked.dataset.variables}
    unknown = names - set(asked.documents)
    for modality in MODALITIES:
        whole = {name for name in unknown if is_of(modality, name)}
        if modality in whole and not any(is_of(modality, name) for name in asked.documents):
            unknown -= whole
            yield _new_modality(modality, len(whole))
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, asked.documents, 1)
        hint = f"rename it to {near[0]!r}" if near else "drop it, or start a new store"
        yield Problem(
            f"variable {name!r}",
            "a variable that the store doesn't have",
            "none such",
            hint,
            "extra-variable",
        )
    for name in sorted(set(asked.documents) - names):
        yield Problem(
            f"variable {name!r}", "nothing", "the variable, as in the store", "add it", "missing-variable"
        )


def _new_modality(modality: str, count: int) -> Problem:
    return Problem(
        f"modality {modality!r}",
        f"{count} variables of it",
        f"a store that has {modality}: this one was begun by sessions without it",
        "begin a store with a session that has both (those with one fit in behind it), or let partition='montage' choose",
        "extra-variable",
    )


def dimensions_match(asked: Asked) -> Iterator[Problem]:
    """Demand the same dimensions in the same order, and the same sizes but for those that may grow."""
    misfits: dict[tuple[str, int, int], list[str]] = {}
    for name, variable in asked.known.items():
        document = asked.documents[name]
        dims = tuple(map(str, variable.dims))
        if dims != dims_of(document):
            found, expected = f"dimensions {dims}", f"{dims_of(document)}"
            yield Problem(f"variable {name!r}", found, expected, "transpose it", "dimensions")
            continue
        for dim, size, there in zip(dims, variable.shape, shape_of(document), strict=True):
            if dim not in asked.moving | asked.refused and size != there:
                misfits.setdefault((dim, size, there), []).append(name)
    for (dim, size, there), names in misfits.items():
        where = f"variable{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
        fix = f"make it fit, declare grow=({dim!r},), or use another store"
        yield Problem(where, f"{dim} of {size}", f"{there}, as in the store", fix, "size")


def channels_match(asked: Asked) -> Iterator[Problem]:
    """Refuse other channels than the store's, unless they are united, and units and types that differ by name."""
    stored = asked.stored
    if stored is None:
        return
    yield from (problem for problem in asked.channels.values() if problem is not None)
    for dim in asked.channels:
        yield from other_values(asked.own, stored, dim, asked.dim)


def fixed_values_match(asked: Asked) -> Iterator[Problem]:
    """Demand that what doesn't grow (channel names, their order) is equal, value by value."""
    if asked.stored is None:
        return
    for name, variable in asked.known.items():
        dims = set(map(str, variable.dims))
        if dims & (asked.moving | set(asked.channels)) or name not in asked.stored.variables:
            continue
        stored = asked.stored.variables[name]
        if variable.shape == stored.shape and not _same(variable.values, stored.values):
            found, expected = _short(variable.values), f"{_short(stored.values)}, in this order"
            fix = "bring them into the store's order, or use another store"
            yield Problem(f"variable {name!r}", found, expected, fix, "fixed-values")


def growing_values_match(asked: Asked) -> Iterator[Problem]:
    """Demand that labels along a dimension that may grow continue those of the store."""
    if asked.stored is None:
        return
    for name, variable in asked.known.items():
        dims = set(map(str, variable.dims))
        if asked.dim in dims or not dims & set(asked.grow) or name not in asked.stored.variables:
            continue
        stored = asked.stored.variables[name]
        both = tuple(slice(0, min(sizes)) for sizes in zip(variable.shape, stored.shape, strict=True))
        if not _same(variable[both].values, stored[both].values):
            found, expected = _short(variable.values), _short(stored.values)
            yield Problem(f"variable {name!r}", found, expected, "use the store's values", "growing-values")


def values_come_back(asked: Asked) -> Iterator[Problem]:
    """Demand that every value decodes to what was handed over: no overflow, rounding, re-based time."""
    known = asked.encodings
    for name, variable in asked.known.items():
        if name in asked.types:
            continue
        if not _castable(variable, known[name]):
            yield _another_kind(name, variable, known[name])
            continue
        changed = changed_values(variable, name, known[name])
        if changed is not None:
            found, expected = (
                f"{changed[0]}, which would be stored as {changed[1]}",
                "values that the store can hold",
            )
            fix = _no_loss(variable, known[name], exists=asked.stored is not None)
            yield Problem(f"variable {name!r}", found, expected, fix, "value-lost")


def _no_loss(variable: xr.Variable, encoding: Mapping[str, Any], *, exists: bool) -> str:
    """Return what to do about values that don't come back; a store that isn't there is made as the dataset says."""
    if exists:
        return (
            f"bring it into the store's {_seen_type(encoding)} so that nothing is lost, or use another store"
        )
    asked = [repr(key) for key in encoding if key in variable.attrs and key not in variable.encoding]
    if asked:
        return f"drop {', '.join(asked)} from its attributes, so that it is stored as {variable.dtype}"
    return f"drop its encoding, so that it is stored as {variable.dtype}: dataset.drop_encoding()"


def _seen_type(encoding: Mapping[str, Any]) -> str:
    """Return the type of an array, as readers see it where ``_Unsigned`` says that its integers have another sign."""
    dtype = np.dtype(encoding.get("dtype", "O"))
    kind = {"true": "uint", "false": "int"}.get(str(encoding.get("_Unsigned")))
    return f"{kind}{8 * dtype.itemsize}" if kind and dtype.kind in "iu" else str(encoding.get("dtype"))


def chunks_match(asked: Asked) -> Iterator[Problem]:
    """Refuse other chunks than the store's, which are its own for life, and such of names that neither side has."""
    if asked.stored is None:
        return
    variables = {*asked.documents, *map(str, asked.own.variables)}
    dims = {*map(str, asked.own.dims), *(dim for doc in asked.documents.values() for dim in dims_of(doc))}
    yield from name_problems("chunks", asked.chunks, variables, dims)
    yield from name_problems("shards", asked.shards, variables, dims)
    for name, document in asked.documents.items():
        inner, outer = _inner(document), unit_of(document)
        wanted = asked_sizes(name, dims_of(document), asked.chunks, inner)
        shards = asked_sizes(name, dims_of(document), asked.shards, outer)
        rounded = tuple(-(-shard // chunk) * chunk for shard, chunk in zip(shards, inner, strict=True))
        for what, asks, there in (("chunks", wanted, inner), ("shards", rounded, outer)):
            if asks != there:
                found, expected = f"{what} of {asks}", f"{there}, as in the store"
                fix = "leave it out, or rechunk the store: aggrade rechunk"
                yield Problem(f"variable {name!r}", found, expected, fix, "chunks")


def _inner(document: Document) -> tuple[int, ...]:
    for codec in document["codecs"]:
        if codec["name"] == "sharding_indexed":
            return tuple(codec["configuration"]["chunk_shape"])
    return unit_of(document)


def _castable(variable: xr.Variable, encoding: Mapping[str, Any]) -> bool:
    """Tell whether the kinds of dtype can be compared at all."""
    mine = storable(variable).dtype.kind
    if (mine == "T") != (np.dtype(encoding.get("dtype", "O")).kind in "OTU"):
        return False
    return not (mine in "mM" and "units" not in encoding) and not (mine not in "mM" and _is_time(encoding))


def _is_time(encoding: Mapping[str, Any]) -> bool:
    return "units" in encoding


def _another_kind(name: str, variable: xr.Variable, encoding: Mapping[str, Any]) -> Problem:
    """Return the problem of text, numbers and times that don't mix, by what readers see, not by what is stored."""
    mine, units = storable(variable).dtype.kind, variable.attrs.get("units")
    found = {"T": "text", "M": "times", "m": "lengths of time"}.get(mine, "numbers")
    found += f" ({variable.dtype})" + (f" with units {units!r}" if units is not None else "")
    fix = "convert it"
    if _is_time(encoding):
        kind = "datetime64" if " since " in str(encoding["units"]) else "timedelta64"
        expected = f"{kind}: readers take units {encoding['units']!r} for times"
        fix = f"convert it to {kind}, by xarray.decode_cf for instance, or name another unit"
    elif np.dtype(encoding.get("dtype", "O")).kind in "OTU":
        expected = "text"
    else:
        expected = f"numbers ({encoding.get('dtype')})"
    return Problem(f"variable {name!r}", found, expected, fix, "dtype")


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "OUST" or other.dtype.kind in "OUST":
        return [str(item) for item in one.ravel()] == [str(item) for item in other.ravel()]
    return not differing(one, other).any()


def _short(values: np.ndarray[Any, Any]) -> str:
    items = [str(item) for item in np.asarray(values).ravel()]
    return ", ".join(items[:8]) + (f" … ({len(items)})" if len(items) > 8 else "")


OWN_GUARDS: tuple[Guard, ...] = (
    names_can_be_stored,
    types_can_be_stored,
    calendars_are_numpys,
    attributes_can_be_stored,
    labels_are_usable,
)
"""What can be said of a dataset alone, before there are documents of a new store."""

GUARDS: tuple[Guard, ...] = (
    *OWN_GUARDS,
    keys_fit,
    dimension_is_the_stores,
    labels_are_new,
    stored_labels_differ,
    variables_match,
    dimensions_match,
    channels_match,
    fixed_values_match,
    growing_values_match,
    units_match,
    rates_match,
    codes_match,
    rules_match,
    scales_match,
    counts_fit,
    values_come_back,
    codecs_are_exact,
    chunks_match,
)
