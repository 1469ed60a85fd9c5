"""The rows that an append adds, with what only its commit knows: each row's digest, and the receipt that tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from aggrade.commit.catalogue import NewLines
from aggrade.commit.documents import storable
from aggrade.session_rows import table_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade.append_plan import AppendPlan
    from aggrade.commit.catalogue import Place

__all__ = ["STAMPS", "NewRows"]

STAMPS = ("content_digest", "receipt")
"""Variables that the append fills in itself, where the dataset has them; they don't count as content."""


@dataclass(frozen=True, slots=True)
class NewRows:
    """Which rows of the variables handed over are new.

    Parameters
    ----------
    labels
        Of all rows that were handed over, as text.
    dim
        The dimension that grows.
    plan
        Which of them are new, and where each goes.
    write_id
        The commit that brings them.
    """

    labels: Sequence[str]
    dim: str
    plan: AppendPlan
    write_id: str

    def of(self, variables: Mapping[Any, xr.Variable]) -> dict[str, xr.Variable]:
        """Return the new rows of variables, stamped."""
        rows: Any = [self.labels.index(layer.label) for layer in self.plan.new]
        rows = slice(rows[0], rows[-1] + 1) if len(rows) == 1 else rows
        chosen = {
            str(name): variable.isel({self.dim: rows}) if self.dim in variable.dims else variable
            for name, variable in variables.items()
        }
        return chosen | self._stamps(chosen)

    def lines(
        self, variables: Mapping[Any, xr.Variable], place: Place, mark: Mapping[str, Any]
    ) -> NewLines | None:
        """Return what the catalogue is to say of the new rows; None if there is nothing to commit.

        Parameters
        ----------
        variables
            As readers see them.
        place
            Where the dataset's catalogue tells of the store.
        mark
            The store's own attributes before the append.
        """
        if self.plan.commit is None:
            return None
        table = table_of(
            self.of(variables),
            range(len(self.plan.new)),
            store=place.store,
            first=self.plan.new[0].index,
            attributes=self.plan.commit.attributes,
            mark={**mark, **self.plan.commit.mark},
        )
        superseded = (layer.supersedes for layer in self.plan.new)
        return NewLines(table, frozenset(index for index in superseded if index is not None))

    def _stamps(self, variables: Mapping[str, xr.Variable]) -> dict[str, xr.Variable]:
        filled = {
            "content_digest": [layer.digest for layer in self.plan.new],
            "receipt": [self.write_id] * len(self.plan.new),
        }
        return {
            name: storable(
                xr.Variable((self.dim,), np.array(filled[name], dtype=object), variables[name].attrs)
            )
            for name in STAMPS
            if name in variables and variables[name].dims == (self.dim,)
        }
