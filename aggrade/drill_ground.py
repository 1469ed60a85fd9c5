"""The folder that a drill has for itself: claimed while it is empty, and gone afterwards, whatever ends the drill."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrade.errors import Problem, Refused, Unavailable
from aggrade.layout import BACKUPS_SUFFIX, STORE_SUFFIX, is_zarr
from aggrade.storage import OPENERS, ConditionFailed, open_storage
from aggrade.storage.counting import Counted
from aggrade.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrade.storage import ObjectInfo, Storage

__all__ = ["FOLDER", "Breaking", "Ground", "drill_ground"]

FOLDER = "aggrade-drill"
_SCHEME = "aggrade-drill"
_CLAIM = "drill.json"
_LEASE_SECONDS = "10"
_ATTEMPTS = 3


class Breaking(Counted):
    """A storage that breaks the write of one key.

    Parameters
    ----------
    storage, counts
        As for `Counted`.
    key
        Whose write is broken; it is the last one of this storage that matters.
    how
        ``"die-before"`` and ``"die-after"``: the process gets SIGKILL, before or after the write took effect;
        ``"lose-reply"``: it took effect, and nobody learns of it.
    """

    def __init__(self, storage: Storage, counts: Counter[str], key: str, how: str) -> None:
        super().__init__(storage, counts)
        self._key, self._how = key, how

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""
        if key != self._key:
            return super().write(key, data, replacing=replacing)
        if self._how == "die-before":
            self._die()
        super().write(key, data, replacing=replacing)
        if self._how == "die-after":
            self._die()
        found = "no answer, as the drill wants it"
        raise Unavailable(Problem(key, found, "an answer", "retry", "no-answer"))

    def _die(self) -> None:
        """Say what it took so far, and be gone."""
        sys.stdout.write(json.dumps(self.counts))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Ground:
    """Where a drill takes place.

    Parameters
    ----------
    url
        The folder.
    options
        As `aggrade.storage.open_storage` takes them.
    counts
        Requests and bytes so far, as `Counted` counts them.
    """

    url: str
    options: dict[str, Any]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def storage(self) -> Storage:
        """The folder, counted."""
        return Counted(open_storage(self.url, self.options), self.counts)

    def address(self, store: str, **broken: str) -> tuple[str, dict[str, Any]]:
        """Return URL and storage options of a store in the folder, counted.

        Parameters
        ----------
        store
            Its name.
        **broken
            `key` and `how` of `Breaking`.
        """
        return f"{_SCHEME}://{self.url}/{store}", {"ground": self, "broken": broken}

    def killed(self, work: Callable[..., None], *arguments: str) -> bool:
        """Do some work in a process of its own; tell whether that was killed.

        Parameters
        ----------
        work
            A top-level function that takes the ground and the arguments.
        arguments
            What else it takes.
        """
        code = f"from {__name__} import work_here; work_here()"
        task = pickle.dumps((work, Ground(self.url, self.options), arguments))
        environment = {"AGGRADE_LEASE_SECONDS": _LEASE_SECONDS, **os.environ}
        done = subprocess.run(  # noqa: S603 - our own interpreter and our own code
            [sys.executable, "-c", code], input=task, env=environment, capture_output=True, check=False
        )
        if done.returncode != -signal.SIGKILL:
            sys.stderr.write(done.stderr.decode(errors="replace"))
            return False
        self.counts.update(json.loads(done.stdout))
        return True

    def what_is_left(self) -> list[str]:
        """Return the keys of what lies in the folder."""
        return [info.key for info in self.storage.list()]


def work_here() -> None:
    """Do the work that standard input names: what the process of `Ground.killed` runs."""
    work, ground, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
    work(ground, *arguments)


def _open(url: str, options: Mapping[str, Any]) -> Storage:
    ground, broken = options["ground"], options["broken"]
    storage = open_storage(url.removeprefix(f"{_SCHEME}://"), ground.options)
    return Breaking(storage, ground.counts, **broken) if broken else Counted(storage, ground.counts)


OPENERS[_SCHEME] = _open


@contextmanager
def drill_ground(url: str, options: dict[str, Any]) -> Iterator[Ground]:
    """Claim the folder ``aggrade-drill`` below a URL for the length of a ``with`` block, then empty it.

    A SIGTERM ends the block as Ctrl-C does, and neither keeps the folder from being emptied.

    Parameters
    ----------
    url, options
        As `aggrade.storage.open_storage` takes them.

    Raises
    ------
    Refused
        If the URL is a Zarr store or a part of one, or something lies in the folder.
    """
    _refuse_stores(url, options)
    existing = _existing_above(url, options)
    ground = Ground(f"{url.rstrip('/')}/{FOLDER}", options)
    _claim(ground)
    try:
        with _interrupted_by_sigterm():
            yield ground
    finally:
        with _undisturbed():
            _empty(ground, existing)


def _refuse_stores(url: str, options: dict[str, Any]) -> None:
    parts = url.rstrip("/").split("/")
    if any(part.endswith((STORE_SUFFIX, BACKUPS_SUFFIX)) for part in parts) or is_zarr(
        open_storage(url, options)
    ):
        found = "a Zarr store or a folder in one"
        fix = "name the folder or the bucket above it"
        raise Refused(Problem(url, found, "a bucket, a prefix or a folder", fix, "drill-place"))


def _claim(ground: Ground) -> None:
    left = ground.what_is_left()
    try:
        if not left:
            ground.storage.write(_CLAIM, b"{}")
            return
    except ConditionFailed:
        left = ground.what_is_left()
    found = f"{len(left)} objects, such as {left[0] if left else _CLAIM}"
    fix = "wait for the drill that goes on there; if none does, delete them"
    raise Refused(Problem(ground.url, found, "an empty place", fix, "drill-occupied"))


def _existing_above(url: str, options: dict[str, Any]) -> Path | None:
    """Return the lowest folder on the way to a local one that is there already."""
    storage = open_storage(url, options)
    if not isinstance(storage, LocalStorage):
        return None
    folder = Path(storage.url)
    return next(path for path in (folder, *folder.parents) if path.exists())


def _empty(ground: Ground, existing: Path | None) -> None:
    if existing is not None:
        folder = Path(open_storage(ground.url, ground.options).url)
        shutil.rmtree(folder)
        for path in folder.parents:
            if path == existing:
                return
            path.rmdir()
    for _ in range(_ATTEMPTS):  # a request under way may still land
        keys = ground.what_is_left()
        if not keys:
            return
        ground.storage.delete(keys)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    with _handled({signal.SIGTERM: signal.default_int_handler}):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    with _handled({signal.SIGTERM: signal.SIG_IGN, signal.SIGINT: signal.SIG_IGN}):
        yield


@contextmanager
def _handled(handlers: dict[signal.Signals, Any]) -> Iterator[None]:
    """Handle signals otherwise for a while, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
