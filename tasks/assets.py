"""Prefect's assets: each store that a run has changed is one, and its change an event that automations can wait for.

A server of one's own shows assets in its feed of events only. A store that is as it was gives no event: its task is `Cached`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.assets import Asset, AssetProperties, add_asset_metadata, materialize
from prefect.types.names import MAX_ASSET_KEY_LENGTH, RESTRICTED_ASSET_CHARACTERS

from tasks.caching import ReceiptKey, digest_of
from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade import Receipt

__all__ = ["asset_key", "show_assets"]

_DIGEST_ROOM = 17
_REFUSED = re.compile(f"[{re.escape(''.join(RESTRICTED_ASSET_CHARACTERS))}]")


def asset_key(store: str) -> str:
    """Return a store's URL as a key that Prefect takes, different for different stores.

    Parameters
    ----------
    store
        URL or path of a Zarr store.

    Examples
    --------
    >>> asset_key("s3://lab/windows.zarr")
    's3://lab/windows.zarr'
    >>> asset_key("/data/my lab/windows.zarr").startswith("file:///data/my_lab/windows.zarr-")
    True
    """
    url = store if "://" in store else f"file://{Path(store).absolute()}"
    key = _REFUSED.sub("_", url)[: MAX_ASSET_KEY_LENGTH - _DIGEST_ROOM]
    return key if key == url else f"{key}-{digest_of(url)}"


def _what_it_depends_on(inputs: Mapping[str, Any]) -> tuple[str, str]:
    return inputs["store"], inputs["write_id"]


def show_assets(receipts: Sequence[Receipt]) -> None:
    """Tell Prefect of each store that a run has changed, with what its last commit did."""
    if not in_a_run():
        return
    last = {receipt.store: receipt for receipt in sorted(receipts, key=lambda one: one.generation)}
    for store, receipt in last.items():
        _materialized(store)(store, receipt.write_id, _told(receipt))


def _told(receipt: Receipt) -> dict[str, Any]:
    kept = {"kind", "generation", "write_id", "objects", "bytes_written", "undo"}
    return receipt.model_dump(mode="json", include=kept) | {"layers": len(receipt.layers)}


def _materialized(store: str) -> Any:
    """Return the task whose success is the event of a store."""
    name = store.rstrip("/").rpartition("/")[2]
    asset = Asset(key=asset_key(store), properties=AssetProperties(name=name, description=store))

    def tell(store: str, write_id: str, told: dict[str, Any]) -> str:  # noqa: ARG001 - both name the result
        add_asset_metadata(asset, told)
        return write_id

    return materialize(
        asset,
        by="aggrade",
        name="asset",
        task_run_name="asset {store}",
        cache_policy=ReceiptKey(parts=_what_it_depends_on),
        persist_result=True,
        result_serializer="json",
    )(tell)
