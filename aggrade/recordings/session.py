"""A session: its files opened, its streams chosen, all on one clock that begins with it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING

from aggrade.recordings import Session
from aggrade.recordings.choosing import choose_streams
from aggrade.recordings.clocks import align
from aggrade.stamps import check_stamps, timing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrade.recordings import Markers, Origin, Recording, Stream
    from aggrade.recordings.choosing import Choice, Wanted
    from aggrade.recordings.clocks import Alignment
    from aggrade.recordings.discover import LocalSession

__all__ = ["opened_session"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Streams and markers, each on the clock of its file."""

    streams: dict[str, Stream]
    markers: list[Markers]
    warnings: list[str]


@contextmanager
def opened_session(files: LocalSession, wanted: Wanted) -> Iterator[Session]:
    """Open a session for the length of a ``with`` block; samples may be read within it only.

    Parameters
    ----------
    files
        The session's files.
    wanted
        Which streams and channels.

    Raises
    ------
    BadInput
        If a file is broken, a choice is missing or wrong, or there is no common clock.
    """
    with ExitStack() as stack:
        opened = [
            stack.enter_context(file.format.open(file.path, file.name))
            for file in files.recordings
            if file.format is not None
        ]
        headers = [header for recording in opened for header in recording.streams]
        choices = choose_streams(headers, wanted, files.id)
        yield _joined(files.id, _load(opened, choices))


def _load(opened: list[Recording], choices: Mapping[str, Choice]) -> _Loaded:
    streams: dict[str, Stream] = {}
    markers: list[Markers] = []
    warnings = [text for recording in opened for text in recording.warnings]
    for recording in opened:
        for modality, choice in choices.items():
            if choice.header in recording.streams:
                stream = recording.load(choice.header, choice.picks)
                check_stamps(stream.t, f"{choice.header.source}, stream {choice.header.name!r}")
                streams[modality] = stream
        markers += recording.markers()
    ordered = {modality: streams[modality] for modality in choices}
    return _Loaded(ordered, markers, warnings)


def _joined(label: str, loaded: _Loaded) -> Session:
    """Put everything on the clock of the first stream, counted from the first sample of the earliest."""
    alignment = align([stream.origin for stream in loaded.streams.values()], label)
    shifts = {name: alignment.shifts[stream.origin.clock] for name, stream in loaded.streams.items()}
    timings = {name: timing_of(stream.t) for name, stream in loaded.streams.items()}
    firsts = {name: float(timing.regular[0]) + shifts[name] for name, timing in timings.items()}
    zero = min(firsts.values())
    earliest = loaded.streams[min(firsts, key=lambda name: firsts[name])]
    start, resolution = _start(earliest, loaded, zero - alignment.shifts[earliest.origin.clock])
    session = Session(
        id=label,
        streams={
            name: replace(stream, t=stream.t - (zero - shifts[name]))
            for name, stream in loaded.streams.items()
        },
        timings={name: timing.earlier(zero - shifts[name]) for name, timing in timings.items()},
        markers=tuple(_placed(loaded.markers, alignment, zero)),
        start="" if start is None else start.isoformat(),
        start_resolution_s=resolution,
        stream_resolution_s={name: stream.origin.resolution_s for name, stream in loaded.streams.items()},
        clock=alignment.method,
        offset_resolution_s=alignment.resolution_s,
        sources=tuple(sorted({stream.header.source for stream in loaded.streams.values()})),
        warnings=(*loaded.warnings, *alignment.notes),
    )
    _log(session)
    return session


def _start(earliest: Stream, loaded: _Loaded, stamp: float) -> tuple[datetime | None, float]:
    """Return the wall-clock time of a stamp on the earliest stream's clock, and how well it is known."""
    clock = earliest.origin.clock
    same = [stream.origin for stream in loaded.streams.values() if stream.origin.clock == clock]
    origin: Origin = min(same, key=lambda item: item.zero)
    if origin.start is None:
        return None, origin.resolution_s
    starts = [stream.origin.start for stream in loaded.streams.values()]
    zones = [known.tzinfo for known in (origin.start, *starts) if known is not None and known.tzinfo]
    start = origin.start.replace(tzinfo=zones[0] if zones else None)
    return start + timedelta(seconds=round(stamp - origin.zero, 6)), origin.resolution_s


def _placed(markers: list[Markers], alignment: Alignment, zero: float) -> Iterator[Markers]:
    """Yield the markers of the clocks that are known, on the session's clock."""
    for item in markers:
        if item.origin.clock in alignment.shifts:
            yield replace(item, t=item.t - (zero - alignment.shifts[item.origin.clock]))


def _log(session: Session) -> None:
    for text in session.warnings:
        logger.warning("session %r: %s", session.id, text)
    known = ", ".join(
        f"start of the {modality} " + ("not known" if isnan(seconds) else f"known to {seconds:g} s")
        for modality, seconds in session.stream_resolution_s.items()
    )
    logger.info("session %r: %s", session.id, known)
    if len(session.streams) > 1:
        logger.info(
            "session %r: EEG and fNIRS placed against each other by %s, to %g s",
            session.id,
            session.clock,
            session.offset_resolution_s,
        )
