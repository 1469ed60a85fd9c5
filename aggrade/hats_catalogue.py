"""What a HATS catalogue has beside its files: what lies there, in which cells, and which column means what."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.parquet as pq

from aggrade.catalogues.positions import HEALPIX_ORDER
from aggrade.errors import BadInput, Problem, Refused
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aggrade.healpix_partitions import Partition
    from aggrade.storage import Storage

__all__ = ["HEALPIX_COLUMN", "HatsFile", "check_folder", "check_name", "describe", "put"]

HEALPIX_COLUMN = "_healpix_29"
_METADATA = ("dataset/_metadata", "dataset/_common_metadata", "partition_info.csv")
_PROPERTIES = ("properties", "hats.properties")


class HatsFile(NamedTuple):
    """One file of a catalogue, as it lies there.

    Parameters
    ----------
    cell
        The cell of the sky that it holds.
    rows
        Its objects.
    cells
        Rows of its nested column.
    size
        Bytes.
    metadata
        Its footer, with its path below the folder ``dataset``.
    """

    cell: Partition
    rows: int
    cells: int
    size: int
    metadata: pq.FileMetaData


def check_name(name: str) -> None:
    """Refuse a name that the properties can't hold.

    Raises
    ------
    BadInput
        If it is empty, or not one line.
    """
    if not name.strip() or not name.isprintable() or "\\" in name:
        expected = "a line of text without backslashes"
        raise BadInput(Problem("name", repr(name), expected, "give the catalogue such a name", "hats-name"))


def check_folder(target: Storage, cells: Iterable[Partition]) -> None:
    """Refuse a folder in which something lies that is no part of this catalogue.

    Raises
    ------
    Refused
        Naming what lies there.
    """
    ours = {f"dataset/{cell.path}" for cell in cells} | {*_METADATA, *_PROPERTIES}
    others = [item.key for item in target.list() if item.key not in ours]
    if others:
        raise Refused(_in_the_way(target, f"{len(others)} other objects, such as {others[0]}"))


def put(target: Storage, key: str, data: bytes) -> bytes:
    """Write an object unless it lies there already, and return what lies there then.

    Raises
    ------
    Refused
        If other bytes lie there.
    """
    with suppress(ConditionFailed):  # an earlier export came as far, or the reply to this one was lost
        target.write(key, data)
    found = target.read(key)
    if found is None or found.data != data:
        raise Refused(_in_the_way(target, f"another {key}"))
    return found.data


def _in_the_way(target: Storage, found: str) -> Problem:
    fix = "name another folder, or empty this one"
    return Problem(target.url, found, "an empty folder, or the same export", fix, "folder-in-use")


def describe(target: Storage, files: Sequence[HatsFile], name: str, state: Mapping[str, str]) -> None:
    """Write what tells readers what there is; the properties last, without which nobody takes it for a catalogue.

    Parameters
    ----------
    target
        The catalogue's folder.
    files
        All of its files, in the order of the sky.
    name
        The catalogue's.
    state
        Further properties: what it was made of.

    Raises
    ------
    Refused
        If another catalogue's description lies there.
    """
    common, total = io.BytesIO(), io.BytesIO()
    whole = files[0].metadata
    pq.write_metadata(whole.schema.to_arrow_schema(), common)
    for other in files[1:]:
        whole.append_row_groups(other.metadata)
    whole.write_metadata_file(total)
    lines = ["Norder,Npix", *(f"{file.cell.order},{file.cell.pixel}" for file in files)]
    told = total.getvalue(), common.getvalue(), "".join(f"{line}\n" for line in lines).encode()
    for key, data in zip(_METADATA, told, strict=True):
        put(target, key, data)
    text = "".join(f"{key}={value}\n" for key, value in _properties(files, name, state).items())
    for key in _PROPERTIES:
        put(target, key, f"#HATS catalog\n{text}".encode())


def _properties(
    files: Sequence[HatsFile], name: str, state: Mapping[str, str]
) -> dict[str, str | int | float]:
    from aggrade import __version__

    return {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": sum(file.rows for file in files),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": HEALPIX_COLUMN,
        "hats_col_healpix_order": HEALPIX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_order": max(file.cell.order for file in files),
        "hats_max_rows": max(file.rows for file in files),
        "hats_estsize": sum(file.size for file in files) // 1024,
        "moc_sky_fraction": sum(file.cell.sky for file in files),
        "hats_builder": f"aggrade v{__version__}",
        "hats_version": "v1.0",
        **state,
    }
