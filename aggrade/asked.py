"""What an append asks for, as its guards look at it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from aggrade.channels import channel_dims, other_channels
from aggrade.encoding import type_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from aggrade.commit.documents import Document
    from aggrade.errors import Problem

__all__ = ["Asked"]

_FIXES = {
    f"{kind}_channel": f"choose the store's channels by {kind}_channels of the window specification"
    for kind in ("eeg", "fnirs")
}
_OTHER = "choose the store's channels"
_UNION = ", let it grow by channels='union', or use another store (partition='montage' chooses it)"


@dataclass(frozen=True)
class Asked:
    """What an append asks for, beside what the store is.

    Parameters
    ----------
    dataset
        What is to be appended, with the dimension `dim`.
    dim
        The dimension that grows.
    grow
        Dimensions that may be longer than the store's.
    documents
        The store's array documents; on create, those it will get.
    encodings
        Name of each array → its CF encoding (`aggrade.encoding.encodings`).
    stored
        The store's own lazy dataset; None on create.
    chunks, shards
        What was asked for by name.
    given
        The dataset as it was before it was put on the union of channels, where it was.
    store
        URL of the store; empty if it isn't known where it will lie.
    """

    dataset: xr.Dataset
    dim: str
    grow: tuple[str, ...]
    documents: Mapping[str, Document]
    encodings: Mapping[str, Mapping[str, Any]]
    stored: xr.Dataset | None = None
    chunks: Mapping[str, Any] = field(default_factory=dict)
    shards: Mapping[str, Any] = field(default_factory=dict)
    given: xr.Dataset | None = None
    store: str = ""

    @cached_property
    def known(self) -> dict[str, xr.Variable]:
        """The variables that both sides have."""
        return {str(n): v for n, v in self.dataset.variables.items() if n in self.documents}

    @cached_property
    def moving(self) -> set[str]:
        """The dimensions whose length may differ from the store's."""
        return {self.dim, *self.grow}

    @property
    def own(self) -> xr.Dataset:
        """The dataset with no channels but its own."""
        return self.dataset if self.given is None else self.given

    @cached_property
    def channels(self) -> dict[str, Problem | None]:
        """The dimensions of channels that both sides have, each with what differs in their names."""
        own, stored = self.own, self.stored
        if stored is None:
            return {}
        there = [dim for dim in channel_dims(own) if dim in channel_dims(stored)]
        return {
            dim: None
            if dim in self.moving
            else other_channels(own, stored, dim, _FIXES.get(dim, _OTHER) + _UNION)
            for dim in there
        }

    @cached_property
    def refused(self) -> set[str]:
        """The dimensions whose channels are refused by name, so that nothing else need be said of them."""
        return {dim for dim, problem in self.channels.items() if problem is not None}

    @cached_property
    def mark(self) -> Mapping[str, Any]:
        """What aggrade keeps in the store's root."""
        return self.stored.attrs.get("aggrade", {}) if self.stored is not None else {}

    @cached_property
    def types(self) -> dict[str, Problem]:
        """The variables whose values can't be stored at all, each with the reason."""
        found = {str(name): type_problem(str(name), v) for name, v in self.dataset.variables.items()}
        return {name: problem for name, problem in found.items() if problem is not None}
