"""In which form sessions lie in their staging stores, and which of their objects an append takes over as they are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.append_rows import STAMPS
from aggrade.commit.documents import dims_of, key_of, shape_of, unit_of, units_in
from aggrade.commit.writer import WrittenObject
from aggrade.encoding import encodings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from aggrade.commit import CommitPlan
    from aggrade.commit.documents import Bounds, Document

__all__ = ["StagedForm", "StagedForms", "StagedObject", "WrittenList", "foretold", "form_of"]

_APART = {"shape", "attributes", "chunk_key_encoding"}
"""Of two documents, what the bytes of an object don't depend on."""


class WrittenList(BaseModel):
    """What one commit wrote, for whoever copies it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digests: dict[str, str] = Field(description="Label → digest of each layer's content.")
    objects: tuple[WrittenObject, ...] = Field(description="Objects, without those that replaced others.")


@dataclass(frozen=True)
class StagedForm:
    """In which form a session lies in its staging store.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    documents
        Its array documents.
    written
        Its objects by key, as the store confirmed them; those that replaced others are left out.
    digest
        Of the session's content, by the encodings of the staging store; empty if it isn't known.
    """

    folder: str
    documents: Mapping[str, Document]
    written: Mapping[str, WrittenObject]
    digest: str = ""

    @cached_property
    def _spelled(self) -> dict[str, dict[str, str]]:
        return {name: _spelled(encoding) for name, encoding in encodings(self.documents).items()}

    def alike(self, known: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Return the variables that another store encodes in the same way, by its `encodings`."""
        return {name for name, own in self._spelled.items() if own == _spelled(known.get(name, {}))}

    def is_digested(self, names: Iterable[str], known: Mapping[str, Mapping[str, Any]], dim: str) -> bool:
        """Tell whether the digest is also that of these variables, as another store encodes them.

        Parameters
        ----------
        names
            The session's variables.
        known
            The other store's `encodings`.
        dim
            The dimension along which sessions lie.
        """
        staged = {name for name, document in self.documents.items() if dim in dims_of(document)} - {*STAMPS}
        return bool(self.digest) and staged == set(names) - {*STAMPS} and staged <= self.alike(known)

    def sources(self, name: str, commit: CommitPlan, row: int) -> dict[str, StagedObject]:
        """Return key in a commit's store → what lies staged of one variable, for a session that goes into a row."""
        here, there = self.documents[name], commit.documents[name]
        whole = tuple((0, size) for size in shape_of(here))
        return {
            key_of(name, there, _in_row(here, commit.dim, index, row)): StagedObject(self.folder, written)
            for index in units_in(here, whole)
            if (written := self.written.get(key_of(name, here, index))) is not None
        }

    def fits(self, name: str, commit: CommitPlan, bounds: Bounds) -> bool:
        """Tell whether a commit would write a row of one variable, within `bounds`, as it lies staged."""
        here, there = self.documents[name], commit.documents[name]
        if _form(here) != _form(there) or commit.dim not in dims_of(here):
            return False
        axis = dims_of(here).index(commit.dim)
        own = tuple(pair if at != axis else (0, 1) for at, pair in enumerate(bounds))
        return unit_of(here)[axis] == 1 and own == tuple((0, size) for size in shape_of(here))


class StagedForms(dict[str, StagedForm]):
    """Label → in which form that session lies staged, for all sessions that one commit takes over."""

    def alike(self, known: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Return the variables that another store encodes as all of them do, by its `encodings`."""
        return set.intersection(*(form.alike(known) for form in self.values()))

    def lengths(self, dims: Collection[str]) -> dict[str, dict[str, int]]:
        """Return label → how long each session is along some dimensions."""
        return {
            label: {
                dim: size
                for document in form.documents.values()
                for dim, size in zip(dims_of(document), shape_of(document), strict=True)
                if dim in dims
            }
            for label, form in self.items()
        }

    def fitting(self, commit: CommitPlan, known: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """Return the variables whose objects are, byte for byte, what a commit would write. Pure.

        Parameters
        ----------
        commit
            What will be written.
        known
            The store's `encodings`.
        """
        if any(layer.runs or layer.label not in self for layer in commit.layers):
            return ()
        alike, regions = self.alike(known), defaultdict[str, list["Bounds"]](list)
        for region in commit.regions:
            regions[region.variable].append(region.bounds)
        return tuple(
            name for name, parts in regions.items() if name in alike and self._fits(name, commit, parts)
        )

    def _fits(self, name: str, commit: CommitPlan, parts: Sequence[Bounds]) -> bool:
        dims = dims_of(commit.documents[name])
        if commit.dim not in dims:
            return False
        rows = {row: part for part in parts for row in range(*part[dims.index(commit.dim)])}
        return all(
            layer.index in rows and self[layer.label].fits(name, commit, rows[layer.index])
            for layer in commit.layers
        ) and {key for key, *_ in _within(commit, name)} == set(self._sources(name, commit))

    def _sources(self, name: str, commit: CommitPlan) -> dict[str, StagedObject]:
        found = (self[layer.label].sources(name, commit, layer.index) for layer in commit.layers)
        return {key: source for each in found for key, source in each.items()}

    def objects(self, commit: CommitPlan, names: Iterable[str]) -> dict[str, StagedObject]:
        """Return key → object in staging of everything that a commit takes over of some variables."""
        return {key: source for name in names for key, source in self._sources(name, commit).items()}


@dataclass(frozen=True, slots=True)
class StagedObject:
    """An object of a staging store.

    Parameters
    ----------
    folder
        Path of that store below the dataset root.
    written
        What the store confirmed.
    """

    folder: str
    written: WrittenObject

    @property
    def place(self) -> str:
        """Key below the dataset root."""
        return f"{self.folder}/{self.written.key}"


def _within(commit: CommitPlan, name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    return ((key, index) for variable, key, index in commit.objects() if variable == name)


def _in_row(document: Document, dim: str | None, index: tuple[int, ...], row: int) -> tuple[int, ...]:
    return tuple(row if each == dim else i for each, i in zip(dims_of(document), index, strict=True))


def _spelled(encoding: Mapping[str, Any]) -> dict[str, str]:
    """Return an encoding so that a fill of NaN is equal to itself."""
    return {key: repr(value) for key, value in encoding.items()}


def _form(document: Document) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in _APART}


def form_of(folder: str, documents: Mapping[str, Document], written: WrittenList) -> StagedForm:
    """Return the form in which a session lies in a staging store.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    documents
        Its array documents.
    written
        What the commit wrote that made them.
    """
    digest = next(iter(written.digests.values())) if len(written.digests) == 1 else ""
    return StagedForm(folder, documents, {item.key: item for item in written.objects}, digest)


def foretold(folder: str, commit: CommitPlan) -> StagedForm:
    """Return the form in which a session will lie in a staging store that a commit is to make.

    Parameters
    ----------
    folder
        Path of the staging store below the dataset root.
    commit
        Its plan.
    """
    written = {key: WrittenObject(key, 0, "", "") for _, key, _ in commit.objects()}
    return StagedForm(folder, commit.documents, written)
