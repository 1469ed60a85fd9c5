"""Copies of a backup that have changed since are not shown as a session."""

from __future__ import annotations

import pytest
from memory_storage import open_world
from test_restoring import STORE, Store

import aggrade
from aggrade.errors import Damaged

CHUNK = "data/windows.zarr/eeg/c/0/0/0/0"

__all__ = ["open_world"]


@pytest.fixture
def store(open_world):
    """Return a store of three sessions."""
    store = Store(open_world)
    for number in range(3):
        store.append(f"s{number}", 2, number)
    return store


def change(store, backup, end, other):
    """Give a copy in a backup the bytes of another chunk, and return what to put back."""
    folder = f"data/windows.zarr.backups/{backup}/objects/"
    key = next(key for key in store.world.objects if key.startswith(folder) and key.endswith(end))
    kept = store.world.objects[key]
    store.world.objects[key] = other
    return key, kept


def test_what_a_removal_took_away_has_changed(store):
    """Its restore names the session and the backup; the present state stays, and with the right bytes it works."""
    backup = aggrade.remove(STORE, "s1", storage_options=store.options).backup
    key, kept = change(store, backup, "/eeg/c/1/0/0/0", store.world.objects[CHUNK])
    before = aggrade.open_windows(STORE, storage_options=store.options)["session"].values.tolist()
    with pytest.raises(Damaged, match=r"other bytes in the copies of layer 's1'.*restore another backup"):
        aggrade.restore(STORE, backup, storage_options=store.options)
    assert aggrade.open_windows(STORE, storage_options=store.options)["session"].values.tolist() == before
    store.world.objects[key] = kept
    aggrade.restore(STORE, backup, storage_options=store.options)
    store.check()


def test_a_full_backup_has_changed(store):
    """A store that is gone is not made anew from bytes that nobody appended."""
    backup = store.append("s3", 2, 3, backup="full").backup
    other = store.world.objects[CHUNK]
    for key in [key for key in store.world.objects if key.startswith("data/windows.zarr/")]:
        del store.world.objects[key]
    change(store, backup, "/eeg/c/1/0/0/0", other)
    with pytest.raises(Damaged, match="layer 's1'"):
        aggrade.restore(STORE, backup, storage_options=store.options)


def test_another_session_in_the_same_row(store):
    """A record of what came into the row later does not count."""
    backup = store.append("s3", 2, 3).backup
    store.restore(backup)
    lost = store.append("other", 2, 9)
    removal = aggrade.remove(STORE, "other", storage_options=store.options)
    for one in (removal.backup, lost.backup, backup):
        aggrade.restore(STORE, one, storage_options=store.options)
        report = aggrade.verify(STORE, storage_options=store.options)
        assert report.ok, report
    store.rows = store.kept[backup]
    store.check()


def forget(store, backup):
    """Delete a backup, as nobody should; return what lay there."""
    folder = f"data/windows.zarr.backups/{backup}/"
    return {key: store.world.objects.pop(key) for key in list(store.world.objects) if key.startswith(folder)}


class TestGone:
    """A backup that somebody deleted by hand."""

    @pytest.mark.parametrize("dry_run", [True, False], ids=["dry run", "for real"])
    def test_what_a_removal_took_away(self, store, dry_run):
        """A state that shows the session is refused instead of fill; with the backup back it is whole."""
        earlier = store.append("s3", 2, 3).backup
        taken = aggrade.remove(STORE, "s1", storage_options=store.options).backup
        store.append("s4", 2, 4)
        lost, before = forget(store, taken), dict(store.world.objects)
        with pytest.raises(Damaged, match=f"{taken}: found no backup.*bring it back") as caught:
            aggrade.restore(STORE, earlier, dry_run=dry_run, storage_options=store.options)
        assert [problem.code for problem in caught.value.problems] == ["backup-gone"]
        assert store.world.objects == before
        store.world.objects.update(lost)
        store.restore(earlier)
        store.check()

    def test_what_a_restore_gave_up(self, store):
        """Undoing a restore needs its backup, and so does every state before it; those after it don't."""
        earlier = store.append("s3", 2, 3).backup
        given_up = store.restore(earlier).backup
        later = store.append("s4", 2, 4).backup
        forget(store, given_up)
        with pytest.raises(Damaged, match=given_up):
            aggrade.restore(STORE, earlier, storage_options=store.options)
        store.restore(later)
        assert [str(label) for label in store.seen()["session"].values] == ["s0", "s1", "s2"]

    def test_verify_names_it(self, store):
        """Until the states that need it are pruned, which nobody can restore any more."""
        taken = aggrade.remove(STORE, "s1", storage_options=store.options).backup
        store.append("s4", 2, 4)
        forget(store, taken)
        (problem,) = aggrade.verify(STORE, storage_options=store.options).problems
        assert f"{taken}: found no backup" in problem
        aggrade.prune_backups(STORE, keep=1, storage_options=store.options)
        assert aggrade.verify(STORE, storage_options=store.options).ok

    def test_one_that_no_state_needs(self, store):
        """An append takes nothing away: states before it are put together without its backup."""
        earlier = store.append("s3", 2, 3).backup
        middle = store.append("s4", 2, 4).backup
        store.append("s5", 2, 5)
        forget(store, middle)
        store.restore(earlier)
        store.check()

    def test_what_is_pruned_is_not_missed(self, store):
        """Pruning takes the oldest: no state that is left needs them."""
        aggrade.remove(STORE, "s1", storage_options=store.options)
        later = store.append("s4", 2, 4).backup
        aggrade.prune_backups(STORE, keep=1, storage_options=store.options)
        aggrade.restore(STORE, later, storage_options=store.options)
        assert aggrade.verify(STORE, storage_options=store.options).ok
