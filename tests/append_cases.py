"""Appends of every kind, each with the dataset that it comes to, wherever that is to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray as xr
from make_datasets import CHUNKS, make_session

import aggrade

if TYPE_CHECKING:
    from collections.abc import Callable

    from undo_prices import Data


def _of(data: Data, *labels: str, windows: int = 3, seed: int = 50, **how: Any) -> Callable[[bool], Any]:
    """Return a function that appends sessions to the dataset, or says what that would cost."""
    sessions = [make_session(label, windows, seed + i, **data.how) for i, label in enumerate(labels)]
    whole = xr.concat(sessions, "session", data_vars="minimal")
    chunks = {**CHUNKS, "eeg": (1, 2, *whole["eeg"].shape[2:])}
    return _append(data, whole, **{"chunks": chunks, **how})


def _append(data: Data, session: xr.Dataset, store: str = "", **how: Any) -> Callable[[bool], Any]:
    how = {"grow": ("window",), "storage_options": data.options, **how}
    return lambda dry: aggrade.append(session, store or data.root, dry_run=dry, **how)


def _the_first(data: Data) -> Callable[[bool], Any]:
    return _of(data, "a")


def _the_first_of_its_own(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "own", store=f"{data.root}/sessions/own_windowed.zarr")


def _one_more(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "more")


def _to_a_store_by_itself(data: Data) -> Callable[[bool], Any]:
    data.grown(store=data.store)
    return _of(data, "more", store=data.store)


def _a_longer_one(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "longer", windows=23)


def _a_shorter_one(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "shorter", windows=1)


def _many_longer_ones(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, *(f"long {i}" for i in range(7)), windows=11)


def _the_same_again(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.append("more", seed=50)
    return _of(data, "more")


def _a_replacement(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "b", windows=5, on_conflict="replace")


def _another_replacement(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.append("b", seed=99, on_conflict="replace")
    return _of(data, "b", on_conflict="replace")


def _with_a_full_backup(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "more", backup="full")


def _without_a_backup(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "more", backup="none")


def _after_a_removal(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.removed("b")
    return _of(data, "more")


def _what_was_removed(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.removed("d")
    return _of(data, "d")


def _after_a_restore(data: Data) -> Callable[[bool], Any]:
    data.restored(data.grown()[2])
    return _of(data, "more")


def _after_a_removal_was_undone(data: Data) -> Callable[[bool], Any]:
    data.grown()
    data.restored(data.removed("b"))
    return _of(data, "more")


def _an_odd_id(data: Data) -> Callable[[bool], Any]:
    data.grown()
    return _of(data, "Sub 01/ä b#?%", store=f"{data.root}/windows.zarr")


def _other_channels(data: Data) -> Callable[[bool], Any]:
    data.grown()
    session = make_session("other", 3, 50, channels=4, **_samples(data))
    return _append(data, session.isel(eeg_channel=[3, 0]), channels="union")


def _fewer_channels(data: Data) -> Callable[[bool], Any]:
    data.grown()
    session = make_session("fewer", 3, 50, **data.how)
    return _append(data, session.isel(eeg_channel=[1]), channels="union")


def _after_other_channels(data: Data) -> Callable[[bool], Any]:
    _other_channels(data)(False)
    return _append(data, make_session("after", 3, 51, **data.how), channels="union")


def _samples(data: Data) -> dict[str, int]:
    return {"samples": data.how["samples"]} if data.how else {}


CASES: dict[str, Callable[[Data], Callable[[bool], Any]]] = {
    "the first": _the_first,
    "the first of its own": _the_first_of_its_own,
    "one more": _one_more,
    "to a store by itself": _to_a_store_by_itself,
    "a longer one": _a_longer_one,
    "a shorter one": _a_shorter_one,
    "many longer ones": _many_longer_ones,
    "the same again": _the_same_again,
    "a replacement": _a_replacement,
    "another replacement": _another_replacement,
    "with a full backup": _with_a_full_backup,
    "without a backup": _without_a_backup,
    "after a removal": _after_a_removal,
    "what was removed": _what_was_removed,
    "after a restore": _after_a_restore,
    "after a removal was undone": _after_a_removal_was_undone,
    "an odd id": _an_odd_id,
    "other channels": _other_channels,
    "fewer channels": _fewer_channels,
    "after other channels": _after_other_channels,
}
"""What is appended → how it comes about: each returns a function that says what it costs, or does it."""
