"""Receipts: what was done, in JSON of a few kilobytes."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Receipt", "undo_command"]


class Receipt(BaseModel):
    """What one commit did to one store. Persisted, printed and returned by every task.

    A receipt never holds an array. It is what a resumed run reads back instead of doing the work again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="What was done: append, populate, rechunk, recover …")
    store: str = Field(description="URL of the Zarr store, without credentials.")
    write_id: str = Field(description="Unique name of this commit; the store's root bears it.")
    generation: int = Field(description="The store's generation after this commit; it never repeats.")
    dim: str | None = Field(default=None, description="The dimension that grew.")
    layers: dict[str, int] = Field(default_factory=dict, description="Label of each layer → its index.")
    digests: dict[str, str] = Field(
        default_factory=dict, description="Label of each layer → digest of its content."
    )
    objects: int = Field(default=0, description="Objects written, metadata included.")
    bytes_written: int = Field(default=0, description="Bytes written.")
    requests: dict[str, int] = Field(
        default_factory=dict,
        description="Requests sent, by kind: of an append all, of others those from intent to receipt.",
    )
    seconds: float = Field(default=0.0, description="Wall time from intent to release, in seconds.")
    backup: str | None = Field(default=None, description="Name of the backup of what was overwritten.")
    undo: str | None = Field(default=None, description="The command that undoes this commit.")
    root_digest: str = Field(
        default="",
        description="Digest of arrays and attributes that the root showed then, growing lengths left out.",
    )
    details: dict[str, Any] = Field(
        default_factory=dict, description="Counts that belong to this kind of commit."
    )

    def of(self, label: str) -> Receipt:
        """Return the same receipt for one of its layers; counts stay those of the commit, of ``details["together"]`` layers.

        Parameters
        ----------
        label
            Of one of `layers`.
        """
        own = {"layers": {label: self.layers[label]}, "digests": {label: self.digests[label]}}
        return self.model_copy(update=own)

    def lying_at(self, store: str) -> Receipt:
        """Return the same receipt for its store where that lies now: a dataset that was copied or moved brings receipts along.

        Parameters
        ----------
        store
            URL of the Zarr store in which the receipt was found.
        """
        undo = undo_command(store, self.backup) if self.undo else self.undo
        return self.model_copy(update={"store": store, "undo": undo})

    def __str__(self) -> str:
        if "rolled" in self.details:
            what, way = self.details.get("what", "a write"), self.details["rolled"]
            return f"{self.kind}: rolled {what} (write {self.write_id}) {way} in {self.store} (generation {self.generation})"
        layers = ", ".join(sorted(self.layers)[:3]) + (" …" if len(self.layers) > 3 else "")
        others = self.details.get("together", 0) - len(self.layers)
        layers += f" and {others} more in the same commit" if layers and others > 0 else ""
        return (
            f"{self.kind} {f'{layers} ' if layers else ''}→ {self.store} (generation {self.generation}, "
            f"{self.objects} objects, {self.bytes_written:,} bytes, {self.seconds:.1f} s)"
        )


def undo_command(store: str, backup: str | None) -> str | None:
    """Return the command that brings back the state before a commit, None if nothing was kept of it.

    >>> undo_command("s3://lab/windows.zarr", "00000007-0f3a")
    'aggrade restore s3://lab/windows.zarr 00000007-0f3a'
    """
    return None if backup is None else shlex.join(["aggrade", "restore", store, backup])
