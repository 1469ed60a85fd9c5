"""Recordings in one internal form, whatever the file format.

A reader turns a file into streams of samples and streams of markers, each with its own time stamps, and says
nothing that the file does not say. ``formats.py`` lists the readers, ``discover.py`` finds files and sessions,
``choosing.py`` picks streams and channels before a sample is loaded, ``clocks.py`` puts several files on one
clock, and ``session.py`` joins all of it.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aggrade.errors import AggradeError, BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from aggrade.stamps import Timing

__all__ = [
    "EEG",
    "FNIRS",
    "Format",
    "Markers",
    "Origin",
    "Recording",
    "Samples",
    "Session",
    "Stream",
    "StreamHeader",
    "modality_name",
    "reader_errors",
    "stated_resolution_s",
    "too_large",
    "unique_names",
    "unit_name",
]

EEG = "eeg"
FNIRS = "fnirs"

_MODALITIES = {"nirs": FNIRS, "optics": FNIRS}
_UNITS = {
    "microvolt": "µV",
    "microvolts": "µV",
    "uv": "µV",
    "µv": "µV",
    "μv": "µV",
    "millivolt": "mV",
    "millivolts": "mV",
    "mv": "mV",
    "nanovolt": "nV",
    "nanovolts": "nV",
    "nv": "nV",
    "volt": "V",
    "volts": "V",
    "v": "V",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a clock is, and what is known of its place in the world.

    Parameters
    ----------
    clock
        Name of the clock; stamps with the same name can be compared.
    zero
        A stamp on that clock, s.
    start
        Wall-clock time of `zero`; without a zone where the file states none; None where it states no time.
    resolution_s
        How well `start` is known, s; NaN where it is not known.
    device
        Kind of device clock, e.g. ``"lsl"``, that several files may share; empty where stamps count from the
        file's own beginning.
    """

    clock: str
    zero: float = 0.0
    start: datetime | None = None
    resolution_s: float = float("nan")
    device: str = ""


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a file says of a stream before a sample is loaded.

    Parameters
    ----------
    name
        The stream's name, unique in its file.
    modality
        ``"eeg"``, ``"fnirs"``, or whatever else the file calls it, in lower case.
    channels, units, types
        Name (unique), unit and type of each channel.
    nominal_rate
        Declared rate in Hz; 0 where none is declared.
    samples
        Number of samples.
    source
        File name.
    key
        How the reader finds the stream again.
    clock
        Name of the clock of its stamps, where the file has several; empty: the file's one clock.
    bad
        Names of the channels that are marked as bad.
    """

    name: str
    modality: str
    channels: tuple[str, ...]
    units: tuple[str, ...]
    types: tuple[str, ...]
    nominal_rate: float
    samples: int
    source: str
    key: Any = None
    clock: str = ""
    bad: frozenset[str] = frozenset()

    def chosen(self, picks: Sequence[int]) -> StreamHeader:
        """Return the header of the channels whose indices are given, in that order."""
        return replace(
            self,
            channels=tuple(self.channels[index] for index in picks),
            units=tuple(self.units[index] for index in picks),
            types=tuple(self.types[index] for index in picks),
        )


class Samples(Protocol):
    """Samples of chosen channels, in memory or still in the file: (sample, channel) of a float type."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples, number of channels."""
        ...

    def __getitem__(self, rows: slice, /) -> NDArray[Any]:
        """Return consecutive samples, (sample, channel)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """A stream with its stamps, and with the samples of the channels that were chosen.

    Parameters
    ----------
    header
        The stream, with the chosen channels only.
    t
        (sample,) float64 stamps, s on the clock of `origin`, as stored.
    x
        (sample, channel) in the units of the header.
    origin
        The clock.
    """

    header: StreamHeader
    t: NDArray[np.float64]
    x: Samples
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Markers:
    """A stream of markers or annotations.

    Parameters
    ----------
    name
        The stream's name.
    t
        (marker,) float64 onsets, s on the clock of `origin`.
    text
        What each marker says.
    duration
        (marker,) float64 s; 0 for an instant.
    origin
        The clock.
    source
        File name.
    """

    name: str
    t: NDArray[np.float64]
    text: tuple[str, ...]
    duration: NDArray[np.float64]
    origin: Origin
    source: str


class Recording(Protocol):
    """One opened file."""

    @property
    def streams(self) -> tuple[StreamHeader, ...]:
        """What streams of samples it holds."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of the file, one sentence each."""
        ...

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream with the channels whose indices are given, in that order.

        Raises
        ------
        BadInput
            If the file does not hold what it says it holds.
        """
        ...

    def markers(self) -> tuple[Markers, ...]:
        """Return every stream of markers that holds any."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: how it is recognised and how it is opened.

    Parameters
    ----------
    name
        As users know it.
    suffixes
        Endings of file names, in lower case, with their dot.
    recognises
        Tells the format by the first 1024 bytes of a file.
    open
        Opens a file; given are its path and the name to report it by. Raises `BadInput` where the file is
        not what its format demands.
    companions
        Suffixes of further files that belong to a recording.
    holds
        Tells the format by what lies in an opened HDF5 file; None where the format is none of HDF5.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    open: Callable[[Path, str], AbstractContextManager[Recording]]
    companions: tuple[str, ...] = ()
    holds: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Session:
    """What was recorded together, on one clock.

    Parameters
    ----------
    id
        The session's name.
    streams
        Modality → stream; stamps in s since the session's start.
    timings
        Modality → what its stamps say, on the same clock.
    markers
        All markers of the files that hold these streams, in s since the session's start.
    start
        Wall-clock time of the session's start as ISO 8601, with a zone where the file states one; empty
        where no file states it.
    start_resolution_s
        How well that is known, s; NaN where it is not known.
    stream_resolution_s
        Modality → how well the stream's own wall-clock start is known, s.
    clock
        How the streams came on one clock: ``"stamps"`` (one clock, or none to compare with),
        ``"markers"`` or ``"start times"``.
    offset_resolution_s
        How well the streams, and parts of a recording, are placed against each other, s: 0 on one clock.
    sources
        File names, without the path of any host.
    warnings
        What a user should know, one sentence each.
    """

    id: str
    streams: dict[str, Stream]
    timings: dict[str, Timing]
    markers: tuple[Markers, ...]
    start: str
    start_resolution_s: float
    stream_resolution_s: dict[str, float]
    clock: str
    offset_resolution_s: float
    sources: tuple[str, ...]
    warnings: tuple[str, ...]


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of which none occurs twice: those that do get ``-0``, ``-1`` … as MNE numbers them."""
    counts, seen, taken = Counter(names), Counter[str](), set(names)
    unique = []
    for name in names:
        new = name
        while counts[name] > 1 and (new == name or new in taken):
            new = f"{name}-{seen[name]}"
            seen[name] += 1
        taken.add(new)
        unique.append(new)
    return tuple(unique)


def unit_name(text: str) -> str:
    """Return one spelling for each unit of voltage (``"microvolts"`` → ``"µV"``), other units as they are."""
    return _UNITS.get(text.strip().lower(), text.strip())


def modality_name(text: str) -> str:
    """Return one spelling for each modality (``"NIRS"`` → ``"fnirs"``), what is unknown in lower case."""
    return _MODALITIES.get(text.lower(), text.lower())


def stated_resolution_s(text: str) -> float:
    """Return how well a written time of day is known, s: its last digit other than 0; 1 s without a fraction."""
    digits = re.search(r"\.(\d+?)0*(?!\d)", text)
    return 10.0 ** -len(digits[1]) if digits and int(digits[1]) else 1.0


def too_large(where: str) -> Problem:
    """Return the problem of a sample that can't be stored, as damaged ones are."""
    found, expected = "a sample that 32-bit floats can't hold", "at most 3.4e38"
    return Problem(where, found, expected, "look at the recording, and export it anew", "too-large")


@contextmanager
def reader_errors(name: str, what: str) -> Iterator[None]:
    """Turn whatever a reading library raises on a broken file into one `BadInput` that names the file.

    Parameters
    ----------
    name
        The file, as the user knows it.
    what
        The format.
    """
    try:
        with np.errstate(over="raise"):
            yield
    except (AggradeError, MemoryError):
        raise
    except FloatingPointError as error:
        raise BadInput(too_large(name)) from error
    except Exception as error:
        reason = str(error).strip().splitlines()
        found = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
        fix = "copy the recording again from where it was made, or export it anew"
        raise BadInput(Problem(name, found, f"a whole {what} file", fix, "unreadable")) from error
