"""A storage in memory for tests, and wrappers that die, sleep or lose replies at a chosen request."""

from __future__ import annotations

import itertools
import re
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from aggrade.clock import Clock, SkippingClock
from aggrade.errors import Conflict, Damaged, Problem, Unavailable
from aggrade.storage import OPENERS, ConditionFailed, ObjectInfo, StoredObject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class Killed(BaseException):
    """The process is gone: nothing may catch this and go on."""


class World:
    """What lies on the server: it outlives every process."""

    def __init__(self, *, content_etags: bool = False) -> None:
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.lock = threading.RLock()
        self.content_etags = content_etags
        self._marks = itertools.count(1)

    def copy(self) -> World:
        """Return another world in which the same lies."""
        other = World(content_etags=self.content_etags)
        other.objects = dict(self.objects)
        other._marks = itertools.count(1 + len(self.objects) * 100)
        return other

    def lose_owner(self) -> None:
        """Make every intent say of its owner what it would say if that process were gone."""
        with self.lock:
            for key, (data, etag) in self.objects.items():
                if key.endswith("intent.json"):
                    self.objects[key] = (re.sub(rb'"started":"[0-9]+"', b'"started":"0"', data), etag)

    def mark(self, data: bytes) -> str:
        """Return a fresh etag, or one that depends on the content alone, as most servers do."""
        return str(hash(data)) if self.content_etags else str(next(self._marks))


