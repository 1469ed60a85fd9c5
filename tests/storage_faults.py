"""A wrapper that breaks one request to a real storage: for crashes that are real ones, of whole processes.

The scheme ``faulty`` makes it reachable by URL wherever a store is named::

    OPENERS["faulty"] = open_faulty
    aggrade.append(dataset, "faulty://…", storage_options=faulty_options(url, options, Fault("kill-before", 3)))
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass, field
from typing import Any

from aggrade.errors import Problem, Unavailable
from aggrade.storage import ObjectInfo, Storage, StoredObject, open_storage

ACTIONS = ("none", "kill-before", "kill-after", "lose-request", "lose-reply", "hold", "truncate")


@dataclass
class Fault:
    """What happens to request number `place`, counted from 1 over all views; the heartbeat's do not count.

    ``kill-*`` is SIGKILL of the process; ``lose-*`` is `Unavailable`, before or after the request took effect;
    ``hold`` waits for `release`, after setting `reached`; ``truncate`` cuts what is read in half.
    """

    action: str = "none"
    place: int = 0
    count: int = 0
    kinds: list[str] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event, repr=False)
    release: threading.Event = field(default_factory=threading.Event, repr=False)

    def __post_init__(self):
        assert self.action in ACTIONS
        self._lock = threading.Lock()

    def __getstate__(self):
        return self.action, self.place

    def __setstate__(self, state):
        self.__init__(*state)

    def around(self, kind, key, effect):
        """Let one request take effect, or break it."""
        action = self._next(kind, key)
        if action == "kill-before":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "lose-request":
            raise Unavailable(Problem(key, "no answer", "an answer", "retry", "no-answer"))
        if action == "hold":
            self.reached.set()
            self.release.wait()
        try:
            result = effect()
        finally:
            if action == "kill-after":
                os.kill(os.getpid(), signal.SIGKILL)
            if action == "lose-reply":
                raise Unavailable(Problem(key, "no answer", "an answer", "retry", "no-answer"))
        if action == "truncate" and isinstance(result, StoredObject):
            return StoredObject(result.data[: len(result.data) // 2], result.etag)
        return result

    def _next(self, kind, key):
        if threading.current_thread().name == "aggrade-heartbeat":
            return "none"
        with self._lock:
            self.count += 1
            self.kinds.append(f"{kind} {key}")
            return self.action if self.count == self.place else "none"


class Faulty:
    """Another storage whose requests go through a `Fault`."""

    def __init__(self, storage: Storage, fault: Fault) -> None:
        self.storage, self.fault, self.url = storage, fault, f"faulty://{storage.url}"

    def read(self, key, *, start=0, stop=None) -> StoredObject | None:
        """See `Storage.read`."""
        return self.fault.around("GET", key, lambda: self.storage.read(key, start=start, stop=stop))

    def stat(self, key) -> ObjectInfo | None:
        """See `Storage.stat`."""
        return self.fault.around("HEAD", key, lambda: self.storage.stat(key))

    def write(self, key, data, *, replacing=None) -> ObjectInfo:
        """See `Storage.write`."""
        return self.fault.around("PUT", key, lambda: self.storage.write(key, data, replacing=replacing))

    def copy(self, source, target, *, unchanged=None) -> str:
        """See `Storage.copy`."""
        return self.fault.around(
            "COPY", target, lambda: self.storage.copy(source, target, unchanged=unchanged)
        )

    def delete(self, keys):
        """See `Storage.delete`; one request per key."""
        for key in list(keys):
            self.fault.around("DELETE", key, lambda key=key: self.storage.delete([key]))

    def discard(self, key, etag):
        """See `Storage.discard`."""
        return self.fault.around("DELETE", key, lambda: self.storage.discard(key, etag))

    def folders(self, prefix=""):
        """See `Storage.folders`."""
        return self.fault.around("LIST", prefix, lambda: self.storage.folders(prefix))

    def list(self, prefix=""):
        """See `Storage.list`."""
        return iter(self.fault.around("LIST", prefix, lambda: list(self.storage.list(prefix))))

    def within(self, path):
        """See `Storage.within`."""
        return Faulty(self.storage.within(path), self.fault)

    def above(self):
        """See `Storage.above`."""
        above, name = self.storage.above()
        return Faulty(above, self.fault), name


def faulty_options(url: str, options: dict[str, Any], fault: Fault) -> dict[str, Any]:
    """Return the storage options that make ``faulty://…`` the storage of `url`, broken by `fault`."""
    return {"real_url": url, "real_options": options, "fault": fault}


def open_faulty(url: str, options: Any) -> Faulty:
    """Open what `faulty_options` describe; folders below its URL are folders below the real one."""
    storage = open_storage(options["real_url"], options["real_options"])
    below = url.removeprefix("faulty://").removeprefix(options["real_url"]).strip("/")
    return Faulty(storage.within(below) if below else storage, options["fault"])
