"""What a MATLAB file says of an EEGLAB dataset, without its samples: v5 as v7.3, fields alone or in ``EEG``.

pymatreader turns either kind of file into plain values; here it is asked for the few fields that describe a
recording, and the samples stay in the file. Of a v5 file every element is walked first: it has no end mark, and
one that was cut short between two variables would lack a list of events and nothing else.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.recordings import reader_errors
from aggrade.recordings.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aggrade.recordings import Samples

__all__ = ["MatFile", "MatSamples", "holds_eeglab", "opened_mat", "starts_eeglab"]

FIELDS = ("nbchan", "pnts", "trials", "srate", "chanlocs", "event")
_WITHIN = ("labels", "type", "unit", "latency", "duration")
_MAGIC = b"MATLAB 5.0"
_HEADER, _TAG, _NAME, _ENOUGH = 128, 8, 40, 256
_COMPRESSED = 15
_WHAT = "EEGLAB"
_CUT_SHORT = "copy the file again from where it was made"


@dataclass(frozen=True, eq=False)
class MatSamples:
    """Samples that lie in the MATLAB file itself.

    Parameters
    ----------
    shape
        As MATLAB has it: (channel, sample), or (channel, sample, epoch).
    columns
        Returns chosen channels: (sample, channel).
    """

    shape: tuple[int, ...]
    columns: Callable[[Sequence[int]], Samples]


@dataclass(frozen=True, eq=False)
class MatFile:
    """An EEGLAB dataset.

    Parameters
    ----------
    fields
        Those of `FIELDS` that it has, as pymatreader returns them.
    data
        The samples, the name of the file that holds them, or None.
    notes
        What pymatreader warned of.
    """

    fields: dict[str, Any]
    data: MatSamples | str | None
    notes: tuple[str, ...]


def starts_eeglab(head: bytes) -> bool:
    """Tell an EEGLAB dataset by the first variable of a MATLAB file of version 5.

    Parameters
    ----------
    head
        The file's first bytes, some hundred.
    """
    if not head.startswith(_MAGIC) or len(head) < _HEADER + _TAG:
        return False
    order, element = _order(head), head[_HEADER:]
    if struct.unpack_from(order + "I", element)[0] == _COMPRESSED:
        try:
            element = zlib.decompressobj().decompress(element[_TAG:], _ENOUGH)
        except zlib.error:
            return False
    return _first_name(element, order) in (b"EEG", b"setname")


def _order(head: bytes) -> str:
    return ">" if head[126:128] == b"MI" else "<"


def _first_name(element: bytes, order: str) -> bytes:
    """Return the name of a variable of two dimensions: up to four letters are packed into their tag."""
    if len(element) < _NAME + _TAG:
        return b""
    kind, size = struct.unpack_from(order + "II", element, _NAME)
    packed = kind >> 16
    return element[_NAME + 4 :][:packed] if packed else element[_NAME + _TAG :][:size]


def holds_eeglab(file: Any) -> bool:
    """Tell an EEGLAB dataset by the variables of an opened HDF5 file."""
    return "EEG" in file or {"nbchan", "pnts", "srate"} <= set(file)


@contextmanager
def opened_mat(path: Path, name: str) -> Iterator[MatFile]:
    """Open an EEGLAB dataset for the length of a ``with`` block.

    Parameters
    ----------
    path
        The file.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        If it is no MATLAB file with an EEGLAB dataset, or was cut short.
    """
    import h5py

    with path.open("rb") as opened:
        old = opened.read(len(_MAGIC)) == _MAGIC
    if old:
        with reader_errors(name, _WHAT):
            mat = _version5(path, name)
        yield mat
        return
    with reader_errors(name, _WHAT):
        file = h5py.File(path, "r")
    with file:
        with reader_errors(name, _WHAT):
            mat = _version73(file, path, name)
        yield mat


def _version5(path: Path, name: str) -> MatFile:
    from scipy.io import whosmat

    with path.open("rb") as file:
        _check_whole(file, path.stat().st_size, name)
    variables = {label: (shape, kind) for label, shape, kind in whosmat(path, appendmat=False)}
    _check_dataset(variables, name)
    if "EEG" in variables:
        values, notes = _read(path, variable_names=["EEG"])
        fields = values["EEG"]
        return MatFile(_known(fields), _loaded(fields.get("data")), notes)
    shape, kind = variables.get("data", ((), "char"))
    wanted = {*FIELDS, "data"} if kind == "char" else set(FIELDS)
    fields, notes = _read(path, variable_names=sorted(wanted & set(variables)))
    stored = MatSamples(shape, lambda picks: _load(path, name, picks))
    return MatFile(_known(fields), _loaded(fields.get("data")) if kind == "char" else stored, notes)


def _version73(file: Any, path: Path, name: str) -> MatFile:
    _check_dataset(file, name)
    root = file.get("EEG", file)
    node = root.get("data")
    stored = node is not None and node.attrs.get("MATLAB_class") != b"char"
    wanted = {*FIELDS, *_WITHIN, *(() if stored else ("data",)), "EEG"}
    values, notes = _read(path, ignore_fields=sorted({*file, *root} - wanted))
    fields = values.get("EEG", values)
    if not stored:
        return MatFile(_known(fields), _loaded(fields.get("data")), notes)
    shape = tuple(reversed(node.shape))
    samples = MatSamples(shape, lambda picks: Columns(node, picks, name, what=_WHAT))
    return MatFile(_known(fields), samples, notes)


def _check_dataset(variables: Any, name: str) -> None:
    if "ALLEEG" in variables and "EEG" not in variables:
        fix = "save each dataset as a file of its own"
        raise BadInput(Problem(name, "several datasets (ALLEEG)", "one EEGLAB dataset", fix, "several"))
    if not holds_eeglab(variables):
        found = ", ".join(sorted(variables)[:8]) or "no variable"
        fix = "save the dataset with EEGLAB's pop_saveset"
        raise BadInput(Problem(name, found, "the fields of an EEGLAB dataset, or EEG", fix, "no-dataset"))


def _check_whole(file: IO[bytes], size: int, name: str) -> None:
    """Walk the elements of a file of version 5; the last one has to end where the file does."""
    order = _order(file.read(_HEADER))
    place = _HEADER
    while place < size:
        file.seek(place)
        tag = file.read(_TAG)
        place += _TAG + (struct.unpack(order + "II", tag)[1] if len(tag) == _TAG else 0)
        if len(tag) < _TAG or place > size:
            found, expected = "a file that ends inside a variable", "the rest of it: the file was cut short"
            raise BadInput(Problem(name, found, expected, _CUT_SHORT, "truncated"))


def _read(path: Path, **options: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    from pymatreader import read_mat

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values: dict[str, Any] = read_mat(path, **options)
    return values, tuple(dict.fromkeys(str(item.message).splitlines()[0] for item in caught))


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return {field: fields[field] for field in FIELDS if field in fields}


def _loaded(data: Any) -> MatSamples | str | None:
    """Return samples that came along with the fields, or the name of their file."""
    if data is None or isinstance(data, str):
        return data
    values = np.asarray(data)
    whole = values[None] if values.ndim == 1 else values
    return MatSamples(whole.shape, lambda picks: whole[list(picks)].T)


def _load(path: Path, name: str, picks: Sequence[int]) -> Samples:
    from scipy.io import loadmat

    with reader_errors(name, _WHAT):
        whole = loadmat(path, variable_names=["data"], appendmat=False)["data"]
    return np.asarray(whole[list(picks)].T)
