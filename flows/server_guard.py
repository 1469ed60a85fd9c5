"""Run a server that ends with the process that asked for it, however that process ends.

Run as a script in a session of its own: ``server_guard.py PARENT REMOVED COMMAND…``, with a pipe as standard
input. When the pipe closes, or when the process PARENT is gone, killed or not, the server's process group is
killed and what REMOVED lists is removed. Only the standard library is imported: the guard stands before the server.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main(parent: int, removed: str, *command: str) -> int:
    """Run `command` until it ends, standard input closes or `parent` dies; return its exit status.

    Parameters
    ----------
    parent
        The process that started this one.
    removed
        Paths with ``:`` between them, removed at the end. The first is a folder, and the server's ``TMPDIR``.
    command
        The server's program and arguments.
    """
    scratch, *leftovers = removed.split(os.pathsep)
    watched = [0]
    with suppress(OSError):  # a parent that is gone already, or a kernel that has only the pipe to offer
        watched.append(os.pidfd_open(parent))
    server = subprocess.Popen(  # noqa: S603 - whoever runs the guard chooses the command
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - there is one thread yet
        env={**os.environ, "TMPDIR": scratch},
    )
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _kill(server.pid))
    if os.getppid() != parent:
        _kill(server.pid)
    threading.Thread(target=_kill_at_end, args=[watched, server.pid], daemon=True).start()
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    _kill(server.pid)
    shutil.rmtree(scratch, ignore_errors=True)
    for path in leftovers:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - pathlib takes as long to import as all the rest
    return server.wait()


def _die_with(guard: int) -> Callable[[], None]:
    library = ctypes.CDLL(None)

    def ask_kernel() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)

    return ask_kernel


def _kill_at_end(watched: list[int], group: int) -> None:
    poll = select.poll()
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    poll.poll()
    _kill(group)


def _kill(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
