"""Write recordings as XDF 1.0 files, the format of LabRecorder.

pyxdf only reads; the demonstration and the tests need files whose content is known. The format is specified
at https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["XdfStream", "write_xdf", "xdf_bytes"]

_FILE_HEADER, _STREAM_HEADER, _SAMPLES, _CLOCK_OFFSET, _BOUNDARY, _STREAM_FOOTER = 1, 2, 3, 4, 5, 6
_BOUNDARY_MARK = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
_FORMATS = {"f4": "float32", "f8": "double64", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64"}


@dataclass(frozen=True, eq=False)
class XdfStream:
    """One stream of a recording.

    Parameters
    ----------
    name, type
        As Lab Streaming Layer names them, e.g. ``"Muse"`` and ``"EEG"``.
    stamps
        (sample,) float64, s on the stream's own clock.
    samples
        (sample, channel) of a float or signed integer type, or (sample, channel) or (sample,) of str.
    rate
        Nominal rate in Hz; 0 for an irregular stream such as markers.
    channels
        One mapping per channel, e.g. ``{"label": "AF7", "unit": "microvolts", "type": "EEG"}``. Their number
        is that of the samples' columns where there is none.
    clock_offsets
        (collection time, offset) pairs in s; the offset added to a stamp gives the recorder's clock.
    desc
        What else the description holds, as nested mappings and lists.
    chunk_samples
        Samples per chunk of the file.
    stamp_each
        Whether each sample bears its stamp, or only the first of a chunk, the rest following at `rate`.
    footer
        Whether the stream ends with a footer; a recorder that died leaves none.
    """

    name: str
    type: str
    stamps: NDArray[np.float64]
    samples: NDArray[Any] | Sequence[Any]
    rate: float = 0.0
    channels: Sequence[Mapping[str, Any]] = ()
    clock_offsets: Sequence[tuple[float, float]] = ()
    desc: Mapping[str, Any] = field(default_factory=dict)
    chunk_samples: int = 256
    stamp_each: bool = True
    footer: bool = True

    @property
    def table(self) -> NDArray[Any]:
        """The samples as (sample, channel), text as objects."""
        values = np.asarray(self.samples)
        values = values.astype(object) if values.dtype.kind in "OUT" else values
        return values.reshape(len(values), -1) if values.size else values.reshape(0, len(self.channels) or 1)

    @property
    def format(self) -> str:
        """The channel format as XDF names it."""
        dtype = self.table.dtype
        return "string" if dtype.hasobject else _FORMATS[dtype.str[1:]]


def _xml(tag: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"<{tag}>{''.join(_xml(key, item) for key, item in value.items())}</{tag}>"
    if isinstance(value, (list, tuple)):
        return "".join(_xml(tag, item) for item in value)
    return f"<{tag}>{escape(str(value))}</{tag}>"


def _document(tag: str, value: Mapping[str, Any]) -> bytes:
    return f'<?xml version="1.0"?>{_xml(tag, value)}'.encode()


def _length(number: int) -> bytes:
    if number < 256:
        return struct.pack("<BB", 1, number)
    return struct.pack("<BI", 4, number) if number < 2**32 else struct.pack("<BQ", 8, number)


def _chunk(tag: int, content: bytes) -> bytes:
    return _length(len(content) + 2) + struct.pack("<H", tag) + content


def _stream_header(number: int, stream: XdfStream) -> bytes:
    channels = {"channels": {"channel": list(stream.channels)}} if stream.channels else {}
    info = {
        "name": stream.name,
        "type": stream.type,
        "channel_count": stream.table.shape[1],
        "nominal_srate": repr(float(stream.rate)),
        "channel_format": stream.format,
        "source_id": f"aggrade-{number}",
        "desc": {**channels, **stream.desc},
    }
    return _chunk(_STREAM_HEADER, struct.pack("<I", number) + _document("info", info))


def _stream_footer(number: int, stream: XdfStream) -> bytes:
    stamps = stream.stamps
    span = stamps[-1] - stamps[0] if len(stamps) > 1 else 0.0
    info = {
        "first_timestamp": repr(float(stamps[0])) if len(stamps) else "0",
        "last_timestamp": repr(float(stamps[-1])) if len(stamps) else "0",
        "sample_count": len(stamps),
        "measured_srate": repr(float((len(stamps) - 1) / span)) if span else "0",
    }
    return _chunk(_STREAM_FOOTER, struct.pack("<I", number) + _document("info", info))


def _text(row: Sequence[Any]) -> bytes:
    return b"".join(_length(len(data)) + data for data in (str(value).encode() for value in row))


def _encode(stamps: NDArray[np.float64], rows: NDArray[Any], *, stamped: bool) -> bytes:
    if rows.dtype.hasobject:
        heads = [struct.pack("<Bd", 8, stamp) if stamped else b"\0" for stamp in stamps]
        return b"".join(head + _text(row) for head, row in zip(heads, rows, strict=True))
    stamp = [("stamp", "<f8")] if stamped else []
    records = np.empty(
        len(rows), [("size", "u1"), *stamp, ("values", rows.dtype.newbyteorder("<"), rows.shape[1:])]
    )
    records["size"] = 8 if stamped else 0
    records["values"] = rows
    if stamped:
        records["stamp"] = stamps
    return records.tobytes()


def _sample_chunks(number: int, stream: XdfStream) -> Iterator[tuple[float, bytes]]:
    table, stamps = stream.table, np.asarray(stream.stamps, "f8")
    for start in range(0, len(table), stream.chunk_samples):
        part = slice(start, min(start + stream.chunk_samples, len(table)))
        first = part.stop if stream.stamp_each else start + 1
        content = _encode(stamps[start:first], table[start:first], stamped=True)
        content += _encode(stamps[first : part.stop], table[first : part.stop], stamped=False)
        head = struct.pack("<I", number) + _length(part.stop - start)
        yield float(stamps[start]), _chunk(_SAMPLES, head + content)


def _offset_chunks(number: int, stream: XdfStream) -> Iterator[tuple[float, bytes]]:
    for time, offset in stream.clock_offsets:
        yield float(time), _chunk(_CLOCK_OFFSET, struct.pack("<Idd", number, time, offset))


def xdf_bytes(streams: Sequence[XdfStream], *, header: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of an XDF file. The same streams give the same bytes.

    Parameters
    ----------
    streams
        What was recorded; the streams are numbered from 1. Their chunks lie in the order of time, as a
        recorder writes them.
    header
        What the file header holds beside the version, e.g. ``{"datetime": "2026-10-05T09:00:00+0200"}``.

    Raises
    ------
    KeyError
        If samples have a type that XDF does not know.
    """
    numbered = list(enumerate(streams, start=1))
    parts = [b"XDF:", _chunk(_FILE_HEADER, _document("info", {"version": "1.0", **(header or {})}))]
    parts += [_stream_header(number, stream) for number, stream in numbered]
    timed = [chunk for item in numbered for kind in (_sample_chunks, _offset_chunks) for chunk in kind(*item)]
    parts += [chunk for _, chunk in sorted(timed, key=lambda chunk: chunk[0])]
    parts.append(_chunk(_BOUNDARY, _BOUNDARY_MARK))
    parts += [_stream_footer(number, stream) for number, stream in numbered if stream.footer]
    return b"".join(parts)


def write_xdf(
    path: str | Path, streams: Sequence[XdfStream], *, header: Mapping[str, Any] | None = None
) -> None:
    """Write an XDF file whole, in place of what lies there. Parameters and errors as `xdf_bytes`."""
    Path(path).write_bytes(xdf_bytes(streams, header=header))
