"""A session that comes without a date and comes again with one: staged, landed and moved as an ingest does it."""

from __future__ import annotations

import hashlib

import numpy as np
from make_datasets import make_session

import aggrade
from aggrade.landing import land
from aggrade.moving import homes, move_session
from aggrade.staging import drop_staged, stage

ROOT = "world://data"
ODD = "Sub 01/ä b#?%"


def dated(label, start, *, seed=1, windows=2, channels=2):
    """Return a session that began at a time, or of which that is not known."""
    made = make_session(label, windows, seed, channels=channels)
    return made.assign(session_start=("session", np.array([start], object)))


def staged(dataset, options, *, root=ROOT):
    """Stage a session under a name of its own; return what there is to know of it."""
    told = [str(dataset[name].values[0]).encode() for name in ("session", "session_start")]
    name = hashlib.sha256(b"".join([*told, dataset["eeg"].values.tobytes()])).hexdigest()[:16]
    return stage(dataset, root, name, storage_options=options)


LAYOUTS = {
    "common": {"layout": "common", "partition": "none"},
    "named": {"layout": "common", "partition": "none", "name": "Ab 1 ä#%"},
    "month": {"layout": "common", "partition": "month"},
    "montage": {"layout": "common", "partition": "montage"},
    "per session": {"layout": "per_session", "partition": "none"},
}
LIKE_IT = ("Sub 01%2Fä b#%3F%25", "sub 01/ä b#?%")
"""Ids that a careless spelling would take for the same."""


def assert_ids_survive(root, options, where):
    """Assert that sessions with difficult ids lie, show, are told of and go like any other."""
    labels = [ODD, *LIKE_IT]
    for seed, label in enumerate(labels):
        cut = staged(dated(label, "2026-10-31", seed=seed), options, root=root)
        store = cut.store(where["layout"], where["partition"], name=where.get("name", "windows"))
        land(cut, store, storage_options=options)
        drop_staged(cut, storage_options=options)
    shown = aggrade.open_windows(root, storage_options=options)
    assert sorted(map(str, shown["session"].values)) == sorted(labels)
    for seed, label in enumerate(labels):
        assert np.array_equal(
            shown["eeg"].sel(session=label).values, dated(label, "", seed=seed)["eeg"].values[0]
        )
    assert sorted(aggrade.read_catalogue(root, storage_options=options)["session"]) == sorted(labels)
    assert aggrade.verify(root, storage_options=options).ok
    aggrade.remove(root, ODD, storage_options=options)
    left = aggrade.open_windows(root, storage_options=options)["session"].values
    assert sorted(map(str, left)) == sorted(LIKE_IT)
    assert sorted(aggrade.read_catalogue(root, storage_options=options)["session"]) == sorted(LIKE_IT)


def ingest(dataset, options, *, root=ROOT, partition="month", **how):
    """Stage and land one session, from where it lies, as a run does after recovering; return the receipt."""
    aggrade.recover(root, storage_options=options)
    lying = homes(root, storage_options=options)
    cut = staged(dataset, options, root=root)
    home, store = lying.get(cut.session), cut.store("common", partition)
    rules = {"storage_options": options, **how}
    if home and f"{root}/{home}" != store:
        return move_session(cut, store, home, **rules)
    return land(cut, store, **rules)
