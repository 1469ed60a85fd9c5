"""A session: its files opened, its streams chosen, all on one clock that begins with it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isnan
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import Session
from aggrade.recordings.bids_tables import with_sidecars
from aggrade.recordings.choosing import choose_streams, left_out, named_markers
from aggrade.recordings.clocks import align
from aggrade.recordings.listing import main_of, stem_of
from aggrade.recordings.marker_fit import Marked
from aggrade.recordings.parts import join, join_markers, place_parts
from aggrade.stamps import check_stamps, timing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.recordings import Markers, Origin, Recording, Stream, StreamHeader
    from aggrade.recordings.choosing import Choice, Wanted
    from aggrade.recordings.clocks import Alignment
    from aggrade.recordings.discover import LocalSession, SourceFile
    from aggrade.recordings.parts import Placed
    from aggrade.stamps import Timing

__all__ = ["opened_session"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Loaded:
    """Streams and markers, each on the clock of its file, or of the first part of it."""

    streams: dict[str, Stream]
    markers: list[Markers]
    sources: set[str]
    placed: Placed
    warnings: list[str]

    @property
    def origins(self) -> list[Origin]:
        """The clock of each stream."""
        return [stream.origin for stream in self.streams.values()]


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
    raise_all(_empty(files), BadInput)
    with ExitStack() as stack:
        opened = [
            with_sidecars(
                stack.enter_context(file.format.open(file.path, file.name)), files.sidecars.get(file.name)
            )
            for file in files.recordings
            if file.format is not None
        ]
        headers = [header for recording in opened for header in recording.streams]
        raise_all(_broken_texts(headers), BadInput)
        choices = choose_streams(headers, wanted, files.id)
        loaded = _load(opened, choices, files.id, left_out(headers, choices, wanted))
        tables = [
            table.name
            for name in loaded.sources
            if name in files.sidecars
            for table in files.sidecars[name].tables
        ]
        beside = {*tables, *_beside(files, loaded.sources)}
        yield _joined(files.id, replace(loaded, sources=loaded.sources | beside), wanted)


def _beside(files: LocalSession, sources: set[str]) -> Iterator[str]:
    """Yield the files that continue the chosen recordings, or hold what their format keeps apart."""
    chosen = [file for file in files.recordings if file.name in sources]
    stems = {stem_of(file.name) for file in files.recordings}
    for file in files.files:
        if file.format is None and (
            main_of(file.name) in sources or any(_keeps(file, one, stems) for one in chosen)
        ):
            yield file.name


def _keeps(file: SourceFile, recording: SourceFile, stems: set[str]) -> bool:
    """Tell whether a file is one that a recording keeps apart: by its stem, which a header may say otherwise."""
    assert recording.format is not None
    kept = file.name.lower().endswith(recording.format.companions or ("\0",))
    stem, own = stem_of(file.name), stem_of(recording.name)
    beside = file.name.rpartition("/")[0] == recording.name.rpartition("/")[0]
    return kept and beside and (stem == own or stem not in stems)


def _empty(files: LocalSession) -> Iterator[Problem]:
    """Yield the recordings that hold no byte."""
    for file in files.recordings:
        if not file.path.stat().st_size:
            fix = "copy it again from where it was made, or leave it out"
            yield Problem(file.name, "an empty file", "a recording", fix, "no-data")


def _broken_texts(headers: Iterable[StreamHeader]) -> Iterator[Problem]:
    """Yield names that can't be stored: a damaged one may hold half of a character."""
    for header in headers:
        for text in {header.name, *header.channels, *header.units, *header.types}:
            try:
                text.encode()
            except UnicodeEncodeError:
                fix = "copy the recording again from where it was made, or export it anew"
                where = f"{header.source}, stream {header.name!r}"
                yield Problem(where, f"the name {text!r}", "text in Unicode", fix, "unreadable")


