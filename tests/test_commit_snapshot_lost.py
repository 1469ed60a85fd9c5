"""Roots that another program has deleted, replaced or set back: nothing is built on them, and a restore brings them back."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from make_datasets import CHUNKS, assert_holds, make_session
from zarr.errors import ZarrUserWarning

import aggrade
from aggrade.commit.intent import INTENT
from aggrade.errors import Damaged
from aggrade.repairing import repair
from aggrade.surveying import survey

HOW = {"grow": ("window",), "chunks": CHUNKS}


@pytest.fixture
def store(tmp_path):
    """Return a store of which the first session has been replaced, and whose third is the last to have come."""
    store = tmp_path / "data" / "windows.zarr"
    for number in (1, 2):
        aggrade.append(make_session(f"s{number}", 3, number), store, **HOW)
    aggrade.append(make_session("s1", 3, 11), store, on_conflict="replace", **HOW)
    aggrade.append(make_session("s3", 3, 3), store, **HOW)
    return store


def appended_by_xarray(store):
    """Append a session as a script does that knows nothing of aggrade."""
    with xr.open_zarr(store) as there:
        more = there.isel(session=[0]).load().drop_attrs(deep=False)
    more = more.assign_coords(session=np.array(["stranger"], object))
    for variable in more.variables.values():
        variable.encoding = {}
    alone = [name for name, variable in more.variables.items() if "session" not in variable.dims]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        more.drop_vars(alone).to_zarr(store, append_dim="session", consolidated=True)


def deleted(store):
    """Delete the root."""
    (store / "zarr.json").unlink()


def set_back(store):
    """Bring an old copy of the root back."""
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["aggrade"]["generation"] -= 1
    (store / "zarr.json").write_text(json.dumps(root))


def of_format_1(store):
    """Write the intent as the first version did, which says nothing of generations, and delete the root."""
    intent = json.loads((store / INTENT).read_text())
    assert intent.pop("generation") == 4
    (store / INTENT).write_text(json.dumps({**intent, "format": 1}))
    deleted(store)


def deleted_with_the_intent(store):
    """Delete root and intent: records alone say that there was something."""
    (store / INTENT).unlink()
    deleted(store)


each_loss = pytest.mark.parametrize("lose", [appended_by_xarray, deleted, set_back, of_format_1])


def refused(work, *args, **how):
    """Assert that something is refused for the root, and says how to go on."""
    with pytest.raises(Damaged, match="restore the newest backup") as caught:
        work(*args, **how)
    assert caught.value.code == "root-lost"


def objects_of(store):
    """Return every file of a store with its content, but for the intent."""
    files = (path for path in store.rglob("*") if path.is_file() and not path.name.startswith(".aggrade-"))
    return {path: path.read_bytes() for path in files if path.name != "intent.json"}


@each_loss
@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_appended(store, lose, dry_run):
    """Neither a new session nor one on record: nobody knows which rows count."""
    lose(store)
    before = objects_of(store)
    for session in (make_session("s4", 3, 4), make_session("s2", 3, 2)):
        refused(aggrade.append, session, store, dry_run=dry_run, **HOW)
    refused(aggrade.append, make_session("s2", 3, 5), store, on_conflict="replace", dry_run=dry_run, **HOW)
    assert objects_of(store) == before


@each_loss
def test_nothing_is_removed(store, lose):
    """A removal doesn't say that there is nothing of a session where nobody knows."""
    lose(store)
    before = objects_of(store)
    for of in (store, store.parent):
        refused(aggrade.remove, of, "s2", purge_backups=True)
    assert objects_of(store) == before


@each_loss
def test_verify_says_so(store, lose):
    """The loss has a name, and a remedy; what seems to belong to nobody now is not cleared away."""
    lose(store)
    before = objects_of(store.parent)
    for of in (store, store.parent):
        report = aggrade.verify(of)
        assert "restore the newest backup" in str(report.problems[0]), report
        repairs = repair(str(of))
        assert not repairs.ok
        assert objects_of(store.parent) == before


@each_loss
def test_status_says_so(store, lose):
    """It does not look like a store to which nothing has come yet."""
    lose(store)
    (state,) = survey(str(store))
    assert "restore the newest backup" in str(state)


