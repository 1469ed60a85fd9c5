"""NPZ files in the layout of ``docs/recordings.md``, without pickled objects.

An archive can't be read in parts: the chosen channels are kept while the samples stream by, piece by piece, and
the archive's checksum is compared at their end.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

from aggrade.recordings import Format, reader_errors
from aggrade.recordings.arrays import ArraysRecording, NamedArray, named_array, unusable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FORMAT"]

_LOCAL_HEADER, _NAME, _ENDING = b"PK\x03\x04", 30, b".npy"
_PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class _Header:
    """What an array's own header says, and where its numbers begin."""

    shape: tuple[int, ...]
    by_columns: bool
    dtype: np.dtype[Any]
    begin: int

    @property
    def size(self) -> int:
        """How many bytes the whole has."""
        return self.begin + prod(self.shape) * self.dtype.itemsize


def _header(file: IO[bytes]) -> _Header:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    return _Header(shape, by_columns, dtype, file.tell())


@dataclass(frozen=True, eq=False)
class _Member:
    """One array of the archive."""

    archive: zipfile.ZipFile
    entry: zipfile.ZipInfo
    name: str

    def named(self, *, twice: bool) -> NamedArray:
        """Return the array as the layout takes it, by its header."""
        if not self.entry.filename.endswith(_ENDING.decode()):
            return unusable("no array")
        with self.archive.open(self.entry) as file:
            header = _header(file)
        flaw = "an array that is there twice" if twice else ""
        if header.dtype.hasobject:
            flaw = "pickled Python objects, which are never loaded"
        elif header.size != self.entry.file_size:
            flaw = f"{self.entry.file_size} bytes, where the array's own header says {header.size}"
        return named_array(header.shape, header.dtype, self.read, self.columns, flaw)

    def read(self) -> NDArray[Any]:
        """Return the whole array."""
        with self.archive.open(self.entry) as file:
            values = npy.read_array(file, allow_pickle=False)
            file.read()
        return np.asarray(values)

    def columns(self, picks: Sequence[int]) -> NDArray[np.float32]:
        """Return chosen columns, (row, column) float32."""
        with reader_errors(self.name, "NPZ"), self.archive.open(self.entry) as file:
            header = _header(file)
            values = np.empty((header.shape[0], len(picks)), np.float32)
            fill = _by_columns if header.by_columns and len(header.shape) > 1 else _by_rows
            fill(file, header, list(picks), values)
            file.read()
        return values


def _by_rows(file: IO[bytes], header: _Header, picks: list[int], out: NDArray[np.float32]) -> None:
    count, width = (*header.shape, 1)[:2]
    whole = max(1, _PIECE_BYTES // (width * header.dtype.itemsize))
    for low in range(0, count, whole):
        high = min(low + whole, count)
        data = file.read((high - low) * width * header.dtype.itemsize)
        out[low:high] = np.frombuffer(data, header.dtype).reshape(-1, width)[:, picks]


def _by_columns(file: IO[bytes], header: _Header, picks: list[int], out: NDArray[np.float32]) -> None:
    count, width = header.shape
    for column in range(width):
        data = file.read(count * header.dtype.itemsize)
        for place in (index for index, pick in enumerate(picks) if pick == column):
            out[:, place] = np.frombuffer(data, header.dtype)


def _names(archive: zipfile.ZipFile, name: str) -> dict[str, NamedArray]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    counts = Counter(entry.filename for entry in entries)
    return {
        entry.filename.removesuffix(".npy"): _Member(archive, entry, f"{name}, {entry.filename}").named(
            twice=counts[entry.filename] > 1
        )
        for entry in entries
    }


def _recognises(head: bytes) -> bool:
    """Tell an archive of arrays from any other archive by the name of its first member."""
    if not head.startswith(_LOCAL_HEADER):
        return False
    length = int.from_bytes(head[26:28], "little")
    return head[_NAME : _NAME + length].endswith(_ENDING)


@contextmanager
def _open(path: Path, name: str) -> Iterator[ArraysRecording]:
    with reader_errors(name, "NPZ"):
        archive = zipfile.ZipFile(path)
    with archive:
        with reader_errors(name, "NPZ"):
            recording = ArraysRecording(_names(archive, name), name)
        yield recording


FORMAT = Format(name="NPZ", suffixes=(".npz",), recognises=_recognises, open=_open)
