"""Staged sessions becoming layers of the store that they belong in: one by one, or several in one commit."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from aggrade.append_plan import AppendPlan, is_superseded
from aggrade.appending import append, append_to
from aggrade.commit import find_layer, find_receipt, read_snapshot
from aggrade.layout import store_for
from aggrade.montages import montage_of
from aggrade.placing import COMMON, Layout, Partition, windows_store
from aggrade.receipt import Receipt
from aggrade.staged_forms import StagedForms, foretold
from aggrade.staging import folder_of, open_form, said_of, url_of_staging
from aggrade.staging_price import price_of_passing
from aggrade.storage import open_storage
from aggrade.uniting import unite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray as xr

    from aggrade.append_plan import OnConflict
    from aggrade.channels import Channels
    from aggrade.commit.layers import LayerRecord
    from aggrade.commit.plan import BackupKind
    from aggrade.staged_forms import StagedForm
    from aggrade.staging import Staged
    from aggrade.storage import Storage

__all__ = ["check_landing", "find_landed", "land", "land_together", "plan_landing"]

_SESSION, _GROW = "session", ("window",)


def plan_landing(
    dataset: xr.Dataset,
    root: str,
    name: str,
    *,
    layout: Layout = "common",
    partition: Partition = "none",
    store_name: str = COMMON,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> AppendPlan:
    """Return what appending one session to the store it belongs in would do. Writes nothing.

    The price is that of the way through staging: its store is written, read and removed. How often large arrays
    are read is estimated. The windows that are cut are in memory until they are staged.

    Parameters
    ----------
    dataset, root, name
        As for `stage`.
    layout, partition, store_name
        As for `aggrade.placing.windows_store`, whose `name` is `store_name`.
    channels, on_conflict, backup, storage_options
        As for `aggrade.append`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    session = str(dataset["session"].values[0])
    where = (root, session, said_of(dataset, "session_start"), layout, partition)
    store = windows_store(*where, name=store_name, montage=montage_of(dataset))
    how: dict[str, Any] = {
        "channels": channels,
        "on_conflict": on_conflict,
        "backup": backup,
        "dry_run": True,
    }
    staging = append(
        dataset,
        url_of_staging(root, name),
        grow=_GROW,
        backup="none",
        dry_run=True,
        storage_options=storage_options,
    )
    assert isinstance(staging, AppendPlan)
    if staging.commit:
        how["staged"] = StagedForms({session: foretold(folder_of(name), staging.commit)})
    plan = _append_below(root, store, dataset, storage_options, how)
    assert isinstance(plan, AppendPlan)
    if plan.commit is None:
        return plan
    price = plan.price + staging.price + price_of_passing(staging, plan)
    memory = price.peak_memory + dataset.nbytes
    return plan.model_copy(update={"price": price.model_copy(update={"peak_memory": memory})})


