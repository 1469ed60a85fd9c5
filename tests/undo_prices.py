"""Datasets on which a removal or a restore is priced, each built up step by step wherever it is to lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xarray as xr
from make_datasets import CHUNKS, make_session

import aggrade
from aggrade.staging import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGE = {"channels": 16, "samples": 2000}
"""So that an object of samples has some 250 kB."""


@dataclass
class Data:
    """A dataset root, and how its storage is opened."""

    root: str
    options: Mapping[str, Any]
    how: dict[str, int] = field(default_factory=dict)

    @property
    def store(self) -> str:
        """The URL of the common store."""
        return f"{self.root}/windows.zarr"

    def append(
        self, *labels: str, store: str | None = None, seed: int = 0, windows: int = 3, **how: Any
    ) -> str:
        """Append sessions in one commit; return the backup's id."""
        sessions = [make_session(label, windows, seed + i, **self.how) for i, label in enumerate(labels)]
        chunks = {**CHUNKS, "eeg": (1, 2, *sessions[0]["eeg"].shape[2:])}
        whole = xr.concat(sessions, "session", data_vars="minimal")
        how = {"grow": ("window",), "chunks": chunks, "storage_options": self.options, **how}
        return str(aggrade.append(whole, store or self.root, **how).backup)

    def grown(self, *labels: str, **how: Any) -> list[str]:
        """Append sessions one by one; return the backups' ids."""
        return [
            self.append(label, seed=10 * i, windows=2 + i, **how) for i, label in enumerate(labels or "abcd")
        ]

    def backups(self) -> list[str]:
        """Return the ids of the backups of the common store that can be restored."""
        found = aggrade.list_backups(self.store, storage_options=self.options)
        return [one.id for one in found if not one.purged]

    def restored(self, backup: str) -> str:
        """Restore a backup; return the id of the one that undoes it."""
        return str(aggrade.restore(self.root, backup, storage_options=self.options).backup)

    def removed(self, label: str, **how: Any) -> str:
        """Remove a session; return the backup's id."""
        return str(aggrade.remove(self.root, label, storage_options=self.options, **how).backup)

    def to_restore(self, backup: str, store: str | None = None) -> Callable[[bool], Any]:
        """Return a function that restores a backup, or says what that would cost."""
        how = {"storage_options": self.options}
        return lambda dry: aggrade.restore(store or self.root, backup, dry_run=dry, **how)

    def to_remove(self, label: str, store: str | None = None, **how: Any) -> Callable[[bool], Any]:
        """Return a function that removes a session, or says what that would cost."""
        how = {"storage_options": self.options, **how}
        return lambda dry: aggrade.remove(store or self.root, label, dry_run=dry, **how)


def _of_an_append(data: Data) -> Callable[[bool], Any]:
    return data.to_restore(data.grown()[2])


def _of_a_store_by_itself(data: Data) -> Callable[[bool], Any]:
    return data.to_restore(data.grown(store=data.store)[2], data.store)


def _of_what_was_undone(data: Data) -> Callable[[bool], Any]:
    return data.to_restore(data.restored(data.grown()[2]))


def _of_a_replace(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return data.to_restore(data.append("b", seed=99, on_conflict="replace"))


def _of_a_remove(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return data.to_restore(data.removed("b"))


def _of_two_removes(data: Data) -> Callable[[bool], Any]:
    data.grown()
    first = data.removed("b")
    data.removed("c")
    return data.to_restore(first)


def _of_a_full_backup(data: Data) -> Callable[[bool], Any]:
    data.grown()
    full = data.append("e", seed=70, backup="full")
    data.removed("a")
    return data.to_restore(full)


def _of_a_store_that_is_gone(data: Data) -> Callable[[bool], Any]:
    own = f"{data.root}/sessions/own_windowed.zarr"
    data.grown()
    data.append("own", store=own)
    data.removed("own")
    (backup,) = aggrade.list_backups(own, storage_options=data.options)
    return data.to_restore(backup.id)


def _one_of_several(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return data.to_remove("b")


def _one_of_a_store_by_itself(data: Data) -> Callable[[bool], Any]:
    data.grown(store=data.store)
    return data.to_remove("b", data.store)


def _with_its_backups(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.append("e", seed=70, backup="full")
    return data.to_remove("b", purge_backups=True)


def _after_restores_with_its_backups(data: Data) -> Callable[[bool], Any]:
    data.restored(data.restored(data.grown()[1]))
    data.append("b", seed=99, on_conflict="replace")
    return data.to_remove("b", purge_backups=True)


def _a_store_of_its_own(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.append("own", store=f"{data.root}/sessions/own_windowed.zarr")
    return data.to_remove("own")


def _a_store_of_its_own_with_its_backups(data: Data) -> Callable[[bool], Any]:
    own = f"{data.root}/sessions/own_windowed.zarr"
    data.append("own", store=own)
    data.append("own", seed=99, store=own, on_conflict="replace")
    return data.to_remove("own", purge_backups=True)


def _with_copies_and_staging(data: Data) -> Callable[[bool], Any]:
    data.grown()
    copy = f"{data.root}/windows_for_training.zarr"
    aggrade.rechunk(data.store, copy, storage_options=data.options)
    stage(make_session("b", 2, 5, **data.how), data.root, "staged", storage_options=data.options)
    return data.to_remove("b", purge_backups=True)


def _of_many_at_once(data: Data) -> Callable[[bool], Any]:
    data.append(*(f"s{i}" for i in range(6)))
    data.append("x", *(f"t{i}" for i in range(5)), seed=40)
    return data.to_remove("s3")


CASES: dict[str, Callable[[Data], Callable[[bool], Any]]] = {
    "restore of an append": _of_an_append,
    "restore of a store by itself": _of_a_store_by_itself,
    "restore of what was undone": _of_what_was_undone,
    "restore of a replace": _of_a_replace,
    "restore of a remove": _of_a_remove,
    "restore of two removes": _of_two_removes,
    "restore of a full backup": _of_a_full_backup,
    "restore of a store that is gone": _of_a_store_that_is_gone,
    "remove of one of several": _one_of_several,
    "remove from a store by itself": _one_of_a_store_by_itself,
    "remove of many at once": _of_many_at_once,
    "remove with backups": _with_its_backups,
    "remove with backups after restores": _after_restores_with_its_backups,
    "remove of a store of its own": _a_store_of_its_own,
    "remove of a store of its own with backups": _a_store_of_its_own_with_its_backups,
    "remove with copies and staging": _with_copies_and_staging,
}
"""What is priced → how it comes about: each returns a function that says what it costs, or does it."""
