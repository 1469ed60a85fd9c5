"""Which rows of a table count: ``{"band": "g"}``, ``{"fid": [1, 2]}`` or ``"fid == 1 and field == 385"``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from aggrade.catalogues.tables import Column

__all__ = ["Condition", "Scalar", "parsed_condition", "rows_where"]

Scalar = int | float | str


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple, set)) else (value,)


Condition = Annotated[
    tuple[Scalar, ...], BeforeValidator(_listed, json_schema_input_type=Scalar | tuple[Scalar, ...])
]


def parsed_condition(value: Any) -> Any:
    """Turn ``"fid == 1 and band in ('g', 'r')"`` into a dictionary; leave everything else alone.

    Raises
    ------
    ValueError
        If the text is anything but comparisons by ``==`` or ``in`` joined by ``and``.
    """
    if not isinstance(value, str):
        return value
    try:
        tree = ast.parse(value, mode="eval").body
        return dict(_comparisons(tree))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{value!r} is not understood; write \"band == 'g'\" or {{'band': 'g'}}") from error


def _comparisons(node: ast.expr) -> Iterator[tuple[str, Any]]:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            for part in parts:
                yield from _comparisons(part)
        case ast.Compare(left=ast.Name(id=name), ops=[ast.Eq() | ast.In()], comparators=[wanted]):
            yield name, ast.literal_eval(wanted)
        case _:
            raise ValueError(ast.dump(node))


def rows_where(
    where: Mapping[str, tuple[Scalar, ...]] | None, columns: Mapping[str, Column], rows: int
) -> NDArray[np.bool_]:
    """Return (row,) bool: which rows meet every condition. A missing value meets none."""
    chosen = np.ones(rows, bool)
    for name, wanted in (where or {}).items():
        column = columns[name]
        chosen &= _among(column.values, wanted) & ~column.missing
    return chosen


def _among(values: NDArray[Any], wanted: tuple[Scalar, ...]) -> NDArray[np.bool_]:
    if values.dtype.kind == "U":
        return np.isin(values, [str(each) for each in wanted])
    chosen = np.zeros(len(values), bool)
    for each in wanted:
        chosen |= values == _number(each)
    return chosen


def _number(value: Scalar) -> float:
    """Return what a number in a specification is, NaN (which nothing equals) where it is text."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.lstrip("-").isdecimal() else float(value)
    except ValueError:
        return float("nan")
