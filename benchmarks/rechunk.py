"""How far `rechunk` is from what the machine can do, beside its peers.

::

    python benchmarks/rechunk.py                                  # the cases of docs/performance.md, an hour
    python benchmarks/rechunk.py --objects 20000 --rounds 1       # a look, some minutes
    python benchmarks/rechunk.py --s3 --peers floor ours "dask threads"

The work is the light-curve cube of ``docs/lightcurves.md``: float32 ``(object, measurement, value, epoch)`` in chunks of
50,000 objects and one epoch, a fifth of it unseen, to be read as

- ``i``: chunks of 1,000 objects with all epochs,
- ``ii``: chunks of 16 objects with all epochs, in shards of 16,000,
- ``iii``: chunks of one object with all epochs, in shards of 16,000,
- ``iv``: another cube, ``(time, y, x)`` in chunks of one time, of as many values, as chunks of all times and 32 x 32.

Contestants: the floor (every chunk of the source read and decoded once, every chunk of the target encoded and written
once, nothing between), aggrade with its verification and its synced writes (pieces one after the other, and in processes),
Dask on threads and by P2P, TensorStore, cubed and rechunker. The last three get an environment of their own, made with pip where it is
missing; what can't be installed, can't do a case or gives wrong values is left out, and it is said why.

Each run is a process of its own, which imports before the clock runs. Contestants run in turn, round by round, so that a busy
minute hurts all of them. Of the whole tree of processes: seconds of processor, the most resident memory together, bytes that
were read and written by system calls. Printed are medians, ranges of wall time, and ratios to the floor; ``--draw FILE``
draws them. It runs on the Python that starts it: take ``make install VENV=.venv-3.11 PYTHON=python3.11`` for another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import venv
import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import xarray as xr
import zarr

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / ".venv-peers"
OWN = ["floor", "ours", "ours, processes", "dask threads", "dask P2P"]
NEEDS = {
    "TensorStore": ("tensorstore",),
    "cubed": ("cubed", "zarr>=3"),
    "rechunker": ("rechunker", "zarr>=3", "dask"),
}
NO_SHARDS = {"cubed", "rechunker"}
NO_S3 = {"TensorStore", "cubed", "rechunker"}
CASES = ("i", "ii", "iii", "iv")


@dataclass(frozen=True)
class Cost:
    """What one run took: s, s of processor, bytes resident, bytes read, bytes written."""

    wall: float
    cpu: float
    memory: int
    read: int
    written: int


class Watch:
    """Watches a process and all that it starts, 50 times a second."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._root, self._ended = psutil.Process(process.pid), threading.Event()
        self._seen: dict[int, tuple[float, int, int]] = {}
        self.memory = 0
        self._look()
        self._before = self._sums()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _look(self) -> None:
        resident = 0
        for process in [self._root, *self._root.children(recursive=True)]:
            try:
                with process.oneshot():
                    times, moved = process.cpu_times(), process.io_counters()
                    resident += process.memory_info().rss
            except psutil.Error:
                continue
            cpu = times.user + times.system
            self._seen[process.pid] = (cpu, moved.read_chars, moved.write_chars)
        self.memory = max(self.memory, resident)

    def _sums(self) -> list[float]:
        return [sum(column) for column in zip(*self._seen.values(), strict=True)]

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._look()

    def end(self) -> list[float]:
        """Return processor seconds, bytes read and bytes written since the start."""
        self._ended.set()
        self._thread.join()
        self._look()
        return [after - before for after, before in zip(self._sums(), self._before, strict=True)]


