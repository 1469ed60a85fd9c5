"""HDF5 files in the layout of ``docs/recordings.md``: samples stay in the file until they are asked for.

HDF5 gives zeros, without a word, for what was never written and for a part in another file that is not there; a
dataset that could do so is refused.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.recordings import Format, reader_errors
from aggrade.recordings.arrays import (
    MARKERS,
    ROOT,
    STREAM,
    ArraysRecording,
    NamedArray,
    named_array,
    unusable,
)
from aggrade.recordings.columns import Columns, made_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["FORMAT"]

_MAGIC = b"\x89HDF\r\n\x1a\n"
_WITHIN = (*STREAM, *MARKERS)


def _named(node: Any, path: str, known: Sequence[str], name: str) -> Iterator[tuple[str, NamedArray]]:
    """Yield every dataset below a node, and every attribute that bears a name of the layout."""
    attributes = [label for label in known if label in node.attrs]
    yield from ((f"{path}{label}", _attribute(node.attrs[label])) for label in attributes)
    for label in node:
        here, item = f"{path}{label}", _inside(node, label)
        if label in attributes:
            yield here, unusable("a dataset and an attribute of the same name")
        elif item is None:
            yield here, unusable("a link that leads out of the file or nowhere")
        elif hasattr(item, "keys"):
            yield from _named(item, f"{here}/", _WITHIN, name)
            if not len(item) and not len(item.attrs):
                yield f"{here}/", unusable("an empty group")
        else:
            yield here, _dataset(item, name)


def _inside(node: Any, label: str) -> Any:
    """Return what a name of a group stands for; None if that is not in this file."""
    import h5py

    link = node.get(label, getlink=True)
    return None if isinstance(link, h5py.ExternalLink) else node.get(label)


def _attribute(value: Any) -> NamedArray:
    values = np.asarray(value)
    values = values.astype(str) if values.dtype.kind == "O" else values
    return named_array(values.shape, values.dtype, lambda: values, lambda picks: values[:, list(picks)])


def _dataset(item: Any, name: str) -> NamedArray:
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return unusable("no array")
    text = h5py.check_string_dtype(item.dtype) is not None
    return named_array(
        item.shape,
        np.dtype(str) if text else item.dtype,
        lambda: np.asarray(item.asstr("utf-8")[()] if text else item[()], str if text else None),
        lambda picks: Columns(item, picks, f"{name}, {item.name[1:]}"),
        made_up(item),
    )


def _holds(file: Any) -> bool:
    return "format" in file.attrs or "format" in file


@contextmanager
def _open(path: Path, name: str) -> Iterator[ArraysRecording]:
    import h5py

    with reader_errors(name, "HDF5"):
        file = h5py.File(path, "r")
    with file:
        with reader_errors(name, "HDF5"):
            recording = ArraysRecording(dict(_named(file, "", ROOT, name)), name)
        yield recording


FORMAT = Format(
    name="HDF5",
    suffixes=(".h5", ".hdf5"),
    recognises=lambda head: head.startswith(_MAGIC),
    open=_open,
    holds=_holds,
)
