"""The formats that aggrade reads. A new one is a file beside this and a line here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aggrade.recordings import Format, eeglab, hdf5, mne_formats, npz, reader_errors, snirf, xdf
from aggrade.recordings.hdf5_heaps import demand_sound_heaps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aggrade.recordings import Recording

__all__ = ["FORMATS", "format_of"]

_SIZES = (8, 8)
_WITHIN_HDF5 = (hdf5.FORMAT, snirf.FORMAT, eeglab.FORMAT)


@contextmanager
def _open_hdf5(path: Path, name: str, *, said: Format) -> Iterator[Recording]:
    """Open an HDF5 file as the format whose groups it holds; as the one that its name says where it holds none."""
    with reader_errors(name, said.name):
        held = _held(path, name)
    with (held or said).open(path, name) as recording:
        yield recording


def _held(path: Path, name: str) -> Format | None:
    """Return the format of an HDF5 file by what lies in it; None for any other file."""
    import h5py

    if not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r") as file:
        if file.id.get_create_plist().get_sizes() == _SIZES:
            demand_sound_heaps(path, name)
        return next((known for known in _WITHIN_HDF5 if known.holds is not None and known.holds(file)), None)


def _by_content(known: Format) -> Format:
    return known if known.holds is None else replace(known, open=partial(_open_hdf5, said=known))


FORMATS: tuple[Format, ...] = (
    xdf.FORMAT,
    _by_content(snirf.FORMAT),
    *mne_formats.FORMATS,
    _by_content(eeglab.FORMAT),
    _by_content(hdf5.FORMAT),
    npz.FORMAT,
)


def format_of(name: str, head: bytes) -> Format | None:
    """Return the format of a file: by its content, else by its suffix; None if it is no recording.

    Files of HDF5 begin alike; which format lies in one is found out when it is opened.

    Parameters
    ----------
    name
        File name.
    head
        The first 1024 bytes.
    """
    by_content = [known for known in FORMATS if known.recognises(head)]
    by_suffix = [known for known in FORMATS if name.lower().endswith(known.suffixes)]
    both = [known for known in by_content if known in by_suffix]
    return next(iter(both or by_content or by_suffix), None)