@each_loss
def test_a_restore_brings_it_back(store, lose):
    """It shows the state before the last commit, and what came since can be brought again."""
    lose(store)
    newest = aggrade.list_backups(store)[-1]
    receipt = aggrade.restore(store, newest)
    assert receipt.generation > 4
    assert [str(name) for name in aggrade.open_windows(store).session.values] == ["s2", "s1"]
    aggrade.append(make_session("s3", 3, 3), store, **HOW)
    with aggrade.open_windows(store) as found:
        assert_holds(
            found.load(), [make_session("s2", 3, 2), make_session("s1", 3, 11), make_session("s3", 3, 3)]
        )
    assert aggrade.append(make_session("s3", 3, 3), store, dry_run=True, **HOW).commit is None


@pytest.mark.parametrize("way", ["root", "intent"])
def test_the_remedy_of_what_is_torn(store, way):
    """What verify says to do about a torn root or intent makes the store whole."""
    torn = store / {"root": "zarr.json", "intent": INTENT}[way]
    torn.write_bytes(torn.read_bytes()[:40])
    (problem,) = aggrade.verify(store).problems
    assert "delete it" in problem
    torn.unlink()
    if way == "root":
        assert "restore the newest backup" in problem
        aggrade.restore(store, aggrade.list_backups(store)[-1])
    else:
        assert "verify --repair" in problem
        assert repair(str(store)).ok
    assert aggrade.verify(store).ok


def test_records_alone_tell_of_a_root(store):
    """With the intent gone as well, a session on record is not said to be there."""
    deleted_with_the_intent(store)
    refused(aggrade.append, make_session("s2", 3, 2), store, **HOW)


def test_a_store_that_is_being_deleted_is_no_loss(tmp_path):
    """While a removal deletes a session's own store, whoever brings the session again waits, and it begins anew."""
    store = tmp_path / "sessions" / "s1_windowed.zarr"
    aggrade.append(make_session("s1", 3, 1), store, **HOW)
    intent = json.loads((store / INTENT).read_text())
    journal = {
        "kind": "remove",
        "base": {"etag": "e", "generation": 1},
        "erases": {"label": "s1", "dim": "session", "rows": [0], "whole": True},
    }
    owner = {**intent["owner"], "process": 2**30}
    (store / INTENT).write_text(json.dumps({**intent, "state": "held", "owner": owner, "journal": journal}))
    deleted(store)
    assert aggrade.append(make_session("s1", 3, 1), store, **HOW).generation == 1
    assert aggrade.verify(tmp_path).ok


def test_a_store_that_never_showed_begins_anew(tmp_path):
    """An intent alone is no loss: the first append may have been rolled back."""
    store = tmp_path / "windows.zarr"
    aggrade.append(make_session("s1", 3, 1), store, **HOW)
    aggrade.remove(tmp_path, "s1", purge_backups=True)
    aggrade.append(make_session("s1", 3, 1), store, **HOW)
    assert aggrade.verify(store).ok


@pytest.mark.parametrize("lose", [deleted, appended_by_xarray])
def test_records_tell_of_a_root_where_the_intent_is_gone_too(store, lose):
    """Whoever brings something new builds nothing on what others left; nobody says that nothing is there."""
    lose(store)
    (store / INTENT).unlink()
    before = objects_of(store.parent)
    refused(aggrade.append, make_session("s9", 3, 9), store, **HOW)
    refused(aggrade.remove, store.parent, "s2")
    assert "restore the newest backup" in str(aggrade.verify(store).problems)
    assert not repair(str(store)).ok
    assert objects_of(store.parent) == before
    aggrade.restore(store, aggrade.list_backups(store)[-1])
    assert [str(name) for name in aggrade.open_windows(store).session.values] == ["s2", "s1"]


@each_loss
def test_nothing_else_takes_it_for_the_store(store, lose):
    """A rechunk copies nothing of it, and no backup is pruned that would bring it back."""
    lose(store)
    if lose is not deleted and lose is not of_format_1:
        refused(aggrade.rechunk, store, store.parent / "copy.zarr", chunks={"session": 1})
    refused(aggrade.prune_backups, store, 0)
    assert len(aggrade.list_backups(store)) == 3
