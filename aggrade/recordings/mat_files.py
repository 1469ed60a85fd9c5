"""What a MATLAB file says of an EEGLAB dataset, without its samples: v5 as v7.3, fields alone or in ``EEG``.

pymatreader turns either kind of file into plain values; here it is asked for the few fields that describe a
recording, and the samples stay in the file. Of a v5 file every element is walked first (``mat_tags.py``).
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.recordings import reader_errors
from aggrade.recordings.columns import Columns, made_up
from aggrade.recordings.mat_tags import MAGIC, check_elements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from aggrade.recordings import Samples

__all__ = ["MatFile", "MatSamples", "holds_eeglab", "opened_mat"]

FIELDS = ("nbchan", "pnts", "trials", "srate", "chanlocs", "event")
_WITHIN = ("labels", "type", "unit", "latency", "duration")
_WHAT = "EEGLAB"


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
        old = opened.read(len(MAGIC)) == MAGIC
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

    check_elements(path, name, {*FIELDS, "data", "EEG"})
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
    if flaw := made_up(node):
        fix = "copy the file again, or export the recording anew"
        raise BadInput(Problem(f"{name}, EEG.data", flaw, "samples that were written", fix, "unwritten"))
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
