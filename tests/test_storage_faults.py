"""The wrapper that breaks requests does to a real storage what it says, and nothing else."""

from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from storage_conformance import StorageConformance
from storage_faults import Fault, Faulty, faulty_options, open_faulty

from aggrade.errors import Unavailable
from aggrade.storage.local import LocalStorage


class TestConformance(StorageConformance):
    """Without a fault, the wrapper keeps the contract of every storage."""

    rounds = 1

    @pytest.fixture
    def storage(self, tmp_path):
        """Return a wrapped storage that breaks nothing."""
        return Faulty(LocalStorage(str(tmp_path / "data")), Fault())


@pytest.fixture
def local(tmp_path):
    """Return the storage behind the wrapper."""
    return LocalStorage(str(tmp_path / "data"))


def write_three(storage):
    """Write three objects, one after the other."""
    for key in ("a", "b", "c"):
        storage.write(key, key.encode())


@pytest.mark.parametrize(("action", "left"), [("kill-before", ["a"]), ("kill-after", ["a", "b"])])
def test_kills(local, action, left):
    """The process dies of SIGKILL before or after the request took effect."""
    storage = Faulty(local, Fault(action, 2))
    child = multiprocessing.get_context("spawn").Process(target=write_three, args=[storage])
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert [info.key for info in local.list()] == left


@pytest.mark.parametrize(("action", "left"), [("lose-request", ["a"]), ("lose-reply", ["a", "b"])])
def test_loses(local, action, left):
    """The caller hears nothing, before or after the request took effect; later requests are answered."""
    storage = Faulty(local, Fault(action, 2))
    with pytest.raises(Unavailable):
        write_three(storage)
    assert [info.key for info in local.list()] == left
    storage.write("z", b"")


def test_truncates(local):
    """The chosen reading gives half of the object."""
    local.write("k", b"0123")
    storage = Faulty(local, Fault("truncate", 2))
    assert [storage.read("k").data for _ in range(3)] == [b"0123", b"01", b"0123"]


def test_holds(local):
    """The chosen request waits until it is let go."""
    fault = Fault("hold", 1)
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(Faulty(local, fault).write, "k", b"x")
        assert fault.reached.wait(60)
        assert local.stat("k") is None
        fault.release.set()
        assert write.result().size == 1


def test_counts_over_views(local):
    """Requests are counted and named over all views of one storage."""
    fault = Fault()
    storage = Faulty(local, fault)
    storage.within("a").write("k", b"x")
    storage.above()[0].stat("data/a/k")
    storage.copy("a/k", "b")
    storage.delete(["b", "c"])
    assert fault.kinds == ["PUT k", "HEAD data/a/k", "COPY b", "DELETE b", "DELETE c"]
    assert fault.count == 5


def test_opens_by_url(local):
    """Options carry the real storage and the fault; a longer URL is a folder below."""
    fault = Fault()
    options = faulty_options(local.url, {}, fault)
    open_faulty(f"faulty://{local.url}/windows.zarr", options).write("k", b"x")
    assert local.read("windows.zarr/k").data == b"x"
    assert open_faulty(f"faulty://{local.url}", options).read("windows.zarr/k").data == b"x"
    assert fault.count == 2