class MemoryStorage:
    """The storage contract over a `World`; `before` and `after` are called around every request."""

    def __init__(self, world: World, prefix: str = "", hooks: Hooks | None = None) -> None:
        self.world, self.prefix, self.hooks = world, prefix, hooks or Hooks()
        self.clock, self.url = self.hooks.clock, f"world://{prefix}"

    def _at(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _request(self, kind: str, key: str, effect: Callable[[], Any]) -> Any:
        self.hooks.before(kind, self._at(key))
        with self.world.lock:
            result = effect()
        self.hooks.after(kind, self._at(key))
        return result

    def read(self, key: str, *, start: int = 0, stop: int | None = None) -> StoredObject | None:
        """See `Storage.read`."""

        def effect() -> StoredObject | None:
            found = self.world.objects.get(self._at(key))
            return None if found is None else StoredObject(found[0][start:stop], found[1])

        return self._request("GET", key, effect)

    def stat(self, key: str) -> ObjectInfo | None:
        """See `Storage.stat`."""

        def effect() -> ObjectInfo | None:
            found = self.world.objects.get(self._at(key))
            return None if found is None else ObjectInfo(key, len(found[0]), found[1])

        return self._request("HEAD", key, effect)

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""

        def effect() -> ObjectInfo:
            found = self.world.objects.get(self._at(key))
            if (found[1] if found else None) != replacing:
                raise ConditionFailed(
                    Problem(key, "another object", "the condition", "plan again", "condition")
                )
            etag = self.world.mark(data)
            self.world.objects[self._at(key)] = (data, etag)
            return ObjectInfo(key, len(data), etag)

        return self._request("PUT", key, effect)

    def copy(self, source: str, target: str, *, unchanged: str | None = None) -> str:
        """See `Storage.copy`."""

        def effect() -> str:
            found = self.world.objects.get(self._at(source))
            if found is None or unchanged not in {None, found[1]}:
                raise Damaged(Problem(source, "nothing", "an object", "look", "missing"))
            there = self.world.objects.get(self._at(target))
            if there is not None and there[0] != found[0]:
                raise ConditionFailed(Problem(target, "another object", "none", "plan again", "condition"))
            mark = self.world.mark(found[0]) if unchanged is None else unchanged
            self.world.objects.setdefault(self._at(target), (found[0], mark))
            return self.world.objects[self._at(target)][1]

        return self._request("COPY", target, effect)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Storage.delete`."""
        for key in list(keys):
            self._request("DELETE", key, lambda key=key: self.world.objects.pop(self._at(key), None))

    def discard(self, key: str, etag: str) -> bool:
        """See `Storage.discard`."""

        def effect() -> bool:
            found = self.world.objects.get(self._at(key))
            if found is None or found[1] != etag:
                return False
            del self.world.objects[self._at(key)]
            return True

        return self._request("DELETE", key, effect)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See `Storage.list`."""
        start = len(self._at(""))

        def effect() -> list[ObjectInfo]:
            return [
                ObjectInfo(key[start:], len(data), etag)
                for key, (data, etag) in sorted(self.world.objects.items())
                if key.startswith(self._at(prefix))
            ]

        return iter(self._request("LIST", prefix, effect))

    def folders(self, prefix: str = "") -> list[str]:
        """See `Storage.folders`."""
        start = f"{prefix}/" if prefix else ""
        keys = [info.key[len(start) :] for info in self.list(start)]
        return sorted({key.split("/")[0] for key in keys if "/" in key})

    def within(self, path: str) -> MemoryStorage:
        """See `Storage.within`."""
        return type(self)(self.world, self._at(path), self.hooks)

    def above(self) -> tuple[MemoryStorage, str]:
        """See `Storage.above`."""
        parent, _, name = self.prefix.rpartition("/")
        return type(self)(self.world, parent, self.hooks), name


class Hooks:
    """What happens to a process around each of its requests: nothing. It measures time by `clock`."""

    clock = Clock()

    def before(self, kind: str, key: str) -> None:
        """Be called before a request takes effect."""

    def after(self, kind: str, key: str) -> None:
        """Be called after a request took effect, before its reply arrives."""


class Alone(Hooks):
    """What happens to a process around each of its requests: nothing, and nobody else is alive."""

    @cached_property
    def clock(self) -> Clock:
        """The process's clock."""
        return SkippingClock()


class Numbered(Alone):
    """Numbers the requests of a process."""

    def __init__(self) -> None:
        self.count = 0
        self.kinds: list[str] = []
        self._lock = threading.Lock()

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        self.number(kind, key)

    def number(self, kind: str, key: str) -> int:
        """Return the request's number."""
        with self._lock:
            self.count += 1
            self.kinds.append(f"{kind} {key}")
            return self.count


class DiesAt(Numbered):
    """Kills the process at one request, before it takes effect or after; nothing gets out any more then.

    What the world's intent says of its owner becomes what it would be if that process were gone.
    """

    def __init__(self, world: World, place: int, *, after: bool) -> None:
        super().__init__()
        self.world, self.place, self.late, self.dying, self.dead = world, place, after, False, False

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        self._stop_if_dead()
        if self.number(kind, key) == self.place:
            self.dying = True
            if not self.late:
                self._die()

    def after(self, kind: str, key: str) -> None:  # noqa: ARG002
        """See `Hooks.after`."""
        self._stop_if_dead()
        if self.dying:
            self._die()

    def _stop_if_dead(self) -> None:
        if self.dead and threading.current_thread().name == "aggrade-heartbeat":
            raise Conflict(Problem("process", "it is gone", "a live one", "end the thread", "gone"))
        if self.dead:
            raise Killed

    def _die(self) -> None:
        with self.world.lock:
            self.dead = True
            self.world.lose_owner()
        raise Killed


class LosesReply(Numbered):
    """The request takes effect and the reply is lost."""

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place, self.numbers = place, threading.local()

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        self.numbers.now = self.number(kind, key)

    def after(self, kind: str, key: str) -> None:  # noqa: ARG002
        """See `Hooks.after`."""
        if self.numbers.now == self.place:
            raise Unavailable(Problem(key, "no reply", "a reply", "retry", "unavailable"))


class SleepsAt(Numbered):
    """Suspends the whole process before one request, heartbeat included, until it is woken.

    Meanwhile others take it for gone, which spares them waiting for its lease to end.
    """

    def __init__(self, world: World, place: int) -> None:
        super().__init__()
        self.world, self.place = world, place
        self.asleep, self.woken = threading.Event(), threading.Event()

    def before(self, kind: str, key: str) -> None:
        """See `Hooks.before`."""
        if self.number(kind, key) == self.place:
            self.world.lose_owner()
            self.asleep.set()
        if self.asleep.is_set():
            assert self.woken.wait(60)


@pytest.fixture
def open_world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Make ``world://`` URLs known; the storage options carry the world and the hooks of a process."""

    def opener(url: str, options: Mapping[str, Any]) -> MemoryStorage:
        return MemoryStorage(options["world"], url.removeprefix("world://"), options.get("hooks") or Alone())

    monkeypatch.setitem(OPENERS, "world", opener)
    return lambda world, hooks=None: {"world": world, "hooks": hooks}