def _load(
    opened: list[Recording], choices: Mapping[str, Choice], label: str, notes: Iterable[str]
) -> _Loaded:
    parts = {modality: list(_parts(opened, choice)) for modality, choice in choices.items()}
    warnings = [*notes, *(text for recording in opened for text in recording.warnings)]
    _warn(label, warnings)
    placed = place_parts(list(parts.values()), label)
    markers = [item for recording in opened for item in recording.markers()]
    return _Loaded(
        {modality: join(streams, placed) for modality, streams in parts.items()},
        join_markers(markers, placed),
        {stream.header.source for streams in parts.values() for stream in streams},
        placed,
        warnings,
    )


def _parts(opened: list[Recording], choice: Choice) -> Iterator[Stream]:
    for recording in opened:
        for header in choice.parts:
            if header in recording.streams:
                stream = recording.load(header, choice.picks)
                check_stamps(stream.t, f"{header.source}, stream {header.name!r}")
                yield stream


def _joined(label: str, loaded: _Loaded, wanted: Wanted) -> Session:
    """Put everything on the clock of the first stream, counted from the first sample of the earliest."""
    timings = {name: timing_of(stream.t) for name, stream in loaded.streams.items()}
    alignment = align(loaded.origins, label, wanted.clock, _marked(loaded, timings, wanted, label))
    clocks = {name: stream.origin.clock for name, stream in loaded.streams.items()}
    firsts = {name: alignment.of(clocks[name], float(timing.regular[0])) for name, timing in timings.items()}
    earliest = min(firsts, key=lambda name: firsts[name])
    alignment = alignment.since(firsts[earliest])
    start, resolution = _start(loaded.streams[earliest], loaded, float(timings[earliest].regular[0]))
    placed = loaded.placed
    _warn(label, (*placed.notes, *alignment.notes))
    session = Session(
        id=label,
        streams={
            name: replace(stream, t=alignment.of(clocks[name], stream.t))
            for name, stream in loaded.streams.items()
        },
        timings={
            name: timing.on(alignment.shifts[clocks[name]], alignment.rate(clocks[name]))
            for name, timing in timings.items()
        },
        markers=tuple(_placed(loaded.markers, alignment)),
        start="" if start is None else start.isoformat(),
        start_resolution_s=resolution,
        stream_resolution_s={name: stream.origin.resolution_s for name, stream in loaded.streams.items()},
        clock=alignment.method,
        offset_resolution_s=max(alignment.resolution_s, placed.resolution_s),
        sources=tuple(sorted(loaded.sources)),
        warnings=(*loaded.warnings, *placed.notes, *alignment.notes),
    )
    _log(session)
    return session


def _marked(loaded: _Loaded, timings: Mapping[str, Timing], wanted: Wanted, label: str) -> dict[str, Marked]:
    """Return the markers of each clock that may place it: those that the user named, or all."""
    if len({origin.clock for origin in loaded.origins}) == 1:
        return {}
    marked = {}
    for modality, stream in loaded.streams.items():
        own = [item for item in loaded.markers if item.origin.clock == stream.origin.clock]
        name = wanted.clock_markers.get(modality)
        if name is not None:
            own = named_markers(own, name, f"{label}, clock_markers.{modality}")
        rows = [(float(t), text) for item in own for t, text in zip(item.t, item.text, strict=True)]
        span = (float(stream.t[0]), float(stream.t[-1]))
        marked[stream.origin.clock] = Marked.of(rows, timings[modality].period, span, named=name is not None)
    return marked


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


def _placed(markers: list[Markers], alignment: Alignment) -> Iterator[Markers]:
    """Yield the markers of the clocks that are known, on the session's clock."""
    for item in markers:
        clock = item.origin.clock
        if clock in alignment.shifts:
            duration = item.duration * alignment.rate(clock)
            yield replace(item, t=alignment.of(clock, item.t), duration=duration)


def _warn(label: str, notes: Iterable[str]) -> None:
    for text in notes:
        logger.warning("session %r: %s", label, text)


def _log(session: Session) -> None:
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
