"""What this process writes to the local disk, as Python's own audit events tell it."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_WATCHERS: list[list[str]] = []
_MADE_BY = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "shutil.copyfile": 1}
_STARTS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec"}
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _WATCHERS:
        return
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path, mode, flags = arguments
        writes = set(mode or "") & set("wax+") if mode else (flags or 0) & _FOR_WRITING
        made = os.fsdecode(path) if writes else None
    elif event in _MADE_BY:
        made = os.fsdecode(arguments[_MADE_BY[event]])
    elif event in _STARTS:
        made = f"a process, by {event}"
    else:
        return
    for watcher in _WATCHERS:
        watcher.extend([made] if made else [])


sys.addaudithook(_hear)


@contextmanager
def local_writes() -> Iterator[list[str]]:
    """Give the paths that any thread of this process opens to write, makes or renames to, and processes it starts.

    Byte code and what goes to no file, such as ``/dev/null``, are left out.
    """
    heard: list[str] = []
    seen: list[str] = []
    _WATCHERS.append(heard)
    try:
        yield seen
    finally:
        _WATCHERS.remove(heard)
        seen.extend(path for path in heard if "__pycache__" not in path and not path.startswith("/dev/"))
