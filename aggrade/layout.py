"""Where things lie under a dataset root: fixed names, and the list of the Zarr stores that are there.

::

    {root}/windows.zarr                      windows of all sessions in one store (it may have another name), or
    {root}/windows/{partition}.zarr          one store per month, year or montage, or
    {root}/sessions/{session}_windowed.zarr  one store per session
    {root}/windows_for_training.zarr         windows, rechunked for random reads
    {root}/lightcurves.zarr                  light curves as they are written, epoch by epoch
    {root}/lightcurves_by_object.zarr        light curves as they are read, object by object
    {root}/catalogue/                        which session lies where (Parquet, derived)
    {root}/{name}.zarr.backups/              backups of the store {name}.zarr
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aggrade.errors import BadInput, Problem
from aggrade.storage import open_storage
from aggrade.storage.adopting import Adopting
from aggrade.storage.together import read_together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade.storage import Opener, Storage, StoredObject

__all__ = [
    "BACKUPS_SUFFIX",
    "BOOKKEEPING",
    "CATALOGUE",
    "LIGHTCURVES",
    "LIGHTCURVES_BY_OBJECT",
    "PARTITIONS",
    "SESSIONS",
    "SESSION_SUFFIX",
    "STORE_SUFFIX",
    "WINDOWS",
    "WINDOWS_FOR_TRAINING",
    "backups_of",
    "is_zarr",
    "open_stores",
    "partition_store",
    "session_store",
    "store_for",
    "stores_in",
    "window_stores_in",
]

STORE_SUFFIX = ".zarr"
WINDOWS = "windows.zarr"
PARTITIONS = "windows"
SESSIONS = "sessions"
SESSION_SUFFIX = "_windowed.zarr"
WINDOWS_FOR_TRAINING = "windows_for_training.zarr"
LIGHTCURVES = "lightcurves.zarr"
LIGHTCURVES_BY_OBJECT = "lightcurves_by_object.zarr"
CATALOGUE = "catalogue"
BACKUPS_SUFFIX = ".backups"
BOOKKEEPING = ".aggrade"

_ROOT_KEYS = ("zarr.json", ".zmetadata", ".zgroup")
_KNOWN = {"", WINDOWS, WINDOWS_FOR_TRAINING, LIGHTCURVES, LIGHTCURVES_BY_OBJECT}
_LEGAL = " !$&'()+,;=@[]{}"
_LONGEST_NAME = 200


def partition_store(partition: str) -> str:
    """Return where the windows of one partition lie below the dataset root.

    >>> partition_store("2026-10")
    'windows/2026-10.zarr'
    """
    return f"{PARTITIONS}/{partition}{STORE_SUFFIX}"


def session_store(session: str) -> str:
    """Return where the windows of one session lie below the dataset root.

    What a session id may hold and a folder's name may not (slashes, control characters, a leading dot) is
    percent-encoded; of an id too long for a folder's name the end is replaced by a digest, so that two ids
    never share a store.

    >>> session_store("S 01/b")
    'sessions/S 01%2Fb_windowed.zarr'
    """
    name = "".join(
        char if char.isprintable() and ord(char) > 127 else quote(char, safe=_LEGAL) for char in session
    )
    name = name.replace(".", "%2E", 1) if name.startswith(".") else name
    if len(name.encode()) > _LONGEST_NAME:
        digest = hashlib.sha256(session.encode()).hexdigest()[:16]
        name = name.encode()[: _LONGEST_NAME - 17].decode(errors="ignore") + "-" + digest
    return f"{SESSIONS}/{name}{SESSION_SUFFIX}"


def backups_of(name: str) -> str:
    """Return where the backups of a store lie.

    >>> backups_of("windows.zarr")
    'windows.zarr.backups'
    """
    return name.rstrip("/") + BACKUPS_SUFFIX


def is_zarr(storage: Storage) -> bool:
    """Whether a folder is a published Zarr store, of format 3 or 2. Sends at most three requests.

    Raises
    ------
    Unavailable
        If the store does not answer.
    BadInput
        If the bucket does not exist or the credentials are refused.
    """
    return any(storage.stat(key) is not None for key in _ROOT_KEYS)


def store_for(store: str, dim: str, storage_options: Mapping[str, Any] | None = None) -> Adopting:
    """Open the Zarr store that grows along `dim`. Sends no request.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store: its name ends in ``.zarr``.
    dim
        ``"session"`` means ``windows.zarr`` below a dataset root, ``"epoch"`` means ``lightcurves.zarr``; along
        any other dimension `store` is the Zarr store itself.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Raises
    ------
    BadInput
        If the URL names another kind of store.
    """
    storage = open_storage(store.rstrip("/"), storage_options)
    name = {"session": WINDOWS, "epoch": LIGHTCURVES}.get(dim)
    if name is None or store.rstrip("/").endswith(STORE_SUFFIX):
        return Adopting(storage)
    return Adopting(storage.within(name))


def _stores_below(storage: Storage, folder: str) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return [f"{prefix}{name}" for name in storage.folders(folder) if name.endswith(STORE_SUFFIX)]


def stores_in(storage: Storage) -> list[str]:
    """List the Zarr stores of a dataset root by their paths below it.

    Stores are known by their names, in one listing of each of the three folders that hold stores, so a store
    that is just being created is listed too. A storage that is itself a Zarr store lists as ``[""]``.

    Parameters
    ----------
    storage
        The dataset root, or one Zarr store.

    Returns
    -------
    list of str
        Sorted paths, each of which `storage.within` opens; empty if no store lies there.

    Raises
    ------
    Unavailable
        If the store does not answer.
    BadInput
        If the bucket does not exist or the credentials are refused.
    """
    if is_zarr(storage):
        return [""]
    return sorted(path for folder in ("", PARTITIONS, SESSIONS) for path in _stores_below(storage, folder))


def open_stores(
    store: str, storage_options: Mapping[str, Any] | None = None, opener: Opener = open_storage
) -> list[Storage]:
    """Open one Zarr store, or every Zarr store of a dataset root. Raises as `stores_in`.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store: its name ends in ``.zarr``, or a store lies there.
    storage_options
        As `s3fs.S3FileSystem` takes them.
    opener
        What opens the storage.
    """
    storage = opener(store.rstrip("/"), storage_options)
    if store.rstrip("/").endswith(STORE_SUFFIX):
        return [Adopting(storage)]
    return [Adopting(storage.within(path) if path else storage) for path in stores_in(storage)]


def demand_stores(store: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Raise if nothing lies where a dataset, or a Zarr store, is said to lie.

    Parameters
    ----------
    store, storage_options
        As for `open_stores`.

    Raises
    ------
    BadInput
        If there is no store, or one in whose place nothing lies.
    """
    if not any(any(True for _ in storage.list()) for storage in open_stores(store, storage_options)):
        fix = "check the path: aggrade status says what lies there"
        raise BadInput(Problem(store, "no Zarr store", "a dataset root or a Zarr store", fix, "no-store"))


def window_stores_in(storage: Storage, there: Sequence[str] | None = None) -> list[str]:
    """List the stores of a dataset root that hold windows as they were appended. Raises as `stores_in`.

    Rechunked copies are left out: they hold the same sessions again. What stores are whose names don't tell, their
    roots do, each read once.

    Parameters
    ----------
    storage
        The dataset root, or one Zarr store.
    there
        What `stores_in` says of it, where that is known.
    """
    paths, folders = stores_in(storage) if there is None else there, (f"{PARTITIONS}/", f"{SESSIONS}/")
    unknown = {f"{path}/{_ROOT_KEYS[0]}": path for path in paths if "/" not in path and path not in _KNOWN}
    roots = read_together(storage, unknown) if unknown else {}
    named = {path for key, path in unknown.items() if _grows_by_sessions(roots[key])}
    return [path for path in paths if path in ("", WINDOWS) or path in named or path.startswith(folders)]


def _grows_by_sessions(root: StoredObject | None) -> bool:
    """Tell whether a root document is that of a store to which sessions are appended, and no copy of one."""
    try:
        mark = json.loads(root.data)["attributes"]["aggrade"] if root else {}
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(mark, dict) and mark.get("dim") == "session" and "rechunk" not in mark
