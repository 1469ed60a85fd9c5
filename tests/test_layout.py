"""The names under a dataset root, and the list of the stores there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from aggrade import layout
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from pathlib import Path


def _touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"{}")


def test_stores_in_lists_every_store_and_nothing_else(tmp_path):
    """Stores at the root, partitions and sessions are listed; backups, catalogue and stray files are not."""
    _touch(
        tmp_path,
        "windows.zarr/zarr.json",
        "windows/2026-10.zarr/zarr.json",
        "windows/notes.txt",
        "sessions/a b_windowed.zarr/zarr.json",
        "lightcurves.zarr/zarr.json",
        "windows.zarr.backups/x/zarr.json",
        "catalogue/part.parquet",
        "elsewhere/deep.zarr/zarr.json",
        "file.zarr",
    )
    assert layout.stores_in(open_storage(str(tmp_path))) == [
        "lightcurves.zarr",
        "sessions/a b_windowed.zarr",
        "windows.zarr",
        "windows/2026-10.zarr",
    ]


def test_a_store_that_is_being_created_is_listed(tmp_path):
    """A store with an intent but no root yet is listed, so that recovery finds it."""
    _touch(tmp_path, "windows.zarr/.aggrade/intent.json")
    storage = open_storage(str(tmp_path))
    assert layout.stores_in(storage) == ["windows.zarr"]
    assert not layout.is_zarr(storage.within("windows.zarr"))


def test_nothing_there_lists_nothing(tmp_path):
    """An empty root and a root that does not exist hold no stores."""
    assert layout.stores_in(open_storage(str(tmp_path))) == []
    assert layout.stores_in(open_storage(str(tmp_path / "absent"))) == []


@pytest.mark.parametrize("root", ["zarr.json", ".zmetadata", ".zgroup"])
def test_a_zarr_store_lists_as_itself(tmp_path, root):
    """A storage that is a Zarr store of format 3 or 2 lists as the empty path."""
    _touch(tmp_path, root, "windows.zarr/zarr.json")
    assert layout.stores_in(open_storage(str(tmp_path))) == [""]


def test_window_stores_leave_out_copies_and_light_curves(tmp_path):
    """Rechunked windows and light curves are no window stores."""
    for path in ("windows.zarr", "windows_for_training.zarr", "lightcurves.zarr", "windows/2026.zarr"):
        _touch(tmp_path, f"{path}/zarr.json")
    storage = open_storage(str(tmp_path))
    assert layout.window_stores_in(storage) == ["windows.zarr", "windows/2026.zarr"]


def test_fixed_names():
    """The names that readers rely on are those of the design."""
    assert layout.partition_store("2026-10") == "windows/2026-10.zarr"
    assert layout.session_store("P 01") == "sessions/P 01_windowed.zarr"
    assert layout.backups_of("lightcurves.zarr/") == "lightcurves.zarr.backups"


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=2, unique=True
    )
)
def test_session_stores_are_distinct_and_legal(ids):
    """Two ids never share a folder, and every folder's name is one legal part of a path."""
    paths = [layout.session_store(session) for session in ids]
    assert len(set(paths)) == 2
    for path in paths:
        folder, name = path.split("/")
        assert folder == "sessions"
        assert 0 < len(name.encode()) <= 255
        assert name.isprintable()
        assert not name.startswith(".")


@pytest.mark.parametrize("ids", [("ä" * 300, "ä" * 300 + "b"), ("x" * 400, "x" * 399 + "y")])
def test_ids_too_long_for_a_folder_stay_distinct(ids):
    """Ids that agree in their first 200 bytes get folders of legal length that differ."""
    paths = {layout.session_store(session) for session in ids}
    assert len(paths) == 2
    assert max(len(path.encode()) for path in paths) <= 255


def test_every_tool_opens_the_store_of_a_session(tmp_path):
    """No sign of an id is one that zarr, or xarray, takes for a part of a URL."""
    signs = [chr(code) for code in range(32, 127)]
    for sign in signs:
        path = str(tmp_path / layout.session_store(f"S 1{sign}b"))
        zarr.create_group(path, attributes={"id": sign})
        assert zarr.open_group(path, mode="r").attrs["id"] == sign
    assert len(list((tmp_path / "sessions").iterdir())) == len(signs)
