"""Which hosts Python processes turn to, as Python's own audit events tell it; processes that they start are heard, too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LISTENS = """
import json, os, socket, sys

def hear(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        asks, address = arguments[:2]
        if asks.family == socket.AF_UNIX or not address:
            return
        if event == "socket.connect" and asks.type == socket.SOCK_DGRAM:
            return  # sends nothing
        host = address[0]
    else:
        return
    line = json.dumps([os.fsdecode(host or ""), " ".join(sys.orig_argv[1:])]) + "\\n"
    file = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)

sys.addaudithook(hear)
"""


@dataclass(frozen=True)
class Calls:
    """Where processes that have its environment record whom they turn to.

    Parameters
    ----------
    folder
        Empty.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process has to be started with."""
        (self.folder / "sitecustomize.py").write_text(_LISTENS)
        return {"CALLS": str(self.folder / "calls.jsonl"), "PYTHONPATH": str(self.folder)}

    def made(self) -> set[tuple[str, str]]:
        """Return the hosts that were connected to, sent to or looked up, each with the command line of who did."""
        lines = (self.folder / "calls.jsonl").read_text().splitlines()
        return {(host, command) for host, command in map(json.loads, lines)}
