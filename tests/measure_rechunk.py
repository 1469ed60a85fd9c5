"""Rechunk in a process of its own and print, as JSON, the plan's price and the memory that it took.

Run as ``python measure_rechunk.py SOURCE TARGET MAX_MEMORY LAYOUT``, the layout as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from aggrade.rechunking import rechunk


def resident(what: str) -> int:
    """Return bytes from the process's status: ``VmRSS`` is resident now, ``VmHWM`` was at most."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024


def main(source: str, target: str, max_memory: str, layout: str) -> None:
    """Warm up on a small copy, then measure."""
    asked = {**json.loads(layout), "max_memory": int(max_memory)}
    rechunk(f"{source}.small", f"{target}.small", **asked)
    plan = rechunk(source, target, dry_run=True, **asked)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    rechunk(source, target, **asked)
    print(json.dumps({"priced": plan.price.peak_memory, "taken": resident("VmHWM") - before}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
