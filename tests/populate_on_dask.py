"""Populate with pieces on a Dask cluster, and the looks beside them, as the flow does.

Run as ``python populate_on_dask.py CATALOGUES STORE SCHEDULER TALLY LATENCY SPEC``.
"""

from __future__ import annotations

import functools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from distributed import Client
from tally_catalogues import do

from aggrade import populate


def main(catalogues: str, store: str, scheduler: str, tally: str, latency: str, spec: str) -> None:
    """Populate once."""
    options = {"tally": tally, "latency": float(latency)}
    with Client(scheduler, timeout=30) as client, ThreadPoolExecutor(16) as pool:

        def map_either(work: Any, items: Any) -> Any:
            chosen = list(items)
            if not any(hasattr(item, "digest") for item in chosen):
                return list(pool.map(work, chosen))
            return client.gather(client.map(functools.partial(do, work), chosen, pure=False))

        populate(catalogues, store, json.loads(spec), map=map_either, storage_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
