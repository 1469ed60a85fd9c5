"""What a window reader is asked for: checked against what the dataset has."""

from __future__ import annotations

import operator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.modalities import MODALITIES, fill_of
from aggrade.window_loading import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from aggrade.window_parts import Part

__all__ = ["check_numbers", "choose_columns", "choose_samples"]

_NO_LABEL = -1


def check_numbers(given: Mapping[str, Any]) -> None:
    """See that the numbers that a reader is given make sense together.

    Parameters
    ----------
    given
        ``batch_size``, ``threads``, ``seed``, ``rank``, ``world_size``, ``framework``.

    Raises
    ------
    BadInput
        With every reason.
    """
    raise_all(_number_problems(given), BadInput)


def _number_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    fix = "give one"
    for name, least in (("batch_size", 1), ("threads", 1), ("world_size", 1), ("seed", 0), ("rank", 0)):
        if not _is_whole(given[name]) or given[name] < least:
            yield Problem(
                name, repr(given[name]), f"a whole number of at least {least}", fix, "reader-number"
            )
        elif name == "rank" and _is_whole(given["world_size"]) and given[name] >= max(1, given["world_size"]):
            yield Problem(
                name, repr(given[name]), f"less than world_size, {given['world_size']}", fix, "rank"
            )
    if given["framework"] not in ("numpy", "torch"):
        yield Problem("framework", repr(given["framework"]), '"numpy" or "torch"', fix, "framework")


def _is_whole(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and operator.index(value) is not None
    except TypeError:
        return False


def choose_samples(
    united: xr.Dataset,
    parts: Sequence[Part],
    modalities: Sequence[str] | None,
    channels: Mapping[str, str | Sequence[str]],
) -> tuple[list[Samples], dict[str, list[str]]]:
    """Return how each modality is read, and the names of its channels.

    Parameters
    ----------
    united
        All stores together.
    parts
        The stores.
    modalities
        Which; None means all that are there.
    channels
        Modality → names or patterns of its channels; those that are not named have all.

    Raises
    ------
    BadInput
        With every reason: a modality or channel that isn't there, or one that is named twice.
    """
    there = [name for name in MODALITIES if name in united.variables]
    asked = there if modalities is None else list(dict.fromkeys(modalities))
    problems = [
        Problem(
            where, repr(name), f"one of {', '.join(there) or 'none'}", "name one that is there", "modality"
        )
        for where, names in (("modalities", asked or ["none"]), ("channels", channels))
        for name in names
        if name not in there
    ]
    raise_all(problems, BadInput)
    known = {name: [str(label) for label in united[f"{name}_channel"].values] for name in asked}
    named = {name: _matching(known[name], channels.get(name), name, problems) for name in asked}
    raise_all(problems, BadInput)
    return [_samples(united, parts, name, labels) for name, labels in named.items()], named


def _matching(
    labels: Sequence[str], patterns: str | Sequence[str] | None, modality: str, problems: list[Problem]
) -> list[str]:
    """Return the labels that patterns name, in the order of the patterns; note those that name none."""
    if patterns is None:
        return list(labels)
    found: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = [
            label
            for label in labels
            if label == pattern or (pattern not in labels and fnmatchcase(label, pattern))
        ]
        if not matching:
            where, expected = f"channels[{modality!r}]", f"some of {', '.join(labels)}"
            problems.append(Problem(where, repr(pattern), expected, "name one that is there", "channel"))
        found += matching
    return list(dict.fromkeys(found))


def _samples(united: xr.Dataset, parts: Sequence[Part], name: str, labels: list[str]) -> Samples:
    variable, dim = united.variables[name], f"{name}_channel"
    places = [_places(part.dataset, dim, labels) for part in parts]
    return Samples(name, places, (len(labels), variable.sizes[f"{name}_sample"]), np.dtype(variable.dtype))


def _places(dataset: xr.Dataset, dim: str, labels: list[str]) -> NDArray[np.intp] | None:
    if dim not in dataset.dims:
        return None
    known = {str(label): at for at, label in enumerate(dataset[dim].values)}
    places = np.array([known.get(label, -1) for label in labels], np.intp)
    return None if np.array_equal(places, np.arange(len(known))) else places


def choose_columns(
    united: xr.Dataset, modalities: Sequence[str], quality: Sequence[str] | None
) -> dict[str, Any]:
    """Return the variables with one number per window that come with each batch, and what each has for absent.

    Parameters
    ----------
    united
        All stores together.
    modalities
        Those that are read.
    quality
        Names; None means the coverage of each modality.

    Raises
    ------
    BadInput
        If there is no such variable, naming those that are there.
    """
    known = [
        str(name)
        for name, variable in united.variables.items()
        if variable.dims == ("session", "window") and variable.dtype.kind in "fiub"
    ]
    asked = [f"{name}_coverage" for name in modalities] if quality is None else list(quality)
    raise_all(
        (
            Problem(
                "quality", repr(name), f"some of {', '.join(sorted(known))}", "name one of these", "quality"
            )
            for name in asked
            if name not in known and quality is not None
        ),
        BadInput,
    )
    wanted = dict.fromkeys(name for name in ("label", *asked) if name in known)
    return {name: _absent(name, united.variables[name]) for name in wanted}


def _absent(name: str, variable: xr.Variable) -> Any:
    return np.array(_NO_LABEL if name == "label" else fill_of(variable), variable.dtype)[()]