def land(
    staged: Staged,
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Append a staged session to a store, of which the catalogue is to tell if it lies below the dataset root.

    Parameters
    ----------
    staged
        The session.
    store
        URL of the Zarr store.
    channels, on_conflict, backup, storage_options
        As for `aggrade.append`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    how: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    return _landed([(staged, *open_form(staged, storage_options))], store, storage_options, how)[0]


def land_together(
    staged: Sequence[Staged],
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> list[Receipt]:
    """Append staged sessions to one store, such as follow each other and are alike in one commit.

    Alike are sessions that differ in nothing but what is told of each of them. Where one is refused, so are those that
    it came with, and those behind them are not tried; land them one by one then.

    Parameters
    ----------
    staged
        The sessions, below one dataset root.
    store, channels, on_conflict, backup, storage_options
        As for `land`.

    Returns
    -------
    list of Receipt
        One for each session, in their order; counts in it are those of its commit.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    how: dict[str, Any] = {"channels": channels, "on_conflict": on_conflict, "backup": backup}
    opened = [(one, *open_form(one, storage_options)) for one in staged]
    return [
        receipt
        for _, alike in itertools.groupby(opened, lambda one: _kind(one[1]))
        for receipt in _landed(list(alike), store, storage_options, how)
    ]


def _landed(
    opened: Sequence[tuple[Staged, xr.Dataset, StagedForm]],
    store: str,
    storage_options: Mapping[str, Any] | None,
    how: Mapping[str, Any],
) -> list[Receipt]:
    """Append sessions in one commit."""
    whole = unite({one.session: dataset for one, dataset, _ in opened}, dim=_SESSION, ragged=_GROW)
    forms = StagedForms({one.session: form for one, _, form in opened})
    root = opened[0][0].root
    receipt = _append_below(root, store, whole, storage_options, {**how, "staged": forms})
    assert isinstance(receipt, Receipt)
    return [_own(receipt, one, store, storage_options) for one, *_ in opened]


def _own(receipt: Receipt, staged: Staged, store: str, storage_options: Mapping[str, Any] | None) -> Receipt:
    """Return a session's own receipt: another one if it was there before those that it came with."""
    if staged.session in receipt.layers:
        return receipt.of(staged.session)
    storage = store_for(store, _SESSION, storage_options)
    record = find_layer(storage, staged.session, read_snapshot(storage))
    return (_receipt_of(storage, record) if record else None) or receipt


def _kind(dataset: xr.Dataset) -> str:
    """Return, as text, all that sessions of one commit have in common."""
    sizes = {dim: size for dim, size in dataset.sizes.items() if dim not in (_SESSION, *_GROW)}
    variables = {
        str(name): [variable.dims, str(variable.dtype), variable.attrs, list(_common(variable))]
        for name, variable in dataset.variables.items()
    }
    return json.dumps([sizes, variables, dataset.attrs], sort_keys=True, default=str)


def _common(variable: xr.Variable) -> Iterator[Any]:
    if _SESSION not in variable.dims:
        yield variable.values.tolist()


def check_landing(
    staged: Staged,
    store: str,
    *,
    channels: Channels = "refuse",
    on_conflict: OnConflict = "refuse",
    backup: BackupKind = "touched",
    storage_options: Mapping[str, Any] | None = None,
) -> None:
    """Raise what `land` would raise before it writes anything. Parameters as for `land`.

    Raises
    ------
    AggradeError
        As `aggrade.append`.
    """
    dataset, form = open_form(staged, storage_options)
    how: dict[str, Any] = {
        "channels": channels,
        "on_conflict": on_conflict,
        "backup": backup,
        "dry_run": True,
    }
    how["staged"] = StagedForms({staged.session: form})
    _append_below(staged.root, store, dataset, storage_options, how)


def find_landed(
    store: str, session: str, digest: str, *, storage_options: Mapping[str, Any] | None = None
) -> Receipt | None:
    """Return the receipt of a session that lies in a store with just this content, reading no data.

    Parameters
    ----------
    store
        The Zarr store, or a dataset root, whose ``windows.zarr`` is meant.
    session, digest
        The session's id and the digest of its content.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    Receipt or None
        None if the session isn't there, or with other content.
    """
    storage = store_for(store, "session", storage_options)
    shown = read_snapshot(storage)
    record = find_layer(storage, session, shown)
    if record is None or record.digest != digest or is_superseded(shown, record.index):
        return None
    return _receipt_of(storage, record)


def _receipt_of(storage: Storage, record: LayerRecord) -> Receipt | None:
    receipt = find_receipt(storage, record.write_id)
    return receipt.of(record.label) if receipt and record.label in receipt.layers else receipt


def _append_below(
    root: str,
    store: str,
    dataset: xr.Dataset,
    storage_options: Mapping[str, Any] | None,
    how: Mapping[str, Any],
) -> Receipt | AppendPlan:
    top, storage = open_storage(root, storage_options).url, store_for(store, "session", storage_options)
    below = storage.url.removeprefix(f"{top}/") if storage.url.startswith(f"{top}/") else ""
    depth = len(below.split("/")) if below else 0
    return append_to(storage, dataset, depth=depth, grow=_GROW, **how)
