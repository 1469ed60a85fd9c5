"""Any `Storage` as a read-only zarr store, so that zarr and xarray open what lies in it, lazily."""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from aggrade.errors import AggradeError
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from zarr.core.buffer import Buffer, BufferPrototype

    from aggrade.storage import Storage

__all__ = ["ReadStore", "in_thread", "span_of"]


@functools.cache
def _pool(_process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(settings().parallel_requests, thread_name_prefix="aggrade-io")


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run a blocking call on the process's shared pool of request threads; a forked process has its own."""
    return await asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), function, *args)


def span_of(request: ByteRequest | None) -> tuple[int, int | None]:
    """Return where a part of an object starts and stops, as slices do: from the end if negative, to it if None."""
    match request:
        case RangeByteRequest(start=start, end=end):
            return start, end
        case OffsetByteRequest(offset=offset):
            return offset, None
        case SuffixByteRequest(suffix=suffix):
            return -suffix, None
    return 0, None


def _is_interrupt(error: BaseException) -> bool:
    return not isinstance(error, Exception | BaseExceptionGroup)


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class ReadStore(Store):
    """A read-only zarr store over a `Storage`. It can be pickled; writing raises.

    Parameters
    ----------
    storage
        The folder of the Zarr store.
    """

    supports_writes: bool = False
    supports_deletes: bool = False
    supports_listing: bool = True

    def __init__(self, storage: Storage) -> None:
        super().__init__(read_only=True)
        self.storage = storage

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadStore) and other.storage.url == self.storage.url

    def __hash__(self) -> int:
        return hash(self.storage.url)

    def __str__(self) -> str:
        return self.storage.url

    def __repr__(self) -> str:
        return f"ReadStore({self.storage!r})"

    def with_read_only(self, read_only: bool = False) -> ReadStore:
        """Return this store; it can't be opened for writing."""
        if not read_only:
            raise NotImplementedError("aggrade writes through its guarded commit only")
        return self

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object or a part of it, None where there is none."""
        start, stop = span_of(byte_range)
        stored = await in_thread(lambda: self.storage.read(key, start=start, stop=stop))
        return None if stored is None else prototype.buffer.from_bytes(stored.data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several objects."""
        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def get_ranges(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        """Yield parts of one object; an error of ours, or an interrupt, comes out as itself, not in a group."""
        try:
            async for part in super().get_ranges(*args, **options):
                yield part
        except BaseExceptionGroup as group:
            ours = group.subgroup(lambda error: isinstance(error, AggradeError) or _is_interrupt(error))
            if ours is None:
                raise
            raise _first(ours) from group

    async def exists(self, key: str) -> bool:
        """Tell whether an object is there."""
        return await in_thread(self.storage.stat, key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse."""
        raise NotImplementedError("aggrade writes through its guarded commit only")

    async def delete(self, key: str) -> None:
        """Refuse."""
        raise NotImplementedError("aggrade writes through its guarded commit only")

    async def list(self) -> AsyncIterator[str]:
        """Yield every key."""
        for info in await in_thread(lambda: list(self.storage.list())):
            yield info.key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key that starts with `prefix`."""
        for info in await in_thread(lambda: list(self.storage.list(prefix))):
            yield info.key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a folder."""
        folder = prefix.strip("/")
        start = f"{folder}/" if folder else ""
        names = await in_thread(
            lambda: {info.key[len(start) :].split("/")[0] for info in self.storage.list(start)}
        )
        for name in sorted(names):
            yield name
