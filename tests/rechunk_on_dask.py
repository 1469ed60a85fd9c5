"""Rechunk with pieces on a Dask cluster, in a process that may be killed.

Run as ``python rechunk_on_dask.py SOURCE TARGET SCHEDULER TALLY LATENCY LAYOUT``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from distributed import Client
from tally_storage import Tally

from aggrade.rechunking import rechunk_storage
from aggrade.storage import open_storage


def main(source: str, target: str, scheduler: str, tally: str, latency: str, layout: str) -> None:
    """Rechunk once."""
    asked = {name: _plain(value) for name, value in json.loads(layout).items()}
    counted: Any = Tally(open_storage(source), Path(tally), float(latency))
    with Client(scheduler, timeout=30) as client:

        def map_pieces(work: Any, pieces: Any) -> Any:
            return client.gather(client.map(work, list(pieces), pure=False))

        rechunk_storage(counted, open_storage(target), asked, map=map_pieces)


def _plain(value: Any) -> Any:
    return {name: tuple(each) for name, each in value.items()} if isinstance(value, dict) else value


if __name__ == "__main__":
    main(*sys.argv[1:])
