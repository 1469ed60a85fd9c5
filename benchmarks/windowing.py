"""How far cutting, staging and landing sessions is from what the machine can do at best.

    python benchmarks/windowing.py [--minutes 3] [--sessions 2] [--rounds 3] [--flow]
    python benchmarks/windowing.py --lease 1 180 [--rate 100] [--rounds 3] [--s3]

A session has 64 channels of EEG at 500 Hz (EDF) and 40 of fNIRS at 10 Hz (SNIRF); windows are 2 s long. Compared
are, round by round in turn:

- **floor**: each file read once, its samples reshaped into windows, each window compressed and each byte written once
  and synced, with the same codec and shards, on as many cores; nothing is placed by its time, looked at or verified;
- **ours**: `cut_windows`, then the session staged, landed in its store under guard, and its staging store removed; as
  many sessions at once as there are cores, and those that wait together land together, as in the ingest flow.

Printed are seconds of time and of processor time, which other programs on the machine disturb less, of all sessions, and
the floor over ours: 1 is as fast as the floor. Then the same for each step of one session after another; `read` is MNE's
reading of the EEG alone, which is part of `cut` and not of the floor. With ``--lease`` the time between taking and freeing the intent is
measured, and nothing else, for sessions of so many minutes, on a disk or an S3 server; the sessions are one minute again
and again. With ``--flow`` the ingest flow is timed beside the same calls without Prefect.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import mne.io
import numpy as np
from numcodecs.zstd import Zstd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from aggrade.append_layout import default_layout  # noqa: E402
from aggrade.landing import land, land_together  # noqa: E402
from aggrade.staging import drop_staged, stage  # noqa: E402
from aggrade.storage import OPENERS, open_storage  # noqa: E402
from aggrade.storage.counting import Counted  # noqa: E402
from aggrade.windowing import cut_windows  # noqa: E402
from flows.demo_servers import s3_server  # noqa: E402
from flows.recording_writers import write_edf, write_snirf  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

    from aggrade.staging import Staged
    from aggrade.storage import ObjectInfo

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
EEG_CHANNELS, EEG_RATE, FNIRS_RATE, WINDOW_S = 64, 500, 10, 2
SPEC = {"window_size_s": WINDOW_S}
PAIRS = [(source, detector, wave) for source in range(1, 6) for detector in range(1, 5) for wave in (1, 2)]


def write_session(folder: Path, number: int, minutes: float, rate: int = EEG_RATE) -> Path:
    """Write the two files of one session."""
    rng, seconds = np.random.default_rng(number), int(minutes * 60)
    folder.mkdir(parents=True)
    start = START + timedelta(days=number)
    samples = rng.normal(0, 30, (seconds * rate, EEG_CHANNELS)).astype("f4")
    labels = [f"EEG {channel:03}" for channel in range(EEG_CHANNELS)]
    write_edf(folder / "eeg.edf", start, samples, rate=rate, labels=labels)
    stamps = np.arange(seconds * FNIRS_RATE) / FNIRS_RATE
    light = rng.normal(1, 0.01, (len(stamps), len(PAIRS)))
    write_snirf(
        folder / "nirs.snirf", start, stamps, light, channels=PAIRS, wavelengths=[760.0, 850.0], stimuli={}
    )
    return folder


def reach_floor(session: Path, target: Path, threads: int) -> None:
    """Read, cut, compress and write one session with nothing between."""
    header = 256 * (1 + EEG_CHANNELS)
    counts = np.fromfile(session / "eeg.edf", "<i2", offset=header).reshape(-1, EEG_CHANNELS, EEG_RATE)
    eeg = counts.reshape(-1, WINDOW_S, EEG_CHANNELS, EEG_RATE).transpose(0, 2, 1, 3)
    with h5py.File(session / "nirs.snirf") as file:
        light = file["nirs/data1/dataTimeSeries"][:]
    fnirs = light.reshape(-1, WINDOW_S * FNIRS_RATE, len(PAIRS)).transpose(0, 2, 1)
    scales = {"eeg": np.float32(500 / 32767), "fnirs": np.float32(1)}
    with ThreadPoolExecutor(threads) as pool:
        for name, windows in (("eeg", eeg), ("fnirs", fnirs)):
            length = _shard_length(windows)
            jobs = [
                (target / f"{name}-{low}", windows[low : low + length], scales[name])
                for low in range(0, len(windows), length)
            ]
            list(pool.map(lambda job: _write_shard(*job), jobs))


def _shard_length(windows: Any) -> int:
    import xarray as xr

    shape = (1, *windows.shape[:2], int(np.prod(windows.shape[2:])))
    values = np.broadcast_to(np.float32(0), shape)
    layout = default_layout(
        xr.Dataset({"v": (("session", "window", "c", "s"), values)}), "session", ("window",), {}, {}
    )
    return int(layout[1]["v"][1])


def _write_shard(path: Path, windows: Any, scale: np.float32) -> None:
    codec = Zstd(level=0)
    with path.open("wb") as file:
        for window in windows:
            values = window.reshape(len(window), -1).astype(np.float32)
            if scale != 1:
                values *= scale
            file.write(codec.encode(values))
        file.flush()
        os.fsync(file.fileno())


class Steps:
    """Seconds of time and of processor time of named steps."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def timed(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call and add what it took."""
        began, used = time.perf_counter(), time.process_time()
        result = call()
        self.found[name][0] += time.perf_counter() - began
        self.found[name][1] += time.process_time() - used
        return result

    def ingest(self, session: Path, root: str) -> None:
        """Take one session from its files into its store."""
        windows = [self.timed("cut", lambda: cut_windows(session, SPEC))]
        staged = self.timed("stage", lambda: stage(windows.pop(), root, session.name))
        self.timed("land", lambda: land(staged, staged.store()))
        self.timed("drop", lambda: drop_staged(staged))


