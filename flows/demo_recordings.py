"""Made-up recordings of finger tapping, with EEG and fNIRS, as XDF, EDF and SNIRF files.

What is in them is known: rest and tapping alternate; at rest the occipital EEG has an alpha rhythm, and some
seconds after tapping starts, the opposite hemisphere takes up more oxygen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np

from flows.xdf_writer import XdfStream, write_xdf

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "BLOCK_S",
    "EEG_LABELS",
    "EEG_RATE",
    "FNIRS_CHANNELS",
    "FNIRS_LABELS",
    "FNIRS_RATE",
    "SESSIONS",
    "WAVELENGTHS",
    "DemoSession",
    "eeg",
    "fnirs",
    "markers",
    "stamps",
    "write_session_file",
]

EEG_RATE = 250
EEG_LABELS = ("Fp1", "Fp2", "C3", "C4", "P3", "P4", "O1", "O2")
FNIRS_RATE = 10.0
WAVELENGTHS = (760.0, 850.0)
FNIRS_CHANNELS = tuple((pair, pair, wavelength) for wavelength in (1, 2) for pair in (1, 2, 3, 4))
FNIRS_LABELS = tuple(
    f"S{source}_D{detector} {WAVELENGTHS[wavelength - 1]:.0f}"
    for source, detector, wavelength in FNIRS_CHANNELS
)
BLOCK_S = 15.0
_CONDITIONS = ("rest", "tap left", "rest", "tap right")
_ZONE = timezone(timedelta(hours=2))


@dataclass(frozen=True)
class DemoSession:
    """One made-up session.

    Parameters
    ----------
    name
        Its id, which is the name of its folder.
    files
        Its files below that folder.
    start
        Its start with the zone.
    seconds
        Its length in s.
    seed
        What its noise is made from.
    fnirs_delay
        s from the session's start to the first fNIRS sample; None: there is no fNIRS.
    eeg_gap, fnirs_gap
        Half-open spans in s since the start in which samples were lost.
    """

    name: str
    files: tuple[str, ...]
    start: datetime
    seconds: int
    seed: int
    fnirs_delay: float | None = 0.0
    eeg_gap: tuple[float, float] | None = None
    fnirs_gap: tuple[float, float] | None = None


SESSIONS = (
    DemoSession(
        "P01 first visit",
        ("recording.xdf",),
        datetime(2026, 10, 5, 9, 0, tzinfo=_ZONE),
        180,
        1,
        fnirs_delay=0.28,
        eeg_gap=(64.4, 66.1),
    ),
    DemoSession(
        "P01 second visit",
        ("recording.xdf",),
        datetime(2026, 10, 12, 9, 30, tzinfo=_ZONE),
        150,
        2,
        fnirs_delay=0.11,
        fnirs_gap=(83.0, 91.5),
    ),
    DemoSession(
        "P02 first visit", ("eeg.edf", "fnirs.snirf"), datetime(2026, 10, 14, 11, 15, tzinfo=_ZONE), 165, 3
    ),
    DemoSession(
        "P03 EEG only",
        ("recording.xdf",),
        datetime(2026, 11, 2, 14, 0, tzinfo=timezone(timedelta(hours=1))),
        120,
        4,
        fnirs_delay=None,
    ),
)


def markers(session: DemoSession) -> list[tuple[float, str]]:
    """Return the onsets in s since the session's start, with the condition that starts there."""
    count = int(session.seconds // BLOCK_S)
    return [(index * BLOCK_S + 0.5, _CONDITIONS[index % len(_CONDITIONS)]) for index in range(count)]


def stamps(session: DemoSession, modality: str) -> NDArray[np.float64]:
    """Return (sample,) times in s since the session's start: evenly spaced, but for the gap.

    Parameters
    ----------
    session
        The session.
    modality
        ``"eeg"`` or ``"fnirs"``.
    """
    rate, first, gap = float(EEG_RATE), 0.0, session.eeg_gap
    if modality == "fnirs":
        rate, first, gap = FNIRS_RATE, session.fnirs_delay or 0.0, session.fnirs_gap
    time = first + np.arange(round((session.seconds - first) * rate)) / rate
    return time if gap is None else time[(time < gap[0]) | (time >= gap[1])]


def _tapping(session: DemoSession, time: NDArray[np.float64], condition: str) -> NDArray[np.float64]:
    onsets = np.array([onset for onset, name in markers(session) if name == condition])
    since = time[:, None] - onsets
    return np.asarray(((since >= 0) & (since < BLOCK_S)).any(axis=1), "f8")


def _pink(rng: np.random.Generator, count: int, channels: int, scale: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(rng.normal(size=(count, channels)), axis=0)
    frequency = np.fft.rfftfreq(count, 1 / EEG_RATE)
    noise = np.fft.irfft(spectrum / np.maximum(frequency, 0.5)[:, None] ** 0.8, count, axis=0)
    return np.asarray(noise / noise.std() * scale)


def eeg(session: DemoSession) -> NDArray[np.float32]:
    """Return (sample, channel) float32 in µV at `stamps`, channels as `EEG_LABELS`."""
    rng, time = np.random.default_rng([session.seed, 1]), stamps(session, "eeg")
    resting = 1 - sum(_tapping(session, time, name) for name in ("tap left", "tap right"))
    samples = _pink(rng, len(time), len(EEG_LABELS), 7.0)
    depth = np.array([0.1, 0.1, 0.3, 0.3, 0.7, 0.7, 1.0, 1.0]) * 14
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 0.21 * time)
    alpha = np.sin(2 * np.pi * 10.2 * time + 0.8 * np.sin(2 * np.pi * 0.13 * time))
    samples += (swell * (0.25 + resting) * alpha)[:, None] * depth
    for blink in np.arange(3.1, session.seconds, 7.3):
        samples[:, :2] += 95 * np.exp(-0.5 * ((time - blink) / 0.075) ** 2)[:, None]
    return np.asarray(samples, "f4")


def _response(session: DemoSession, time: NDArray[np.float64], condition: str) -> NDArray[np.float64]:
    grid = np.arange(0, session.seconds + 1, 0.1)
    lag = np.arange(0, 25, 0.1)
    kernel = lag**5 * np.exp(-lag)
    slow = np.convolve(_tapping(session, grid, condition), kernel / kernel.sum())[: len(grid)]
    return np.asarray(np.interp(time, grid, slow))


def fnirs(session: DemoSession) -> NDArray[np.float64]:
    """Return (sample, channel) float64 intensities in V at `stamps`, channels as `FNIRS_LABELS`."""
    rng, time = np.random.default_rng([session.seed, 2]), stamps(session, "fnirs")
    heart = np.sin(2 * np.pi * 1.13 * time) + 0.3 * np.sin(2 * np.pi * 2.26 * time)
    mayer = np.sin(2 * np.pi * 0.098 * time + session.seed)
    left, right = _response(session, time, "tap left"), _response(session, time, "tap right")
    columns = []
    for source, _, wavelength in FNIRS_CHANNELS:
        uptake = (right if source <= 2 else left) * (0.012 if wavelength == 1 else -0.028)
        noise = rng.normal(scale=0.0015, size=len(time))
        columns.append((0.4 + 0.15 * source) * (1 + 0.006 * heart + 0.004 * mayer + uptake + noise))
    return np.stack(columns, axis=1)


def _clock(time: NDArray[np.float64], offset: float) -> list[tuple[float, float]]:
    return [(float(tick), offset) for tick in np.arange(time[0], time[-1] + 5, 5)]


def _write_xdf(session: DemoSession, path: Path) -> None:
    base, behind = 5000.0 + 1000 * session.seed, 37.5
    channels = [{"label": label, "unit": "microvolts", "type": "EEG"} for label in EEG_LABELS]
    time = base + stamps(session, "eeg")
    streams = [XdfStream("Demo EEG", "EEG", time, eeg(session), EEG_RATE, channels, _clock(time, 0.0))]
    if session.fnirs_delay is not None:
        channels = [{"label": label, "unit": "V", "type": "NIRS"} for label in FNIRS_LABELS]
        time = base + stamps(session, "fnirs") - behind
        optics = XdfStream(
            "Demo fNIRS", "NIRS", time, fnirs(session), FNIRS_RATE, channels, _clock(time, behind)
        )
        streams.append(optics)
    onsets, names = zip(*markers(session), strict=True)
    time = base + np.array(onsets)
    streams.append(XdfStream("Demo markers", "Markers", time, list(names), clock_offsets=_clock(time, 0.0)))
    write_xdf(path, streams, header={"datetime": f"{session.start:%Y-%m-%dT%H:%M:%S%z}"})


def _write_snirf(session: DemoSession, path: Path) -> None:
    from flows.recording_writers import write_snirf

    trials: dict[str, list[tuple[float, float, float]]] = {}
    for onset, name in markers(session):
        trials.setdefault(name, []).append((onset, BLOCK_S, 1.0))
    write_snirf(
        path,
        session.start,
        stamps(session, "fnirs"),
        fnirs(session),
        channels=FNIRS_CHANNELS,
        wavelengths=WAVELENGTHS,
        stimuli={name: np.array(rows) for name, rows in trials.items()},
    )


def write_session_file(session: DemoSession, name: str, path: Path) -> None:
    """Write one of a session's files.

    Parameters
    ----------
    session, name
        The session, and which of its `files`; the suffix says the format.
    path
        Where to.
    """
    if name.endswith(".edf"):
        from flows.recording_writers import write_edf

        write_edf(path, session.start, eeg(session), rate=EEG_RATE, labels=EEG_LABELS)
    elif name.endswith(".snirf"):
        _write_snirf(session, path)
    else:
        _write_xdf(session, path)
