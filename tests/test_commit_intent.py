"""The intent: taken by one, kept alive by its beats, lost when somebody takes over, and never deleted."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from memory_storage import Hooks, MemoryStorage, Numbered, World
from waiting import wait_until

from aggrade.commit.intent import INTENT, Intent, Journal, Lease, Owner, is_abandoned, read_intent
from aggrade.commit.plan import Base, Layer, Target
from aggrade.errors import Conflict, Damaged, Problem, Refused, Unavailable
from aggrade.storage import ConditionFailed

LONG, SHORT = 600.0, 0.2
TARGET = Target(variable="x", bounds=((0, 2),), unit=(1,), key_encoding={"name": "default"}, content="c")
ELSEWHERE = Owner(host="elsewhere", boot="b", process=1, started="1")


class Frozen(Hooks):
    """A process whose heartbeat does not get through until it is thawed."""

    def __init__(self):
        self.frozen = True
        self.tried = threading.Event()

    def before(self, kind, key):
        """Fail the heartbeat's requests."""
        if self.frozen and threading.current_thread().name == "aggrade-heartbeat":
            self.tried.set()
            raise Unavailable(Problem(key, f"no reply to {kind}", "a reply", "retry", "unavailable"))


@pytest.fixture
def world():
    """Return an empty world; leases that a test leaves behind end with it."""
    yield World()
    for thread in threading.enumerate():
        if thread.name == "aggrade-heartbeat":
            raise AssertionError("a test left a heartbeat behind")


@pytest.fixture
def storage(world):
    """Return a Zarr store's storage."""
    return MemoryStorage(world, "x.zarr")


def intent(write_id="w1", *, lease_seconds=LONG, owner=None, **changes):
    """Return an intent of this process."""
    values = {"state": "held", "owner": owner or Owner.here(), "lease_seconds": lease_seconds}
    return Intent(write_id=write_id, **{**values, **changes})


def beats_are_over():
    """Tell whether no heartbeat is running any more."""
    return not any(thread.name == "aggrade-heartbeat" for thread in threading.enumerate())


class Held:
    """A lease for the length of a test."""

    def __init__(self, storage, one=None, replacing=None):
        self.lease = Lease.take(storage, one or intent(), replacing=replacing)

    def __enter__(self):
        return self.lease

    def __exit__(self, *_):
        self.lease.stop()
        wait_until(beats_are_over, "the end of the heartbeat")


def take_over(storage, write_id="w2", **changes):
    """Write somebody else's intent in the place of the one that is there, as its next holder does."""
    while True:
        _, etag = read_intent(storage)
        data = intent(write_id, owner=ELSEWHERE, **changes).model_dump_json().encode()
        try:
            return storage.write(INTENT, data, replacing=etag)
        except ConditionFailed:
            continue  # a beat was faster


class TestOwner:
    """Who holds an intent, and whether this machine can tell that it is gone."""

    def test_this_process_is_not_dead(self):
        """Whoever asks is alive."""
        assert not Owner.here().is_known_dead()

    def test_a_process_that_ended(self):
        """A process of this machine that is gone is known to be."""
        code = "from aggrade.commit.intent import Owner; print(Owner.here().model_dump_json(), flush=True)"
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        owner = Owner.model_validate_json(process.stdout.readline())
        assert owner.process == process.pid
        assert not owner.is_known_dead()
        process.kill()
        wait_until(owner.is_known_dead, "a killed process that nobody has waited for")
        process.communicate()
        assert owner.is_known_dead()

    def test_a_process_id_that_was_used_again(self):
        """Another process with the same id was started at another time."""
        assert Owner.here().model_copy(update={"started": "1"}).is_known_dead()

    @pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"boot": "another"}, {"boot": ""}])
    def test_of_other_machines_nothing_is_known(self, change):
        """A process of another host, boot or container may be alive, whatever runs here under its id."""
        gone = {"process": 2**22 + 1, "started": "1"}
        assert not Owner.here().model_copy(update={**gone, **change}).is_known_dead()

    def test_it_names_process_host_and_boot(self):
        """What is stored is enough to find the process again."""
        here = Owner.here()
        assert here.process == os.getpid()
        assert here.host
        assert here.boot
        assert int(here.started) > 0


