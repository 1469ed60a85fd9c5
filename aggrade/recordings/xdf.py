"""XDF, the format of Lab Streaming Layer's recorder (https://github.com/sccn/xdf/wiki/Specifications).

Stamps are taken as stored, brought to the recorder's clock by the clock offsets that the file holds, and never
evened out: pyxdf's removal of jitter moves samples across small gaps. pyxdf reads on where a file is broken, so
the chunks are walked first, and a file that was cut short is refused.
"""

from __future__ import annotations

import gzip
import logging
import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, cast
from xml.etree import ElementTree as ET

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.recordings import (
    Format,
    Markers,
    Origin,
    Stream,
    StreamHeader,
    modality_name,
    reader_errors,
    unique_names,
    unit_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT", "XdfRecording"]

_MAGIC, _GZIP = b"XDF:", b"\x1f\x8b"
_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _STREAM_FOOTER = 1, 2, 3, 6
_TEXT_CHUNKS = (_FILE_HEADER, _STREAM_HEADER, _STREAM_FOOTER)
_RECORDER_START_S = 1.0
_CUT_SHORT = "copy the file again; if the recorder died, save what is left of it as a new file"


@dataclass
class _Entry:
    """What the chunks say of one stream."""

    number: int
    info: ET.Element
    samples: int = 0
    footer: ET.Element | None = None

    def text(self, tag: str, default: str = "") -> str:
        """Return the text of a tag of the header."""
        return (self.info.findtext(tag) or default).strip()

    @property
    def promised(self) -> int:
        """How many samples the stream has at least; a footer may be older than the last ones."""
        said = self.footer.findtext("sample_count") if self.footer is not None else None
        return self.samples if said is None else int(said)

    @property
    def is_markers(self) -> bool:
        """Whether the stream holds texts or bears the type of markers."""
        return self.text("channel_format") == "string" or self.text("type").lower() in {"marker", "markers"}


@dataclass
class _Outline:
    """What the chunks of a file say, but for its samples."""

    started: str = ""
    entries: dict[int, _Entry] = field(default_factory=dict)


def _length(file: IO[bytes]) -> int | None:
    """Read a length as XDF stores it; None at the end of the file."""
    head = file.read(1)
    if not head:
        return None
    if head[0] not in {1, 4, 8}:
        raise ValueError(f"a chunk whose length takes {head[0]} bytes, not 1, 4 or 8, as in damaged files")
    return int.from_bytes(_exactly(file, head[0]), "little")


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _chunks(file: IO[bytes], size: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each chunk; of samples only the beginning, which holds their number."""
    while (length := _length(file)) is not None:
        (tag,) = struct.unpack("<H", _exactly(file, 2))
        wanted = length - 2 if tag in _TEXT_CHUNKS else min(length - 2, 13)
        content = _exactly(file, wanted)
        file.seek(length - 2 - wanted, os.SEEK_CUR)
        if size is not None and file.tell() > size:
            raise EOFError
        yield tag, content


def _count(content: bytes) -> int:
    size = content[4]
    return int.from_bytes(content[5 : 5 + size], "little")


def _xml(content: bytes) -> ET.Element:
    return ET.fromstring(content.decode("utf-8", "replace").strip("\0 \n"))  # noqa: S314 - expat bounds entities


def _walk(file: IO[bytes], size: int | None) -> _Outline:
    outline = _Outline()
    for tag, content in _chunks(file, size):
        number = int.from_bytes(content[:4], "little")
        if tag in {_SAMPLES, _STREAM_FOOTER} and number not in outline.entries:
            raise ValueError(f"a chunk of stream {number}, of which there is no header")
        if tag == _FILE_HEADER:
            outline.started = (_xml(content).findtext("datetime") or "").strip()
        elif tag == _STREAM_HEADER:
            outline.entries[number] = _Entry(number, _xml(content[4:]))
        elif tag == _SAMPLES:
            outline.entries[number].samples += _count(content)
        elif tag == _STREAM_FOOTER:
            outline.entries[number].footer = _xml(content[4:])
    return outline


def _outline(path: Path, name: str) -> _Outline:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    with cast("IO[bytes]", gzip.open(path) if zipped else path.open("rb")) as file:
        if _exactly(file, 4) != _MAGIC:
            raise ValueError("the file does not begin with 'XDF:'")
        try:
            return _walk(file, None if zipped else path.stat().st_size)
        except EOFError as error:
            found, expected = "a file that ends inside a chunk", "the rest of it: the file was cut short"
            raise BadInput(Problem(name, found, expected, _CUT_SHORT, "truncated")) from error


def _check_whole(outline: _Outline, name: str) -> None:
    """Refuse a file that lacks the end of a stream, or samples that its end tells of."""
    for entry in outline.entries.values():
        where = f"{name}, stream {entry.text('name')!r}"
        if entry.footer is None:
            found = f"{entry.samples} samples and no footer"
            raise BadInput(Problem(where, found, "a footer: the file was cut short", _CUT_SHORT, "truncated"))
        if entry.samples < entry.promised:
            found = f"{entry.samples} samples"
            raise BadInput(
                Problem(where, found, f"{entry.promised} as its footer says", _CUT_SHORT, "truncated")
            )


def _channel_text(entry: _Entry, tag: str, count: int) -> list[str]:
    found = entry.info.findall("desc/channels/channel")
    texts = [(channel.findtext(tag) or "").strip() for channel in found[:count]]
    return texts + [""] * (count - len(texts))


def _header(entry: _Entry, name: str, source: str) -> StreamHeader:
    count = int(entry.text("channel_count", "0"))
    modality = modality_name(entry.text("type"))
    labels = _channel_text(entry, "label", count)
    types = [kind.lower() or modality for kind in _channel_text(entry, "type", count)]
    return StreamHeader(
        name=name,
        modality=modality,
        channels=unique_names([label or f"ch{index}" for index, label in enumerate(labels, start=1)]),
        units=tuple(unit_name(unit) for unit in _channel_text(entry, "unit", count)),
        types=tuple(types),
        nominal_rate=float(entry.text("nominal_srate", "0")),
        samples=entry.samples,
        source=source,
        key=entry.number,
    )


def _names(outline: _Outline) -> dict[int, str]:
    """Name each stream; those that share a name get their number beside it."""
    names = [entry.text("name") for entry in outline.entries.values()]
    return {
        number: name if names.count(name) == 1 else f"{name} ({number})"
        for (number, name) in zip(outline.entries, names, strict=True)
    }


def _started(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


class XdfRecording:
    """An XDF file whose chunks were walked and found whole.

    Parameters
    ----------
    path
        The file.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        If the file is no XDF, or was cut short.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        with reader_errors(name, "XDF"):
            self._outline = _outline(path, name)
            _check_whole(self._outline, name)
            self._names = _names(self._outline)
            self.streams = tuple(
                _header(entry, self._names[number], name)
                for number, entry in self._outline.entries.items()
                if not entry.is_markers
            )
        self.warnings: tuple[str, ...] = ()

    def load(self, header: StreamHeader, picks: Sequence[int]) -> Stream:
        """Return a stream on the recorder's clock. See `Recording.load`."""
        [stream] = self._read([header.key])
        t = np.asarray(stream["time_stamps"], np.float64)
        x = np.asarray(stream["time_series"])[:, list(picks)]
        if len(t) < (promised := min(self._outline.entries[header.key].promised, header.samples)):
            found, fix = f"{len(t)} samples that can be read", "copy the file again"
            where = f"{self._name}, stream {header.name!r}"
            raise BadInput(Problem(where, found, f"{promised}", fix, "truncated"))
        return Stream(header.chosen(picks), t, x, self._origin(float(t[0])))

    def markers(self) -> tuple[Markers, ...]:
        """Return the streams of texts, and those of the type of markers. See `Recording.markers`."""
        entries = self._outline.entries
        numbers = [number for number, entry in entries.items() if entry.is_markers and entry.samples]
        if not numbers:
            return ()
        return tuple(self._markers(stream) for stream in self._read(numbers))

    def _markers(self, stream: dict[str, Any]) -> Markers:
        t = np.asarray(stream["time_stamps"], np.float64)
        texts = tuple(_text(row) for row in stream["time_series"])
        number = int(stream["info"]["stream_id"])
        return Markers(self._names[number], t, texts, np.zeros(len(t)), self._origin(float(t[0])), self._name)

    def _read(self, numbers: list[int]) -> list[dict[str, Any]]:
        import pyxdf

        with reader_errors(self._name, "XDF"), _quiet("pyxdf"):
            streams, _ = pyxdf.load_xdf(self._path, select_streams=numbers, dejitter_timestamps=False)
        return list(streams)

    def _origin(self, first: float) -> Origin:
        started = _started(self._outline.started)
        known = float("nan") if started is None else _RECORDER_START_S
        return Origin(f"lsl:{self._name}", first, started, known, "lsl")


def _text(row: Sequence[Any] | NDArray[Any]) -> str:
    """Return what a marker says; whole numbers without a decimal point."""
    values = [row] if isinstance(row, str) else list(row)
    return ",".join(
        np.format_float_positional(value, trim="-") if isinstance(value, (float, np.floating)) else str(value)
        for value in values
    )


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Let a library report errors only: pyxdf warns of every file whose jitter it was told to leave."""
    log = logging.getLogger(library)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _open(path: Path, name: str) -> Iterator[XdfRecording]:
    yield XdfRecording(path, name)


FORMAT = Format(
    name="XDF",
    suffixes=(".xdf", ".xdfz", ".xdf.gz"),
    recognises=lambda head: head.startswith(_MAGIC),
    open=_open,
)
