"""What is left when an append is killed, and when two come at once: aggrade beside its peers, side by side.

::

    python benchmarks/peers/append.py                       # every peer that can be installed, some minutes
    python benchmarks/peers/append.py --trials 50 --peers aggrade "plain xarray"

Stores lie in local folders. A trial begins with one row whose every value is its label. *Killed*: SIGKILL at a random
moment of an append of a second row, then the store is read, then the same append is run again and the store is
read again. *Race*: two processes append a row each at the same time. Each peer runs in an environment of its own,
made with pip where it is missing; one that can't be installed is left out, and it is said why.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".venv-peers"
NEEDS = {
    "aggrade": None,
    "plain xarray": None,
    "icechunk": ("icechunk", "xarray", "zarr>=3"),
    "zappend": ("zappend==0.8.0", "zarr<3", "xarray<2025", "numcodecs<0.16", "numpy<2.3"),
}
FIRST, SECOND, THIRD = ([label, float(label), float(label)] for label in (0, 1, 2))
LINE = "{:<14}" + "{:>9}" * 4 + "{:>14}" + "{:>10}" * 4


@dataclass(frozen=True)
class Peer:
    """A peer, and the Python that has it installed."""

    name: str
    python: str

    def start(self, action: str, url: Path, *labels: int) -> subprocess.Popen[str]:
        """Start one action in a process of its own."""
        return subprocess.Popen(
            [self.python, str(HERE / "writers.py"), self.name, action, str(url), *map(str, labels)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )

    def do(self, action: str, url: Path, *labels: int) -> tuple[int, str]:
        """Carry one action out; return its exit code and what it printed."""
        process = self.start(action, url, *labels)
        said, _ = process.communicate("\n")
        return process.returncode, said

    def rows(self, url: Path) -> list[list[float]] | None:
        """Return what a reader sees; None if it can't be read."""
        code, said = self.do("read", url)
        return json.loads(said) if code == 0 else None


def environment(name: str) -> str | None:
    """Return the Python of a peer's environment, made where it is missing; None if the peer can't be installed."""
    needs = NEEDS[name]
    if needs is None:
        return sys.executable
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, clear=True, with_pip=True)
        installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *needs], check=False)
        if installed.returncode != 0:
            return None
        (folder / "done").touch()
    return str(python)


def ready(process: subprocess.Popen[str]) -> bool:
    """Wait until a process has imported everything."""
    return process.stdout is not None and process.stdout.readline().strip() == "ready"


def go(process: subprocess.Popen[str]) -> None:
    """Let a process that is ready begin."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def duration(peer: Peer, start: Path, folder: Path) -> float:
    """Return how many seconds an undisturbed append takes."""
    shutil.copytree(start, folder)
    process = peer.start("append", folder, 1)
    assert ready(process)
    began = time.monotonic()
    go(process)
    process.communicate()
    return time.monotonic() - began


def killed(peer: Peer, start: Path, folder: Path, after: float) -> tuple[str, str]:
    """Kill an append after so many seconds; return what is seen then, and once it was run again."""
    shutil.copytree(start, folder)
    process = peer.start("append", folder, 1)
    assert ready(process)
    go(process)
    time.sleep(after)
    process.kill()
    process.communicate()
    states = {json.dumps([FIRST]): "old", json.dumps([FIRST, SECOND]): "new"}
    seen = states.get(json.dumps(peer.rows(folder)), "damaged")
    peer.do("append", folder, 1)
    whole = peer.rows(folder) == [FIRST, SECOND]
    return seen, "whole" if whole else "not whole"


def race(peer: Peer, start: Path, folder: Path) -> str:
    """Let two processes append at once; return what became of their rows."""
    shutil.copytree(start, folder)
    processes = [peer.start("append", folder, label) for label in (1, 2)]
    assert all(map(ready, processes))
    for process in processes:
        go(process)
    for process in processes:
        process.communicate()
    rows = peer.rows(folder)
    if rows is None or any(row not in (FIRST, SECOND, THIRD) for row in rows):
        return "damaged"
    told = [process.returncode == 0 for process in processes]
    there = [row in rows for row in (SECOND, THIRD)]
    if len(rows) != 1 + sum(there) or any(
        said and not shown for said, shown in zip(told, there, strict=True)
    ):
        return "lost"
    return "both" if all(there) else "told"


def trials(peer: Peer, count: int, rng: random.Random) -> Counter[str]:
    """Run every trial of one peer."""
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = folder / "start.zarr"
        code, _ = peer.do("create", start)
        if code != 0 or peer.rows(start) != [FIRST]:
            raise SystemExit(f"{peer.name} can't make a store")
        seconds = duration(peer, start, folder / "undisturbed.zarr")
        for number in range(count):
            seen, then = killed(peer, start, folder / f"killed-{number}.zarr", rng.uniform(0, seconds))
            outcomes.update([seen, then])
            outcomes[f"race {race(peer, start, folder / f'race-{number}.zarr')}"] += 1
    return outcomes


def main() -> None:
    """Run the trials and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--peers", nargs="+", choices=NEEDS, default=list(NEEDS))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"{asked.trials} trials of each kind, seed {asked.seed}")
    print(LINE.format("", *(["killed:"] + [""] * 3), "run again:", *(["race:"] + [""] * 3)))
    columns = ["old", "new", "damaged", "", "whole", "both in", "told", "lost", "damaged"]
    print(LINE.format("", *columns))
    keys = ["old", "new", "damaged", "", "whole", "race both", "race told", "race lost", "race damaged"]
    for name in asked.peers:
        python = environment(name)
        if python is None:
            print(f"{name:<14} could not be installed here")
            continue
        outcomes = trials(Peer(name, python), asked.trials, random.Random(asked.seed))
        print(LINE.format(name, *(outcomes[key] if key else "" for key in keys)), flush=True)


if __name__ == "__main__":
    main()
