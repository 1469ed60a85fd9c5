"""What `append` is asked for, looked over before anything is read: a mistyped rule must not turn a guard off."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import xarray as xr

from aggrade.append_plan import OnConflict
from aggrade.channels import Channels
from aggrade.commit.plan import BackupKind
from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["check_arguments", "check_growing"]

_RULES = {"on_conflict": OnConflict, "backup": BackupKind, "channels": Channels}


def check_arguments(dataset: object, **rules: str) -> None:
    """Raise if an append isn't asked for properly.

    Parameters
    ----------
    dataset
        What to append.
    **rules
        ``on_conflict``, ``backup`` and ``channels``, as they were given.

    Raises
    ------
    BadInput
        With every problem: it is no dataset, an array has a dimension twice, or there is no such rule.
    """
    problems = [_unknown(name, value) for name, value in rules.items() if value not in get_args(_RULES[name])]
    raise_all([*_shapeless(dataset), *problems], BadInput)


def check_growing(dim: str, growing: Sequence[str]) -> None:
    """Raise if the dimension of the layers is declared as one along which each of them may be longer.

    Parameters
    ----------
    dim, growing
        The dimension along which layers are appended, and those that may grow beside it.

    Raises
    ------
    BadInput
        If it is among them.
    """
    if dim in growing:
        expected = f"dimensions beside {dim!r}, along which layers are appended"
        fix = f"leave {dim!r} out of it: the store grows along it anyway"
        raise BadInput(Problem("grow", repr(tuple(growing)), expected, fix, "grow-dimension"))


def _unknown(name: str, value: object) -> Problem:
    known = " or ".join(map(repr, get_args(_RULES[name])))
    return Problem(name, repr(value), known, "choose one of them", f"{name.replace('_', '-')}-rule")


def _shapeless(dataset: object) -> Iterator[Problem]:
    if not isinstance(dataset, xr.Dataset):
        fix = "pass a dataset; array.to_dataset(name=…) makes one of an array"
        yield Problem("dataset", f"a {type(dataset).__name__}", "an xarray.Dataset", fix, "no-dataset")
        return
    for name, variable in dataset.variables.items():
        if len(set(variable.dims)) != len(variable.dims):
            found, expected = f"dimensions {variable.dims}", "each dimension once"
            yield Problem(f"variable {str(name)!r}", found, expected, "rename one of them", "dimension-twice")
