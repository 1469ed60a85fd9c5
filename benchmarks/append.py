"""What one guarded append costs on S3 beside plain xarray's ``to_zarr(append_dim=…)`` of the same data.

::

    python benchmarks/append.py                                    # two minutes
    python benchmarks/append.py --sessions 10 1000 100000 --gigabytes 6

One SeaweedFS on this machine, started for the run; requests are counted by a proxy before it. Round trips are the
longest chain of requests of which none overlap, each answered after a latency (a fifth of it for plain xarray, which
waits some hundred times). Wall times are without the latency, one
run after the other; they are this machine's. Prints a table for each kind of session (a small one, and one cut from a
recording with every variable), the cost at stores of so many sessions, whose metadata and layer records are written
directly, and the resident memory of a large append of lazy data.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from append_prices import append, append_plainly, cost_of, cut_session, grow_directly, small_session  # noqa: E402
from s3_proxy import s3_proxy  # noqa: E402

from aggrade.storage import open_storage  # noqa: E402
from flows.demo_servers import s3_server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from append_prices import Cost
    from s3_proxy import Proxy

    from flows.demo_servers import S3Server

KINDS = ("GET", "HEAD", "LIST", "PUT", "DELETE")
ROW = "{:<22}" + "{:>8}" * (len(KINDS) + 2) + "{:>12}{:>12}{:>9}"


def heading() -> str:
    """Return the line above costs."""
    return ROW.format("", *KINDS, "all", "trips", "sent", "received", "seconds")


def line(name: str, cost: Cost, seconds: float) -> str:
    """Return one contestant's cost."""
    counts = [cost.requests.get(kind, 0) for kind in KINDS]
    return ROW.format(name, *counts, cost.total, cost.round_trips, cost.sent, cost.received, f"{seconds:.2f}")


def ratios(ours: Cost, theirs: Cost, seconds: tuple[float, float]) -> str:
    """Return ours over theirs."""
    pairs = [(ours.requests.get(kind, 0), theirs.requests.get(kind, 0)) for kind in KINDS]
    pairs += [
        (ours.total, theirs.total),
        (ours.round_trips, theirs.round_trips),
        (ours.sent, theirs.sent),
        (ours.received, theirs.received),
        seconds,
    ]
    return ROW.format("ratio", *(f"{one / other:.2f}" if other else "-" for one, other in pairs))


def side_by_side(proxy: Proxy, name: str, make: Callable[[str], Any], latency: float) -> Iterable[str]:
    """Append to a store of three sessions with either; yield the table."""
    url, plain, options = f"s3://bucket/{name}.zarr", f"s3://bucket/{name}-plain.zarr", proxy.storage_options
    for number in range(3):
        append(make(f"session {number}"), url, options)
        append_plainly(make(f"session {number}"), plain, options, new=number == 0)
    plan = append(make("counted"), url, options, dry_run=True)
    ours = cost_of(proxy, lambda: append(make("counted"), url, options), latency=latency)
    theirs = cost_of(proxy, lambda: append_plainly(make("counted"), plain, options), latency=latency / 5)
    fast = cost_of(proxy, lambda: append(make("timed"), url, options)).seconds
    plainly = cost_of(proxy, lambda: append_plainly(make("timed"), plain, options)).seconds
    dataset = make("counted")
    yield f"{name}: {len(dataset.variables)} variables, {dataset.nbytes / 1e6:.2f} MB"
    yield heading()
    yield line("aggrade", ours, fast)
    yield line("plain xarray", theirs, plainly)
    yield ratios(ours, theirs, (fast, plainly))
    price = plan.price
    yield (
        f"the plan said {sum(price.requests.values())} requests, {price.round_trips} round trips, "
        f"{price.bytes_written} bytes sent, {price.bytes_read} received\n"
    )


def growth(
    server: S3Server, proxy: Proxy, name: str, make: Callable[[str], Any], sizes: Iterable[int]
) -> Iterable[str]:
    """Yield the cost of an append to stores of so many sessions."""
    url, options = f"s3://bucket/{name}.zarr", proxy.storage_options
    yield f"{name}, at stores of so many sessions"
    yield heading()
    for size in sorted(sizes):
        grow_directly(open_storage(url, server.storage_options), size)
        cost = cost_of(proxy, lambda size=size: append(make(f"at {size}"), url, options))
        yield line(f"{size:,}", cost, cost.seconds)
    yield ""


def memory(options: dict[str, Any], gigabytes: float) -> str:
    """Append so many GB of lazy noise in a process of its own; return what it took."""
    script = ROOT / "tests" / "measure_append.py"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, str(script), "s3://bucket/large.zarr", json.dumps(options), str(gigabytes)]
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=True
    )
    found = {key: f"{size / 1e6:,.0f} MB" for key, size in json.loads(run.stdout).items()}
    return (
        f"{gigabytes:g} GB of lazy noise: resident at most {found['resident']}, {found['taken']} of it beyond "
        f"the program, priced {found['priced']}"
    )


def main() -> None:
    """Start the server, let everybody append, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, nargs="*", default=[10, 1000])
    parser.add_argument("--gigabytes", type=float, default=0.5)
    parser.add_argument("--latency", type=float, default=1.5, help="seconds, for counting round trips")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ["AGGRADE_LEASE_SECONDS"] = "600"  # no heartbeat falls into what is counted
    makers = {"small": small_session, "windows": cut_session()}
    with tempfile.TemporaryDirectory() as folder, s3_server(folder, ["bucket"]) as server:
        with s3_proxy(server) as proxy:
            for name, make in makers.items():
                for text in side_by_side(proxy, name, make, asked.latency):
                    print(text, flush=True)
            for name, make in makers.items():
                for text in growth(server, proxy, name, make, asked.sessions):
                    print(text, flush=True)
        if asked.gigabytes:
            print(memory(server.storage_options, asked.gigabytes))


if __name__ == "__main__":
    main()