def ingest_all(sessions: list[Path], root: str, threads: int) -> None:
    """Take sessions from their files into their store, several at once; those that wait together land together."""
    with ThreadPoolExecutor(threads) as pool:
        begun = deque(pool.submit(_staged, session, root) for session in sessions)
        while begun:
            waiting = [begun.popleft().result()]
            while begun and begun[0].done():
                waiting.append(begun.popleft().result())
            land_together(waiting, waiting[0].store())
            for one in waiting:
                drop_staged(one)


def _staged(session: Path, root: str) -> Staged:
    return stage(cut_windows(session, SPEC), root, session.name)


def floor_of_all(sessions: list[Path], folder: Path, threads: int) -> None:
    """Reach the floor for one session after the other, each on all cores."""
    for session in sessions:
        target = folder / session.name
        target.mkdir(parents=True)
        reach_floor(session, target, threads)


def _read(session: Path) -> None:
    raw = mne.io.read_raw_edf(session / "eeg.edf", preload=False, verbose="error")
    for start in range(0, raw.n_times, EEG_RATE * 10):
        raw.get_data(start=start, stop=min(start + EEG_RATE * 10, raw.n_times))


def throughput(folder: Path, sessions: list[Path], rounds: int, threads: int) -> Iterator[str]:
    """Yield the ratio for all sessions, then a line per step."""
    kept: dict[str, list[list[float]]] = defaultdict(list)
    Steps().ingest(write_session(folder / "warm", 99, 0.2), str(folder / "warmed"))
    for number in range(rounds):
        steps, there = Steps(), folder / f"round-{number}"
        steps.timed("floor", lambda to=there: floor_of_all(sessions, to / "floor", threads))
        steps.timed("ours", lambda to=there: ingest_all(sessions, str(to / "ours"), threads))
        steps.timed("read", lambda: _read(sessions[0]))
        steps.ingest(sessions[0], str(there / "alone"))
        for name, values in steps.found.items():
            kept[name].append(values)
        shutil.rmtree(there)
    ratios = [
        statistics.median(kept["floor"][n][i] / kept["ours"][n][i] for n in range(rounds)) for i in (0, 1)
    ]
    yield f"floor / ours: {ratios[0]:.2f} of time, {ratios[1]:.2f} of processor time"
    yield f"{'':<8}{'seconds':>10}{'CPU s':>10}"
    for name, found in kept.items():
        yield f"{name:<8}" + "".join(f"{statistics.median(one[i] for one in found):>10.2f}" for i in (0, 1))


class Watched(Counted):
    """A storage that notes when an intent is written, and what had been requested by then."""

    moments: list[tuple[float, Counter[str]]]

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:
        """See `Storage.write`."""
        began = time.perf_counter()
        info = super().write(key, data, replacing=replacing)
        if key.endswith(".aggrade/intent.json") and (self.moments or b'"state":"held"' in data):
            counts = Counter(self.counts)
            self.moments += [(began, counts), (time.perf_counter(), counts)]
        return info

    def within(self, path: str) -> Watched:
        """See `Storage.within`."""
        return _watched(self.inner.within(path), self.moments, self.counts)

    def above(self) -> tuple[Watched, str]:
        """See `Storage.above`."""
        parent, name = self.inner.above()
        return _watched(parent, self.moments, self.counts), name


