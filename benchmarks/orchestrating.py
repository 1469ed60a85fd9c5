"""What Prefect adds to an ingest of many small sessions, and whether the flow's process grows meanwhile.

    python benchmarks/orchestrating.py [--sessions 1000] [--seconds 30] [--channels 32] [--rate 250]

A Prefect server of its own on SQLite, and a folder. Compared are two processes, one after the other:

- **flow**: `python -m flows.ingest_sessions`, with its tasks, results, logs, artifacts and pictures;
- **plain**: the same calls of the core without Prefect: as many sessions are cut at once and begun ahead, and those
  that wait together land together.

Printed are seconds, seconds of processor time of the process, and the flow's share that plain does not have, from the first
import to the end; the processor time of the server during either; then the resident memory of either process whenever
another tenth of the sessions has landed. The server works on the same cores, so that the share of time holds its work as well.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from make_recordings import eeg_stream, write_xdf  # noqa: E402

from aggrade.landing import land, land_together  # noqa: E402
from aggrade.staging import drop_staged, stage  # noqa: E402
from aggrade.windowing import cut_windows  # noqa: E402
from flows.demo_servers import prefect_server  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.staging import Staged

WINDOWS = {"window_size_s": 2.0}
POLL_SECONDS = 0.5


@dataclass
class Seen:
    """What a process took."""

    seconds: float = 0.0
    cpu: float = 0.0
    memory: dict[int, int] = field(default_factory=dict)
    """Sessions that have landed → resident bytes."""


def write_sessions(folder: Path, count: int, seconds: int, channels: int, rate: int) -> None:
    """Write recordings of noise."""
    t = 100 + np.arange(seconds * rate) / rate
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 30, (len(t), channels))
        place = folder / f"sub-{number:04}"
        place.mkdir(parents=True)
        write_xdf(place / "recording.xdf", [eeg_stream(t, noise, rate=float(rate))])


def ingest_plainly(source: Path, store: str) -> None:
    """Do what the flow does, without Prefect."""
    cores = len(os.sched_getaffinity(0))
    left = deque(sorted(source.iterdir()))
    begun: deque[Future[Staged]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        while left or begun:
            while left and len(begun) <= 2 * cores:
                begun.append(pool.submit(_staged, left.popleft(), store))
            waiting = [begun.popleft().result()]
            while begun and begun[0].done():
                waiting.append(begun.popleft().result())
            _land(waiting)


def _staged(session: Path, store: str) -> Staged:
    return stage(cut_windows(str(session), WINDOWS), store, session.name)


def _land(waiting: list[Staged]) -> None:
    if len(waiting) > 1:
        land_together(waiting, waiting[0].store())
    else:
        land(waiting[0], waiting[0].store())
    for one in waiting:
        drop_staged(one)


def watched(command: list[str], environment: dict[str, str], store: Path, sessions: int) -> Seen:
    """Run a command to its end; return what it took."""
    seen, began = Seen(), time.perf_counter()
    layers = store / "windows.zarr" / ".aggrade" / "layers"
    with (store.parent / f"{store.name}.log").open("wb") as log:
        process = psutil.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log)
    while process.poll() is None:
        with suppress(psutil.Error, OSError):
            landed = sum(1 for _ in layers.glob("*.json"))
            if landed * 10 // sessions > len(seen.memory):
                seen.memory[landed] = process.memory_info().rss
            seen.cpu = sum(process.cpu_times()[:2])
        time.sleep(POLL_SECONDS)
    seen.seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit((store.parent / f"{store.name}.log").read_text()[-2000:])
    return seen


@contextmanager
def serving(port: str) -> Iterator[list[float]]:
    """Give what is, at the end, the processor time that the Prefect server has taken meanwhile."""
    before, taken = cpu_of_server(port), [0.0]
    yield taken
    taken[0] = cpu_of_server(port) - before


def cpu_of_server(port: str) -> float:
    """Return the processor time of the Prefect server that this process has started, in s."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            is_it = process.environ().get("PREFECT_SERVER_API_PORT") == port
            if is_it and process.cmdline()[1:] == ["-m", "prefect", "server", "start"]:
                return float(sum(process.cpu_times()[:2]))
    return 0.0


def main() -> None:
    """Write recordings, run both, print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rate", type=int, default=250)
    parser.add_argument("--plain", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plain:
        ingest_plainly(Path(asked.plain[0]), asked.plain[1])
        return
    with tempfile.TemporaryDirectory() as name, prefect_server(Path(name) / "prefect") as server:
        folder = Path(name)
        write_sessions(folder / "source", asked.sessions, asked.seconds, asked.channels, asked.rate)
        environment = {**os.environ, **server.environment, "PYTHONPATH": str(ROOT)}
        source, windows = str(folder / "source"), json.dumps(WINDOWS)
        plain = [__file__, "--plain", source, str(folder / "plain")]
        flow = ["-m", "flows.ingest_sessions", source, str(folder / "flow"), "--windows", windows]
        port = server.environment["PREFECT_SERVER_API_PORT"]
        with serving(port) as orchestrated_by:
            orchestrated = watched(flow, environment, folder / "flow", asked.sessions)
        with serving(port) as idle:
            direct = watched(plain, environment, folder / "plain", asked.sessions)
    print(f"{asked.sessions} sessions of {asked.seconds} s, {asked.channels} channels at {asked.rate} Hz")
    for label, seen in (("flow", orchestrated), ("plain", direct)):
        print(f"{label:<8}{seen.seconds:>8.1f} s{seen.cpu:>8.1f} CPU s")
    print(f"{'share':<8}{share(orchestrated.seconds, direct.seconds)}{share(orchestrated.cpu, direct.cpu)}")
    print(f"{'server':<8}{orchestrated_by[0]:>19.1f} CPU s, {idle[0]:.1f} while it had nothing to do")
    for label, seen in (("flow", orchestrated), ("plain", direct)):
        for landed, resident in seen.memory.items():
            print(f"{label:<8}{landed:>6} sessions landed: {resident / 1e6:,.0f} MB")


def share(whole: float, part: float) -> str:
    """Return how much of the whole the part is not."""
    return f"{1 - part / whole:>9.0%} "


if __name__ == "__main__":
    main()
