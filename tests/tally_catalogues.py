"""Catalogues below ``tally://`` that note each read in a file which processes share; on workers they are far away.

Whoever imports this module can open them: the storage options name the file, and the seconds that a read takes.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

from aggrade.storage import OPENERS
from aggrade.storage.local import LocalStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrade.storage import Storage


class TalliedFolder:
    """A folder of which every object that is read leaves a line behind, its key."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.url, self._options = url, options
        self._folder = LocalStorage(url.removeprefix("tally://"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)

    def read(self, key: str, **how: Any) -> Any:
        """Note the read, wait as for an answer, and read."""
        note = os.open(self._options["tally"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(note, f"{key}\n".encode())
        os.close(note)
        threading.Event().wait(self._options["latency"])
        return self._folder.read(key, **how)


OPENERS["tally"] = lambda url, options: cast("Storage", TalliedFolder(url, options))


def do(work: Callable[[Any], Any], piece: Any) -> Any:
    """Do a piece, on a worker that knows of this module by being asked for it."""
    return work(piece)
