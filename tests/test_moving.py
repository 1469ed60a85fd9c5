"""Sessions that belong in another partition than the one where they lie."""

from __future__ import annotations

import numpy as np
import pytest
from make_moves import ODD, ROOT, dated, ingest, staged
from memory_storage import World, open_world

import aggrade
from aggrade.errors import Refused
from aggrade.moving import homes
from aggrade.staging import drop_staged

__all__ = ["open_world"]


@pytest.fixture
def options(open_world):
    """Return the storage options of a world in which a session without a date lies beside another one."""
    found = open_world(World())
    for dataset in (dated(ODD, ""), dated("other", "", seed=2)):
        land(dataset, found)
    return found


def land(dataset, options, **how):
    """Ingest a session; return the receipt."""
    receipt = ingest(dataset, options, **how)
    drop_staged(staged(dataset, options), storage_options=options)
    return receipt


def lying(options):
    """Return where each session lies by the catalogue, and assert that what is shown and the catalogue agree."""
    shown = aggrade.open_windows(ROOT, storage_options=options)
    lines = aggrade.read_catalogue(ROOT, storage_options=options)
    assert sorted(lines["session"]) == sorted(map(str, shown["session"].values))
    assert aggrade.verify(ROOT, storage_options=options).ok
    return dict(zip(lines["session"], lines["store"], strict=True))


def test_a_session_that_is_dated_moves(options):
    """It leaves `undated`, once, with all its samples; the other session stays."""
    receipt = land(dated(ODD, "2026-10-31T08:00:00"), options)
    assert receipt.store == f"{ROOT}/windows/2026-10.zarr"
    assert lying(options) == {ODD: "windows/2026-10.zarr", "other": "windows/undated.zarr"}
    found = aggrade.open_windows(ROOT, storage_options=options).sel(session=ODD)
    assert np.array_equal(found["eeg"].values, dated(ODD, "")["eeg"].values[0])
    assert str(found["session_start"].values) == "2026-10-31T08:00:00"


def test_there_and_back_again(options):
    """A date that was wrong is put right as often as it takes, and the same again is nothing."""
    for start, part in (
        ("2026-10-31", "2026-10"),
        ("2025-01-01", "2025-01"),
        ("2026-10-31", "2026-10"),
        ("", "undated"),
    ):
        receipt = land(dated(ODD, start), options)
        assert lying(options)[ODD] == f"windows/{part}.zarr"
        assert land(dated(ODD, start), options).write_id == receipt.write_id


def test_other_content_is_refused_unless_it_replaces(options):
    """What was measured must be the same; else it is refused before anything is written, or replaces the old one."""
    world = options["world"]
    before = {key: value for key, value in world.objects.items() if "/staging/" not in key}
    with pytest.raises(Refused, match="other content"):
        ingest(dated(ODD, "2026-10-31", seed=5), options)
    assert {key: value for key, value in world.objects.items() if "/staging/" not in key} == before
    land(dated(ODD, "2026-10-31", seed=5), options, on_conflict="replace")
    assert lying(options)[ODD] == "windows/2026-10.zarr"
    found = aggrade.open_windows(ROOT, storage_options=options).sel(session=ODD)
    assert np.array_equal(found["eeg"].values, dated(ODD, "", seed=5)["eeg"].values[0])


def test_what_the_other_store_refuses_stays(options):
    """A partition that refuses the session's channels refuses its move; where it lies nothing is changed."""
    land(dated("wide", "2026-10-01", channels=3), options)
    with pytest.raises(Refused, match="channels='union'"):
        ingest(dated(ODD, "2026-10-31"), options)
    assert lying(options)[ODD] == "windows/undated.zarr"
    land(dated(ODD, "2026-10-31"), options, channels="union")
    assert lying(options)[ODD] == "windows/2026-10.zarr"


@pytest.mark.parametrize("partition", ["none", "montage"])
def test_another_layout_moves_nothing(options, partition):
    """A dataset keeps to its layout: a session that lies in a partition of another kind is refused, by name."""
    with pytest.raises(Refused) as caught:
        ingest(dated(ODD, ""), options, partition=partition)
    (problem,) = caught.value.problems
    assert (problem.code, problem.found) == ("lies-elsewhere", "it in windows/undated.zarr")


def test_a_year_is_not_a_month(options):
    """Sessions without a date may go to either; those with one stay with the kind that they have."""
    land(dated(ODD, "2026-10-31"), options)
    with pytest.raises(Refused, match=r"it in windows/2026-10\.zarr"):
        ingest(dated(ODD, "2026-10-31"), options, partition="year")


def test_without_a_catalogue_the_stores_tell(options):
    """Where the catalogue is gone or torn, sessions are found by their labels, and those that have left are not."""
    land(dated(ODD, "2026-10-31"), options)
    expected = homes(ROOT, storage_options=options)
    for key in [key for key in options["world"].objects if key.startswith("data/catalogue/")]:
        del options["world"].objects[key]
    assert homes(ROOT, storage_options=options) == expected
    options["world"].objects["data/catalogue/partition=x/torn.parquet"] = (b"PAR1", "torn")
    assert homes(ROOT, storage_options=options) == expected
    aggrade.rebuild_catalogue(ROOT, storage_options=options)
    assert lying(options) == expected


def test_withdrawn_after_a_move(options):
    """A removal takes a session out of both partitions, wholly."""
    land(dated(ODD, "2026-10-31"), options)
    assert any(b"Sub 01/" in data for data, _ in options["world"].objects.values())
    aggrade.remove(ROOT, ODD, purge_backups=True, storage_options=options)
    assert lying(options) == {"other": "windows/undated.zarr"}
    assert not any(b"Sub 01/" in data for data, _ in options["world"].objects.values())
