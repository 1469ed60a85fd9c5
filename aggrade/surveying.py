"""What lies in a dataset, how it grew last, and whether somebody is writing. Writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit import find_receipt, manifests, read_intent, read_snapshot
from aggrade.commit.looking import known_generation
from aggrade.commit.snapshot import lost_root
from aggrade.layout import open_stores
from aggrade.receipt import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrade.commit import Intent
    from aggrade.storage import Storage

__all__ = ["StoreState", "survey"]


class StoreState(BaseModel):
    """The state of one Zarr store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(description="URL of the Zarr store.")
    sizes: dict[str, int] = Field(default_factory=dict, description="Length of each dimension.")
    dim: str | None = Field(default=None, description="The dimension that grows.")
    superseded: int = Field(
        default=0, description="Rows along it that a later commit has replaced or removed."
    )
    generation: int = Field(
        default=0, description="Commits and fences so far; 0 for a store of another tool."
    )
    last: Receipt | None = Field(default=None, description="Receipt of the last commit.")
    backups: int = Field(default=0, description="Backups that lie beside it.")
    writer: str = Field(default="", description="Who holds its intent, if somebody does.")
    server: str = Field(default="", description="Its server, and which conditions it was seen to keep.")
    damage: str = Field(default="", description="What there is to say where its root is lost.")

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,} {dim}" for dim, size in self.sizes.items()) or "nothing yet"
        lines = [self.store, f"  {self.damage or sizes}"]
        if self.superseded:
            lines.append(f"  {self.superseded} rows along {self.dim} have been replaced or removed")
        lines.append(f"  generation {self.generation}, {self.backups} backups")
        lines += [f"  last: {self.last}"] if self.last else []
        lines += [f"  being written: {self.writer}"] if self.writer else []
        lines += [f"  server: {self.server}"] if self.server else []
        return "\n".join(lines)


def survey(store: str, *, storage_options: Mapping[str, Any] | None = None) -> list[StoreState]:
    """Return the state of every store of a dataset, with some five requests each.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    Damaged
        If a store's root can't be read.
    Unavailable
        If the store does not answer.
    """
    return [_state(storage) for storage in open_stores(store, storage_options)]


def _state(storage: Storage) -> StoreState:
    intent = read_intent(storage)
    snapshot = read_snapshot(storage)
    lost = lost_root(storage.url, snapshot, known_generation(storage, snapshot, intent))
    damage = f"{lost.found}, not {lost.expected}; {lost.fix}" if lost else ""
    writer, server = (_writer(intent[0]), _server(intent[0])) if intent is not None else ("", "")
    backups = len(manifests(storage))
    if snapshot is None:
        return StoreState(store=storage.url, backups=backups, writer=writer, server=server, damage=damage)
    return StoreState(
        store=storage.url,
        sizes=snapshot.sizes,
        dim=snapshot.mark.get("dim"),
        superseded=len(snapshot.mark.get("superseded", [])),
        generation=snapshot.generation,
        last=find_receipt(storage, snapshot.write_id) if snapshot.write_id else None,
        backups=backups,
        writer=writer,
        server=server,
        damage=damage,
    )


def _server(intent: Intent) -> str:
    return str(intent.probe) if intent.probe else ""


def _writer(intent: Intent) -> str:
    if intent.state == "free":
        return ""
    what = intent.journal.kind if intent.journal else "something"
    return f"{what}, by process {intent.owner.process} on {intent.owner.host}"