class TestRead:
    """What lies in the place of the intent."""

    def test_there_has_never_been_one(self, storage):
        """A new store has no intent."""
        assert read_intent(storage) is None

    def test_as_it_was_written(self, storage):
        """Journal, dirt and marks come back whole, with the object's own mark."""
        journal = Journal(
            kind="append",
            dim="session",
            base=Base(etag="1", generation=2),
            targets=(TARGET,),
            layers=(Layer(label="s", index=0, digest="d"),),
            backup="b",
        )
        written = intent(journal=journal, dirty=(TARGET,), etags={"x/zarr.json": "7"})
        info = storage.write(INTENT, written.model_dump_json().encode())
        assert read_intent(storage) == (written, info.etag)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\xff\x00",
            b"not json",
            b"[]",
            b"{}",
            b"null",
            b'{"format":1}',
            b'{"format":"1"}',
            b'{"format":null}',
            intent().model_dump_json().encode()[:-20],
            intent().model_copy(update={"state": "lost"}).model_dump_json().encode(),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
    def test_no_intent(self, storage, data):
        """Whatever isn't an intent is damage: nobody knows who holds the store."""
        storage.write(INTENT, data)
        with pytest.raises(Damaged, match="not an intent") as caught:
            read_intent(storage)
        assert caught.value.code == "intent-unreadable"

    @pytest.mark.parametrize("more", [{}, {"colour": "blue"}])
    def test_of_a_newer_aggrade(self, storage, more):
        """An intent of another format is not taken over by whoever can't read it."""
        newer = {**json.loads(intent().model_dump_json()), "format": 3, **more}
        storage.write(INTENT, json.dumps(newer).encode())
        with pytest.raises(Refused, match="intent format 3, expected format 2; update aggrade") as caught:
            read_intent(storage)
        assert caught.value.code == "intent-format"

    @pytest.mark.parametrize("where", [[], ["owner"]], ids=["its own", "its owner's"])
    def test_with_keys_that_nobody_knows(self, storage, where):
        """What says more than this version knows is a newer one's: deleting it would lose what that needs to go on."""
        newer = json.loads(intent().model_dump_json())
        part = newer
        for name in where:
            part = part[name]
        part["moon"] = "full"
        storage.write(INTENT, json.dumps(newer).encode())
        with pytest.raises(Refused, match="update aggrade") as caught:
            read_intent(storage)
        assert caught.value.code == "newer-version"


