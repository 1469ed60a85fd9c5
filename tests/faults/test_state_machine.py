"""Any sequence of operations, deaths and lost replies, against a model that is obviously right (DESIGN §4)."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from bare_reader import Reader
from disturbances import KINDS, Disturbed, process
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from make_datasets import CHUNKS, make_session
from memory_storage import Killed, MemoryStorage, World, open_world
from schedules import one_request_at_a_time

import aggrade
from aggrade.commit import find_layer, read_intent, read_snapshot
from aggrade.errors import AggradeError

__all__ = ["open_world"]

STORE = "world://data/windows.zarr"
LABELS = ["s1", "s2", "s3"]
CONTENTS = {
    f"{label} {version}": make_session(label, windows, 10 * place + windows)[["eeg", "label"]]
    for place, label in enumerate(LABELS)
    for version, windows in [("short", 1 + place), ("long", 4)]
}
READER = Reader(CONTENTS)
names = st.sampled_from(sorted(CONTENTS))
labels = st.sampled_from(LABELS)
places = st.integers(1, 30)
View = tuple[str, ...]


class Store(RuleBasedStateMachine):
    """A store is, to its readers, the list of sessions that the operations which took effect make of it.

    The model is that list, and for each backup the list at the time. An operation that died or lost a reply has taken
    effect or not, and which of the two readers see at once stays true. All goes through several processes by turns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World(content_etags=True)
        self.view: View = ()
        self.backups: dict[str, View] = {}
        self.digests = digests()

    def _process(self, hooks: Disturbed | None = None) -> dict[str, Any]:
        return process(self.world, hooks)

    @initialize(name=names)
    def create(self, name: str) -> None:
        """Begin with one session."""
        _append(name, self._process())
        self.view = (name,)

    def _carry_out(self, operation: Any, after: View, hooks: Disturbed) -> None:
        """Do something in a process of its own, which may be in for something; old or new is seen then."""
        before, there, failure = self.view, self._backup_ids(), None
        try:
            operation(self._process(hooks))
        except (AggradeError, Killed) as error:
            failure = error
        assert hooks.may_end_with(failure), failure
        assert failure or READER.sees(self.world) == after
        self.view = READER.sees(self.world)
        assert self.view in (before, after)
        self.backups |= dict.fromkeys(self._backup_ids() - there, before)
        if failure is None and not hooks.kind and self._is_calm():
            self._assert_records()

    def _is_calm(self) -> bool:
        """Tell whether nothing is under way: what is there already is not brought again, and nobody's work is finished."""
        intent = read_intent(MemoryStorage(self.world, "data/windows.zarr"))
        return intent is None or intent[0].state == "free"

    def _assert_records(self) -> None:
        """Assert that the layers with a record are those that show, where nothing is under way."""
        storage = MemoryStorage(self.world, "data/windows.zarr")
        shown = read_snapshot(storage)
        for label in LABELS:
            record = find_layer(storage, label, shown)
            held = next((name for name in self.view if _label(name) == label), None)
            assert (record.digest if record else None) == (self.digests[held] if held else None), label

    def _backup_ids(self) -> set[str]:
        found = aggrade.list_backups(STORE, storage_options=self._process())
        return {manifest.id for manifest in found if not manifest.purged}

    @rule(name=names, hooks=st.data())
    def append(self, name: str, hooks: st.DataObject) -> None:
        """Append: new labels are added, the same again is left alone, other content is refused."""
        differs = name not in self.view and _label(name) in map(_label, self.view)
        if differs:
            with pytest.raises(aggrade.Refused):
                _append(name, self._process())
            return
        after = self.view if name in self.view else (*self.view, name)
        self._carry_out(lambda options: _append(name, options), after, self._hooks(hooks))

    @rule(name=names, hooks=st.data())
    def replace(self, name: str, hooks: st.DataObject) -> None:
        """Replace: other content of the same label goes to the end."""
        others = tuple(one for one in self.view if _label(one) != _label(name))
        after = self.view if name in self.view else (*others, name)
        self._carry_out(
            lambda options: _append(name, options, on_conflict="replace"), after, self._hooks(hooks)
        )

    @rule(label=labels, purge=st.booleans(), hooks=st.data())
    def remove(self, label: str, purge: bool, hooks: st.DataObject) -> None:
        """Remove: it is gone; with `purge`, the backups that hold it are no more."""
        if label not in map(_label, self.view):
            return
        after = tuple(one for one in self.view if _label(one) != label)

        def operation(options: Any) -> None:
            aggrade.remove(STORE, label, purge_backups=purge, storage_options=options)

        self._carry_out(operation, after, self._hooks(hooks))

    @precondition(lambda self: self._backup_ids())
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """Restore: what readers saw when the backup was made."""
        backup = data.draw(st.sampled_from(sorted(self._backup_ids())), "backup")
        hooks = self._hooks(data)
        self._carry_out(
            lambda options: aggrade.restore(STORE, backup, storage_options=options),
            self.backups[backup],
            hooks,
        )

    @precondition(lambda self: self._backup_ids())
    @rule(hooks=st.data())
    def undo(self, hooks: st.DataObject) -> None:
        """Undo the last operation that made a backup, be it a restore itself."""
        backup = max(self._backup_ids())
        self._carry_out(
            lambda options: aggrade.restore(STORE, backup, storage_options=options),
            self.backups[backup],
            self._hooks(hooks),
        )

    @rule(hooks=st.data())
    def recover(self, hooks: st.DataObject) -> None:
        """Recover: nothing that readers see changes, be it disturbed itself or not."""
        self._carry_out(
            lambda options: aggrade.recover(STORE, storage_options=options), self.view, self._hooks(hooks)
        )

    @rule(keep=st.integers(0, 4))
    def prune(self, keep: int) -> None:
        """Prune: nothing that readers see changes, and the newest backups stay."""
        aggrade.recover(STORE, storage_options=self._process())
        there = sorted(self._backup_ids())
        aggrade.prune_backups(STORE, keep=keep, storage_options=self._process())
        assert sorted(self._backup_ids()) == there[max(len(there) - keep, 0) :]

    @rule()
    def verify(self) -> None:
        """Verify: after a recovery there is nothing to complain of."""
        aggrade.recover(STORE, storage_options=self._process())
        report = aggrade.verify(STORE, storage_options=self._process())
        assert report.ok, str(report)
        self._assert_records()

    def _hooks(self, data: st.DataObject) -> Disturbed:
        kind = data.draw(st.sampled_from(["", "", *KINDS]), "disturbance")
        return Disturbed(kind, data.draw(places, "request") if kind else 0)

    @invariant()
    def readers_see_the_model(self) -> None:
        """Look as a reader does."""
        assert READER.sees(self.world) == self.view

    def teardown(self) -> None:
        """End whole: recovered, verified, and with room for what is still missing."""
        if not self.world.objects:
            return
        options = self._process()
        aggrade.recover(STORE, storage_options=options)
        self._assert_records()
        missing = [label for label in LABELS if label not in map(_label, self.view)]
        for label in missing:
            _append(f"{label} long", options)
        assert READER.sees(self.world) == (*self.view, *(f"{label} long" for label in missing))
        report = aggrade.verify(STORE, storage_options=options)
        assert report.ok, str(report)


@functools.cache
def digests() -> dict[str, str]:
    """Return the digest of each content, as a store of its own receives it."""
    found = {}
    for name in CONTENTS:
        receipt = _append(name, process(World()))
        found[name] = receipt.digests[_label(name)]
    return found


def _append(name: str, options: Any, **more: Any) -> Any:
    chunks = {**CHUNKS, "session": 2}
    return aggrade.append(
        CONTENTS[name], STORE, grow=("window",), chunks=chunks, storage_options=options, **more
    )


def _label(name: str) -> str:
    return name.split(maxsplit=1)[0]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("examples", "steps"),
    [pytest.param(10, 8, id="few"), pytest.param(500, 20, id="many", marks=pytest.mark.long)],
)
def test_it_does_what_the_model_does(open_world, monkeypatch, examples, steps):
    """Whatever is done to a store, in whatever order and however it ends, readers see what the model says."""
    _append("s1 short", open_world(World()))
    quiet = list(HealthCheck)
    bounds = settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=quiet)
    with one_request_at_a_time(monkeypatch):
        run_state_machine_as_test(Store, settings=bounds)
