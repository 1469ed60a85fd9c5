"""Giving memory back to the system when it is freed, so that a bound on what is in use bounds the process too.

Blocks of megabytes are allocated and freed by several threads. glibc at first maps such blocks one by one, which
gives them back when they are freed, but raises the size from which it does so to that of the largest block it has
seen, up to 32 MiB, and keeps later ones in the arena of each thread (mallopt(3), ``M_MMAP_THRESHOLD``). Setting the
size keeps it from rising.
"""

from __future__ import annotations

import ctypes
import functools
import logging

__all__ = ["return_freed_memory"]

_log = logging.getLogger(__name__)
_MMAP_THRESHOLD = -3
_BYTES = 1 << 20


@functools.cache
def return_freed_memory() -> bool:
    """Have this process give back blocks of 1 MiB and more as soon as they are freed; once, then a no-op.

    Returns
    -------
    bool
        Whether it could be set; False where the C library has no such setting.
    """
    try:
        done = bool(ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _BYTES))
    except (AttributeError, OSError):
        done = False
    _log.debug("freed memory is given back at once: %s", done)
    return done