def _watched(
    storage: Any, moments: list[tuple[float, Counter[str]]], counts: Counter[str] | None = None
) -> Watched:
    watched = Watched(storage, counts)
    watched.moments = moments
    return watched


def lengthened(dataset: xr.Dataset, minutes: float) -> xr.Dataset:
    """Return a session of one minute again and again."""
    count = int(minutes * 60 / WINDOW_S)
    longer = dataset.isel(window=np.arange(count) % dataset.sizes["window"])
    starts = (("session", "window"), np.arange(count)[None] * float(WINDOW_S), dataset["window_start"].attrs)
    return longer.assign(window_start=starts, n_windows=("session", np.array([count], np.int32)))


def lease(folder: Path, minutes: list[float], rate: int, rounds: int, *, on_s3: bool) -> Iterator[str]:
    """Yield how long the intent was held while sessions of these lengths landed."""
    with ExitStack() as stack:
        options: dict[str, Any] = {}
        root = str(folder / "leased")
        if on_s3:
            server = stack.enter_context(s3_server(folder / "s3", ["bucket"]))
            root, options = "s3://bucket/leased", server.storage_options
        minute = cut_windows(write_session(folder / "minute", 100, 1, rate), SPEC)
        held: dict[float, list[float]] = defaultdict(list)
        counts: dict[float, dict[str, int]] = {}
        for number, length in enumerate([min(minutes), *minutes * rounds]):
            seconds, counts[length] = _landed(lengthened(minute, length), number, root, options)
            if number:
                held[length].append(seconds)
        for length, seconds in held.items():
            middle, most = statistics.median(seconds), " ".join(f"{one:.2f}" for one in seconds)
            sent = ", ".join(f"{count} {kind}" for kind, count in counts[length].items() if kind.isupper())
            yield f"{length:g} min at {rate} Hz: intent held for {middle:.2f} s ({most}); under it {sent}"


def _landed(
    session: xr.Dataset, number: int, root: str, options: dict[str, Any]
) -> tuple[float, dict[str, int]]:
    """Return for how many seconds the intent was held while a session landed, and what was requested meanwhile."""
    moments: list[tuple[float, Counter[str]]] = []
    OPENERS["watched"] = lambda url, more: _watched(open_storage(url.partition("://")[2], more), moments)
    named = session.assign_coords(session=("session", np.array([f"s{number}"], object)))
    staged = stage(named, f"watched://{root}", f"s{number}", storage_options=options)
    moments.clear()
    land(staged, staged.store(), storage_options=options)
    drop_staged(staged, storage_options=options)
    (began, before), (ended, after) = moments[0], moments[-1]
    return ended - began, dict(after - before)


def flow(folder: Path, sessions: list[Path]) -> Iterator[str]:
    """Yield the time of the ingest flow beside the same calls without Prefect."""
    from flows.ingest_sessions import ingest_sessions

    steps = Steps()
    for session in sessions:
        steps.ingest(session, str(folder / "direct"))
    direct = [sum(values[i] for values in steps.found.values()) for i in (0, 1)]
    source = str(sessions[0].parent)
    steps.timed("flow", lambda: ingest_sessions(source=source, store=str(folder / "flow"), windows=SPEC))
    whole = steps.found["flow"]
    yield f"flow {whole[0]:.1f} s, {whole[1]:.1f} CPU s; without Prefect {direct[0]:.1f} s, {direct[1]:.1f} CPU s"


def main() -> None:
    """Write recordings, take turns, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--lease", type=float, nargs="*", default=[])
    parser.add_argument("--rate", type=int, default=EEG_RATE, help="EEG's, in Hz, for --lease")
    parser.add_argument("--s3", action="store_true", help="measure the lease on an S3 server")
    parser.add_argument("--flow", action="store_true")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = asked.sessions if asked.flow or not asked.lease else 0
        sessions = [
            write_session(folder / "recordings" / f"s{number}", number, asked.minutes)
            for number in range(wanted)
        ]
        lines = (
            [throughput(folder, sessions, asked.rounds, asked.threads)] if wanted and not asked.lease else []
        )
        lines += (
            [lease(folder, asked.lease, asked.rate, max(asked.rounds, 1), on_s3=asked.s3)]
            if asked.lease
            else []
        )
        lines += [flow(folder, sessions)] if asked.flow else []
        for part in lines:
            for line in part:
                print(line, flush=True)


if __name__ == "__main__":
    main()