def make_source(url: str, case: str, asked: argparse.Namespace, options: dict[str, Any]) -> Any:
    """Write the cube of a case; return its values, its name in the store, and chunks and shards to ask for."""
    rng, objects, epochs = np.random.default_rng(0), asked.objects, asked.epochs
    if case == "iv":
        side = max(32, int((objects * 4) ** 0.5) // 32 * 32)
        values = rng.normal(18, 1, (epochs, side, side)).round(3).astype("f4")
        name, dims, chunks = "images", ("time", "y", "x"), (1, side, side)
        wanted: tuple[list[int], list[int] | None] = ([epochs, 32, 32], None)
    else:
        values = rng.normal(18, 1, (objects, 2, 2, epochs)).round(3).astype("f4")
        np.moveaxis(values, 3, 1)[rng.random((objects, epochs)) < 0.2] = np.nan
        name, dims = "lightcurves", ("object", "measurement", "value", "epoch")
        chunks = (min(objects, 50_000), 2, 2, 1)
        each, together = {"i": (1000, None), "ii": (16, 16_000), "iii": (1, 16_000)}[case]
        wanted = (
            [each, 2, 2, epochs],
            [min(together, -(-objects // 16) * 16), 2, 2, epochs] if together else None,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({name: (dims, values)}).to_zarr(
            url, zarr_format=3, encoding={name: {"chunks": chunks}}, storage_options=options or None
        )
    return values, name, *wanted


def environment(name: str) -> str:
    """Return the Python that has a contestant installed, made where it is missing.

    Raises
    ------
    RuntimeError
        If it can't be installed.
    """
    if name in OWN:
        return sys.executable
    place = ENVIRONMENTS / f"{name.lower()}-{platform.python_version()}"
    python = place / "bin/python"
    if not (place / "installed").exists():
        venv.create(place, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *NEEDS[name]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"can't be installed: {done.stderr.strip().splitlines()[-1]}")
        (place / "installed").touch()
    return str(python)


def run_once(name: str, python: str, work: dict[str, Any]) -> Cost:
    """Run one contestant once.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    command = [python, str(ROOT / "benchmarks/peers/rechunkers.py"), name, json.dumps(work)]
    env = {**os.environ, "PYTHONPATH": str(ROOT) if name in OWN else ""}
    with tempfile.TemporaryFile("w+") as said:
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, env=env, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(_last_line(said))
            watch = Watch(process)
            began = time.perf_counter()
            process.stdin.write("go\n")
            process.stdin.flush()
            done = process.stdout.readline()
            wall = time.perf_counter() - began
            cpu, read, written = watch.end()
            process.stdin.close()
        if done != "done\n":
            raise RuntimeError(_last_line(said))
    return Cost(wall, cpu, watch.memory, int(read), int(written))


def _last_line(said: Any) -> str:
    said.seek(0)
    lines = said.read().strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


def wrong(name: str, work: dict[str, Any], values: np.ndarray[Any, Any]) -> str:
    """Return what is wrong with a result, if anything: each value is compared, and the layout."""
    if name == "floor":
        return ""
    where, options = f"{work['target']}/{work['array']}", work["options"] or None
    array: Any = zarr.open_array(where, mode="r", storage_options=options)
    layout = [list(array.chunks), list(array.shards) if array.shards else None]
    if layout != [work["chunks"], work["shards"]]:
        return f"another layout: {layout}"
    return "" if np.array_equal(array[...], values, equal_nan=True) else "other values than the source has"


class Field:
    """Where one case is run: who takes part, what each run took, and why somebody was left out."""

    def __init__(self, case: str, asked: argparse.Namespace, root: str, options: dict[str, Any]) -> None:
        self.case, self._root, self._options = case, root, options
        self._folder = tempfile.mkdtemp(dir=asked.folder)
        values, name, chunks, shards = make_source(f"{root}/{case}.zarr", case, asked, options)
        self.values = values
        self._work = {
            "source": f"{root}/{case}.zarr",
            "array": name,
            "chunks": chunks,
            "shards": shards,
            "threads": asked.threads,
            "max_memory": asked.max_memory << 20,
            "folder": self._folder,
            "options": options,
        }
        self.costs: dict[str, list[Cost]] = {peer: [] for peer in asked.peers}
        self.left_out: dict[str, str] = {}
        for peer in asked.peers:
            if (shards and peer in NO_SHARDS) or (options and peer in NO_S3):
                self.left_out[peer] = (
                    "does not write shards" if shards and peer in NO_SHARDS else "not tried on S3"
                )

    def turn(self, peer: str, number: int) -> None:
        """Let one contestant run once; leave it out from then on if it fails."""
        if peer in self.left_out:
            return
        work = {**self._work, "target": f"{self._root}/{self.case}-{number}-{peer.replace(' ', '')}.zarr"}
        try:
            cost = run_once(peer, environment(peer), work)
            problem = wrong(peer, work, self.values) if number == 0 else ""
        except (RuntimeError, KeyError, FileNotFoundError) as error:
            problem = str(error)
        finally:
            self._clear(work["target"])
        if problem:
            self.left_out[peer] = problem
        else:
            self.costs[peer].append(cost)

    def _clear(self, target: str) -> None:
        if not self._options:
            for place in (target, f"{target}.backups", f"{self._folder}/between.zarr"):
                shutil.rmtree(place, ignore_errors=True)

    def end(self) -> None:
        """Delete everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if not self._options:
            shutil.rmtree(self._work["source"], ignore_errors=True)

    def table(self) -> Iterator[str]:
        """Yield the lines of the table."""
        yield f"case {self.case}: {self.values.nbytes / 1e6:.0f} MB float32 as {self._work['chunks']}" + (
            f" in shards {self._work['shards']}" if self._work["shards"] else ""
        )
        yield f"{'contestant':<17}{'wall s':>8}{'range':>14}{'x floor':>9}{'cpu s':>8}{'x floor':>9}{'peak MB':>9}{'read MB':>9}{'written MB':>11}"
        for peer, costs in self.costs.items():
            if costs:
                yield self._row(peer, costs)
        for peer, why in self.left_out.items():
            yield f"{peer:<17}  left out: {why}"

    def _row(self, peer: str, costs: list[Cost]) -> str:
        walls = [cost.wall for cost in costs]
        spread = f"{min(walls):.1f}-{max(walls):.1f}"
        wall, cpu = (self.ratio(peer, what) for what in ("wall", "cpu"))
        memory, read, written = (median(costs, what) / 1e6 for what in ("memory", "read", "written"))
        return (
            f"{peer:<17}{median(costs, 'wall'):>8.2f}{spread:>14}{wall:>9.2f}{median(costs, 'cpu'):>8.2f}{cpu:>9.2f}"
            f"{memory:>9.0f}{read:>9.0f}{written:>11.0f}"
        )

    def ratio(self, peer: str, what: str) -> float:
        """Return a contestant's median in units of the floor's; NaN where there is none, or it is below a clock tick."""
        floor = median(self.costs["floor"], what) if self.costs.get("floor") else 0.0
        return median(self.costs[peer], what) / floor if floor else float("nan")


def median(costs: list[Cost], what: str) -> float:
    """Return the median of one figure."""
    return statistics.median(getattr(cost, what) for cost in costs)


def draw(fields: list[Field], path: str) -> None:
    """Draw wall and processor time of everybody in units of the floor, a panel for each case."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(fields), figsize=(4.5 * len(fields), 3.5), squeeze=False)
    for field, ax in zip(fields, axes[0], strict=True):
        peers = [peer for peer, costs in field.costs.items() if costs and peer != "floor"]
        places = np.arange(len(peers))
        for shift, what in ((-0.2, "wall"), (0.2, "cpu")):
            ax.barh(places + shift, [field.ratio(peer, what) for peer in peers], 0.4, label=what)
        ax.axvline(1, color="black", linewidth=1)
        ax.set_yticks(places, peers)
        ax.invert_yaxis()
        ax.set_title(f"case {field.case}")
        ax.set_xlabel("times the floor")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-memory", type=int, default=512, metavar="MIB")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--peers", nargs="+", choices=[*OWN, *NEEDS], default=[*OWN, *NEEDS])
    parser.add_argument(
        "--s3", action="store_true", help="on one SeaweedFS on this machine, started for the run"
    )
    parser.add_argument("--folder", help="where to work; a temporary folder otherwise")
    parser.add_argument("--draw", metavar="FILE", help="draw the ratios, as PNG or SVG by its name")
    return parser.parse_args()


def main() -> None:
    """Make the cubes, run everybody in turn, print the tables, draw."""
    asked, fields = arguments(), []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder))
        asked.folder, root, options = folder, folder, {}
        if asked.s3:
            sys.path.insert(0, str(ROOT))
            from flows.demo_servers import s3_server

            server = stack.enter_context(s3_server(Path(folder), ["bench"]))
            root, options = "s3://bench", dict(server.storage_options)
        load = os.getloadavg()[0]
        print(
            f"Python {platform.python_version()}, zarr {zarr.__version__}, {os.cpu_count()} cores, load {load:.1f}"
        )
        for case in asked.cases:
            field = Field(case, asked, root, options)
            fields.append(field)
            for number in range(asked.rounds):
                for peer in asked.peers:
                    field.turn(peer, number)
            print("", *field.table(), sep="\n", flush=True)
            field.end()
    if asked.draw:
        draw(fields, asked.draw)


if __name__ == "__main__":
    main()
