"""Rechunk in a process of its own and print, as JSON, what it was to cost and what it cost.

Run as ``python measure_geometry.py SOURCE TARGET LAYOUT``, the layout as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from measure_rechunk import resident

from aggrade.rechunking import rechunk_storage
from aggrade.storage import open_storage
from aggrade.storage.counting import counted, requests_in


def main(source: str, target: str, layout: str) -> None:
    """Rechunk once, counting what goes to either store."""
    asked = {name: _tuples(value) for name, value in json.loads(layout).items()}
    before = resident("VmRSS")
    plan = rechunk_storage(open_storage(source), open_storage(target), asked, dry_run=True)
    counts: Counter[str] = Counter()
    here, there = (counted(open_storage(place), counts)[0] for place in (source, target))
    rechunk_storage(here, there, asked)
    measured = {
        "taken": resident("VmHWM") - before,
        "priced": plan.price.peak_memory,
        "requests": requests_in(counts),
        "price": plan.price.requests,
        "values": {"bytes_read": plan.copying.bytes_read, "bytes_written": plan.copying.bytes_written},
        "bytes": {name: counts[name] for name in ("bytes_read", "bytes_written")},
    }
    print(json.dumps(measured))  # noqa: T201


def _tuples(value: Any) -> Any:
    return {name: tuple(lengths) for name, lengths in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
