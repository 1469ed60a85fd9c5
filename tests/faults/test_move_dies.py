"""A session that moves into another partition while its writer dies, at every request: it shows once, always."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from make_moves import ODD, ROOT, dated, ingest, staged
from memory_storage import DiesAt, Killed, Numbered, World, open_world

import aggrade

__all__ = ["open_world"]

NEW = dated(ODD, "2026-10-31")
AMONG = 25


@functools.cache
def undated():
    """Return a world in which a session lies that has no date, and the same session with a date is staged."""
    world = World()
    for dataset in (dated(ODD, ""), dated("other", "", seed=2)):
        ingest(dataset, {"world": world})
        for key in [key for key in world.objects if "/staging/" in key]:
            del world.objects[key]
    staged(NEW, {"world": world})
    return world


@functools.cache
def requests():
    """Return how many requests an undisturbed move takes."""
    hooks = Numbered()
    ingest(NEW, {"world": undated().copy(), "hooks": hooks})
    return hooks.count


def assert_shown_once(options):
    """Assert that both sessions show once, also in training, with their samples, whichever partition the first is in."""
    found = aggrade.open_windows(ROOT, storage_options=options)
    assert sorted(map(str, found["session"].values)) == sorted([ODD, "other"])
    assert np.array_equal(found["eeg"].sel(session=ODD).values, NEW["eeg"].values[0])
    assert str(found["session_start"].sel(session=ODD).values) in {"", "2026-10-31"}
    reader = aggrade.WindowReader(ROOT, 4, shuffle=False, modalities=["eeg"], storage_options=options)
    assert sorted(reader.sessions) == sorted([ODD, "other"])
    own = [
        values
        for batch in reader
        for values, label in zip(batch["eeg"], batch["session"], strict=True)
        if label == ODD
    ]
    assert np.array_equal(own, NEW["eeg"].values[0])


def die(place, *, after):
    """Die at one request, look, run again, and look again."""
    world = undated().copy()
    with pytest.raises(Killed):
        ingest(NEW, {"world": world, "hooks": DiesAt(world, place, after=after)})
    world.lose_owner()
    options = {"world": world}
    assert_shown_once(options)
    ingest(NEW, options)
    assert_shown_once(options)
    lines = aggrade.read_catalogue(ROOT, storage_options=options)
    stores = dict(zip(lines["session"], lines["store"], strict=True))
    assert stores == {ODD: "windows/2026-10.zarr", "other": "windows/undated.zarr"}
    assert aggrade.verify(ROOT, storage_options=options).ok


@pytest.mark.usefixtures("open_world")
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_some_requests(after):
    """Killed at some requests: shown once before the next run and after it, in one place, with one line."""
    for place in range(1 + 12 * after, requests() + 1, AMONG):
        die(place, after=after)


@pytest.mark.long
@pytest.mark.usefixtures("open_world")
@pytest.mark.parametrize("after", [False, True])
def test_killed_at_every_request(after):
    """Killed at any request, before or after it takes effect."""
    for place in range(1, requests() + 1):
        die(place, after=after)


@pytest.mark.usefixtures("open_world")
def test_a_reader_that_opens_amid_a_move():
    """Whoever opens the dataset while a session moves, store by store, sees it once: at each of the move's writes."""
    world, seen = undated().copy(), []

    class Reads(Numbered):
        def after(self, kind, key):
            if kind == "PUT" and key.endswith("zarr.json") and key.count("/") == 3 and "data/windows/" in key:
                seen.append(key)
                assert_shown_once({"world": world})

    ingest(NEW, {"world": world, "hooks": Reads()})
    assert [key.removeprefix("data/windows/") for key in seen] == [
        "undated.zarr/zarr.json",
        "2026-10.zarr/zarr.json",
        "undated.zarr/zarr.json",
    ]


@pytest.mark.usefixtures("open_world")
@pytest.mark.parametrize("early", ["windows/undated.zarr", "windows/2026-10.zarr"])
def test_a_reader_that_read_one_store_too_early(early):
    """Whoever read one of the roots before the move, and the other one after it, sees the session once."""
    before = undated().copy()
    ingest(dated("first", "2026-10-01", seed=3), {"world": before})
    after = before.copy()
    ingest(NEW, {"world": after})
    world, root = after.copy(), f"data/{early}/zarr.json"
    world.objects[root] = before.objects[root]

    class Late(Numbered):
        def after(self, kind, key):
            if (kind, key) == ("GET", root):
                world.objects[root] = after.objects[root]

    found = aggrade.open_windows(ROOT, storage_options={"world": world, "hooks": Late()})
    assert sorted(map(str, found["session"].values)) == sorted([ODD, "other", "first"])
