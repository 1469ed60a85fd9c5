"""Populations that die or lose a reply at every request, and go on without doing the work again (DESIGN §10)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_catalogues import write_table
from memory_storage import DiesAt, Killed, LosesReply, MemoryStorage, Numbered, World, open_world

import aggrade
from aggrade.errors import AggradeError
from aggrade.storage.zarr_store import ReadStore

__all__ = ["open_world"]

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # dead heartbeats

STORE = "world://data/lightcurves.zarr"
SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "epoch_time": "MJD",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": {"g": {"value": "mag"}},
}
NIGHTS, MANY = 5, 10
CASES = {"create": 0, "extend": 2}


def make_world(folder, nights=NIGHTS):
    """Return a world in which some nights of five objects lie; their object table is in the cache already."""
    made = World()
    for index in range(nights):
        rng = np.random.default_rng(index)
        rows = {"id": np.arange(5), "ra": np.arange(5.0), "dec": np.zeros(5), "mag": rng.normal(20, 1, 5)}
        path = write_table(folder / f"night_{index:02d}.parquet", rows, meta={"MJD": 61000.0 + index})
        made.objects[f"cats/{path.name}"] = (path.read_bytes(), made.mark(b""))
    run({"world": made.copy(), "hooks": None})
    return made


def run(options, nights="*"):
    """Populate as a process does."""
    return aggrade.populate(f"world://cats/night_{nights}.parquet", STORE, SPEC, storage_options=options)


def arrays(world):
    """Return what a bare reader sees, source marks included, or None where there is no cube."""
    storage = MemoryStorage(world, "data/lightcurves.zarr")
    if storage.read("zarr.json") is None:
        return None
    found = xr.open_zarr(ReadStore(storage), consolidated=True)
    return found.load().drop_attrs() if found.variables else None


def chunks(world):
    """Return the bytes of every light-curve chunk."""
    keys = ("data/lightcurves.zarr/lightcurves/c/", "data/lightcurves.zarr/status/c/")
    return {key: data for key, (data, _) in world.objects.items() if key.startswith(keys)}


@pytest.mark.parametrize(("case", "after"), [("create", False), ("extend", True)])
def test_killed_and_run_again(open_world, tmp_path, case, after):
    """Whatever the request it dies at, readers see old or new, and running it again makes the same cube."""
    world = make_world(tmp_path)
    if CASES[case]:
        run(open_world(world), f"0[0-{CASES[case] - 1}]")
    before = arrays(world)
    undisturbed, hooks = world.copy(), Numbered()
    run(open_world(undisturbed, hooks))
    whole = arrays(undisturbed)
    outcomes = set()
    for place in range(1 + after, hooks.count + 1, 5):
        dying = world.copy()
        with pytest.raises(Killed):
            run(open_world(dying, DiesAt(dying, place, after=after)))
        seen = arrays(dying)
        published = seen is not None and seen.identical(whole)
        outcomes.add(published)
        assert published or (seen is None if before is None else seen.identical(before))
        run(open_world(dying))
        assert arrays(dying).identical(whole), f"request {place}: {hooks.kinds[place - 1]}"
        assert chunks(dying) == chunks(undisturbed)
        report = aggrade.verify(STORE, storage_options=open_world(dying))
        assert report.ok, f"request {place}: {report}"
    assert outcomes == {False, True}


def test_a_finished_piece_is_not_written_again(open_world, tmp_path):
    """A run that died in its second piece is resumed: the first piece's chunks are confirmed, not written."""
    world = make_world(tmp_path, MANY)
    rehearsal = Numbered()
    run(open_world(world.copy(), rehearsal))
    last = max(
        place for place, kind in enumerate(rehearsal.kinds) if "PUT" in kind and "lightcurves/c/" in kind
    )
    with pytest.raises(Killed):
        run(open_world(world, DiesAt(world, last, after=False)))
    first = [kind for kind in rehearsal.kinds[:last] if "PUT" in kind and "status/c/0/0/5" in kind]
    assert first
    resumed = Numbered()
    run(open_world(world, resumed))
    again = [kind for kind in resumed.kinds if kind.startswith("PUT") and "lightcurves/c/0/0/0/5" in kind]
    assert again == []
    marks = {key: etag for key, (_, etag) in world.objects.items() if "/status/c/" in key}
    assert len(marks) == MANY


@pytest.mark.parametrize("case", CASES)
def test_a_lost_reply_is_found_out(open_world, tmp_path, case, monkeypatch):
    """A lost reply ends in success or in a clear error, and running it again makes the same cube."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "3")
    world = make_world(tmp_path)
    if CASES[case]:
        run(open_world(world), f"0[0-{CASES[case] - 1}]")
    undisturbed, hooks = world.copy(), Numbered()
    run(open_world(undisturbed, hooks))
    for place in range(1, hooks.count + 1, 15):
        losing = world.copy()
        try:
            run(open_world(losing, LosesReply(place)))
        except AggradeError as error:
            code = error.code
        else:
            code = "unavailable"
        assert code == "unavailable", f"request {place}: {code}"
        run(open_world(losing))
        assert arrays(losing).identical(arrays(undisturbed)), f"request {place}: {hooks.kinds[place - 1]}"