class TestTake:
    """One holder at a time."""

    def test_it_is_held(self, storage):
        """Whoever takes it finds it in its own name."""
        with Held(storage, intent("w1", journal=Journal(kind="append"))) as lease:
            found, _ = read_intent(storage)
            assert (found.state, found.write_id) == ("held", "w1")
            assert found == lease.intent

    def test_of_two_one_fails(self, storage):
        """A second holder is turned away and changes nothing."""
        with Held(storage):
            before = read_intent(storage)
            with pytest.raises(ConditionFailed):
                Lease.take(storage, intent("w2"), replacing=None)
            assert read_intent(storage) == before

    def test_of_many_one_wins(self, world):
        """Of writers that come at the same instant one gets it."""
        start, won = threading.Barrier(6), []

        def contend(number):
            start.wait(30)
            try:
                won.append(Lease.take(MemoryStorage(world, "x.zarr"), intent(f"w{number}"), replacing=None))
            except ConditionFailed:
                return

        threads = [threading.Thread(target=contend, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(won) == 1
        won[0].stop()
        wait_until(beats_are_over)

    def test_a_free_one_is_replaced(self, storage):
        """What its last holder left free is taken by its mark."""
        with Held(storage) as lease:
            lease.release(dirty=(), etags={})
        _, etag = read_intent(storage)
        with Held(storage, intent("w2"), replacing=etag):
            assert read_intent(storage)[0].write_id == "w2"

    def test_a_lost_reply_is_no_failure(self, world):
        """If the store says no and what lies there is what was sent, the first try had got through."""

        class Twice(MemoryStorage):
            def write(self, key, data, *, replacing=None):
                super().write(key, data, replacing=replacing)
                return super().write(key, data, replacing=replacing)

        with Held(Twice(world, "x.zarr")) as lease:
            lease.confirm()
            assert read_intent(MemoryStorage(world, "x.zarr"))[0].state == "held"


class TestBeats:
    """A holder that is alive shows it."""

    def test_they_move(self, storage):
        """The intent changes again and again while it is held, and nothing but its count does."""
        with Held(storage, intent(lease_seconds=4.0)):
            first, _ = read_intent(storage)
            wait_until(lambda: read_intent(storage)[0].beat >= first.beat + 2, "two beats")
            last, _ = read_intent(storage)
            assert last.model_copy(update={"beat": first.beat}) == first

    def test_they_end_with_the_release(self, storage):
        """After the release nothing is written any more."""
        lease = Lease.take(storage, intent(lease_seconds=SHORT), replacing=None)
        lease.release(dirty=(), etags={})
        wait_until(beats_are_over)
        assert read_intent(storage)[0].state == "free"

    def test_one_that_fails_is_made_up_for(self, world):
        """While the lease lasts a lost beat costs nothing."""
        hooks = Frozen()
        with Held(MemoryStorage(world, "x.zarr", hooks), intent(lease_seconds=6.0)) as lease:
            assert hooks.tried.wait(30)
            hooks.frozen = False
            wait_until(lambda: lease.intent.beat > 0, "a beat that gets through")
            lease.check()

    def test_when_none_gets_through_the_lease_is_lost(self, world):
        """Whoever can't show that it is alive for a whole lease stops: somebody else may be at work."""
        with Held(MemoryStorage(world, "x.zarr", Frozen()), intent(lease_seconds=SHORT)) as lease:
            wait_until(lambda: _is_lost(lease), "a lease that has run out")
            with pytest.raises(Conflict, match="could not be renewed in time") as caught:
                lease.check()
            assert caught.value.code == "lease-lost"


def _is_lost(lease):
    try:
        lease.check()
    except Conflict:
        return True
    return False


class TestLost:
    """Somebody took over."""

    def test_the_next_beat_notices(self, storage):
        """A holder that lost its intent knows after a beat, without asking."""
        with Held(storage, intent(lease_seconds=6.0)) as lease:
            lease.check()
            take_over(storage)
            wait_until(lambda: _is_lost(lease), "a lost lease")

    def test_confirm_notices_at_once(self, storage):
        """Whoever asks the store knows before it does anything more."""
        with Held(storage) as lease:
            lease.confirm()
            take_over(storage)
            with pytest.raises(Conflict, match="somebody took over"):
                lease.confirm()
            with pytest.raises(Conflict, match="somebody took over"):
                lease.check()

    def test_confirm_notices_an_intent_that_is_gone(self, storage):
        """An intent that somebody deleted by hand is nobody's."""
        with Held(storage) as lease:
            storage.delete([INTENT])
            with pytest.raises(Conflict, match="took over"):
                lease.confirm()

    def test_nothing_more_is_written_in_it(self, storage):
        """A record after a take-over fails and leaves the successor's intent."""
        with Held(storage) as lease:
            take_over(storage)
            before = read_intent(storage)
            with pytest.raises(Conflict):
                lease.record(dirty=(TARGET,))
            assert read_intent(storage) == before

    def test_its_release_leaves_the_successors(self, storage):
        """A late release does not free what somebody else holds."""
        with Held(storage) as lease:
            take_over(storage)
            before = read_intent(storage)
            lease.release(dirty=(), etags={})
            assert read_intent(storage) == before


class TestRelease:
    """Free, never gone."""

    def test_the_object_stays(self, world):
        """A release is a compare-and-swap: no request of a lease ever deletes."""
        hooks = Numbered()
        storage = MemoryStorage(world, "x.zarr", hooks)
        with Held(storage, intent(journal=Journal(kind="append"))) as lease:
            lease.release(dirty=(TARGET,), etags={"x/zarr.json": "3"})
        found, _ = read_intent(storage)
        assert (found.state, found.journal) == ("free", None)
        assert (found.dirty, found.etags) == ((TARGET,), {"x/zarr.json": "3"})
        assert {kind.split()[0] for kind in hooks.kinds} == {"PUT", "GET"}

    def test_of_a_process_that_just_ends_it_stays_held(self, storage):
        """Without a release the intent is left for recovery."""
        with Held(storage, intent(journal=Journal(kind="append"))):
            pass
        found, _ = read_intent(storage)
        assert (found.state, found.journal.kind) == ("held", "append")

    def test_a_record_is_kept(self, storage):
        """What the holder learns on the way is in the intent from then on."""
        with Held(storage) as lease:
            lease.record(dirty=(TARGET,))
            assert read_intent(storage)[0].dirty == (TARGET,)
            lease.confirm()


class TestAbandoned:
    """Dead or alive, judged by watching."""

    def left(self, storage, **changes):
        """Leave an intent that nobody keeps alive, and return it with its mark."""
        info = storage.write(INTENT, intent(**changes).model_dump_json().encode())
        return read_intent(storage)[0], info.etag

    def test_a_holder_known_to_be_dead(self, world):
        """Of a process that this machine saw end nothing needs to be watched, however long its lease."""
        dead = Owner.here().model_copy(update={"started": "1"})
        hooks = Numbered()
        found = self.left(MemoryStorage(world, "x.zarr"), owner=dead)
        assert is_abandoned(MemoryStorage(world, "x.zarr", hooks), *found)
        assert hooks.count == 0

    def test_a_holder_that_moves(self, storage):
        """An intent that changes is somebody's."""
        with Held(storage, intent(owner=ELSEWHERE, lease_seconds=6.0)):
            assert not is_abandoned(storage, *read_intent(storage))

    def test_a_holder_that_stands_still(self, storage):
        """An intent that doesn't change for its whole lease is nobody's."""
        assert is_abandoned(storage, *self.left(storage, owner=ELSEWHERE, lease_seconds=SHORT))

    @pytest.mark.parametrize("step", [3600, -3600], ids=["forwards", "backwards"])
    def test_a_clock_that_jumps(self, storage, monkeypatch, step):
        """Nobody looks at the clock on the wall: who moves is alive and who stands still is not, wherever it jumps."""
        jumping = itertools.count(time.time(), step)
        monkeypatch.setattr(time, "time", lambda: next(jumping))
        with Held(storage, intent(owner=ELSEWHERE, lease_seconds=6.0)):
            assert not is_abandoned(storage, *read_intent(storage))
        storage.delete([INTENT])
        assert is_abandoned(storage, *self.left(storage, owner=ELSEWHERE, lease_seconds=SHORT))

    def test_a_live_process_that_stands_still(self, storage):
        """That its process is there does not help a holder that shows no beat."""
        assert is_abandoned(storage, *self.left(storage, lease_seconds=SHORT))

    def test_without_patience_nothing_is_judged(self, storage):
        """Whoever watches for less than the lease does not take over."""
        found = self.left(storage, owner=ELSEWHERE)
        assert not is_abandoned(storage, *found, patience=0.05)

    def test_more_patience_than_the_lease_is_not_needed(self, storage):
        """It is watched for its lease at most."""
        found = self.left(storage, owner=ELSEWHERE, lease_seconds=SHORT)
        assert is_abandoned(storage, *found, patience=LONG)

    def test_one_that_was_taken_meanwhile(self, storage):
        """An intent that another one has replaced is not abandoned: look again."""
        found = self.left(storage, owner=ELSEWHERE)
        take_over(storage)
        assert not is_abandoned(storage, *found)

    def test_one_that_is_gone(self, storage):
        """An intent that isn't there any more is not abandoned: look again."""
        found = self.left(storage, owner=ELSEWHERE)
        storage.delete([INTENT])
        assert not is_abandoned(storage, *found)

    def test_a_holder_that_dies_while_it_is_watched(self, world):
        """As soon as this machine sees the process end, waiting is over."""
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        started = _started_of(process.pid)
        owner = Owner.here().model_copy(update={"process": process.pid, "started": started})
        found = self.left(MemoryStorage(world, "x.zarr"), owner=owner)

        class Killing(Hooks):
            def before(self, kind, key):
                if kind == "HEAD" and key.endswith(INTENT):
                    process.kill()
                    process.wait(30)

        assert is_abandoned(MemoryStorage(world, "x.zarr", Killing()), *found)
        process.stdin.close()


def _started_of(pid):
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
