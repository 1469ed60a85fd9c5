"""Pieces of a large job as tasks on Dask: when a cluster starts, what comes back, what is done again."""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import CancelledError
from dataclasses import dataclass

import dask
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.context import FlowRunContext, TaskRunContext
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from waiting import wait_until

from aggrade.errors import BadInput, Problem, Refused, Unavailable
from tasks.caching import readable
from tasks.clusters import Cluster, one_cluster
from tasks.pieces import pieces_on

IN_PROCESS = Cluster(cluster_kwargs={"processes": False, "n_workers": 1, "threads_per_worker": 2})


@dataclass(frozen=True)
class Piece:
    """A piece as the core makes them."""

    digest: str
    number: int


def pieces(scope, count):
    """Return pieces that no other test has asked for."""
    return [Piece(f"{scope}-{number}", number) for number in range(count)]


def square(piece):
    """Square a piece's number."""
    return piece.number**2


def scheduler_and_process(piece):  # noqa: ARG001 - a piece is always handed over
    """Return what a piece computes with, and where."""
    return dask.config.get("scheduler", None), os.getpid()


def refuse_two(piece):
    """Refuse the third piece."""
    if piece.number == 2:
        raise BadInput(Problem(f"piece {piece.number}", "this", "that", "do so"))
    return piece.number


class Forbidden(Cluster):
    """A cluster that must not be started."""

    def runner(self):
        """Fail."""
        raise AssertionError("a cluster was started")


class Lost:
    """A runner, its client and its futures, whose scheduler dies with everything that it was asked to do."""

    dashboard_link = "nowhere"

    @property
    def client(self):
        """Return itself."""
        return self

    def submit(self, *_):
        """Return itself."""
        return self

    def result(self):
        """Tell that it is lost."""
        raise CancelledError("lost")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Losing(Cluster):
    """A cluster like that."""

    def runner(self):
        """Return its runner."""
        return Lost()


STARTED = []


class Counted(Cluster):
    """A cluster that counts how often it is started."""

    def runner(self):
        """Count."""
        STARTED.append(self.cluster_kwargs["n_workers"])
        return super().runner()


def counted_cluster(workers):
    """Return a counted cluster in this process."""
    return Counted(cluster_kwargs={"processes": False, "n_workers": workers, "threads_per_worker": 1})


@flow(persist_result=False)
def spread(cluster, work, chosen, rounds=1, weigh=None):
    """Map work over pieces, some times over, and return the results and the run's id."""
    run = FlowRunContext.get().flow_run.id
    with pieces_on(cluster, "square", "memory://store", weigh=weigh) as map_pieces:
        return [list(map_pieces(work, chosen)) for _ in range(rounds)], run


def states_of(run, count):
    """Return the final states of a flow run's task runs by their names, when the API has heard of `count`."""

    def final():
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        return {
            task_run.name: task_run.state.name
            for task_run in found
            if task_run.state and task_run.state.is_final()
        }

    wait_until(lambda: len(final()) == count, f"{count} task runs")
    return final()


@pytest.fixture
def counted(tmp_path):
    """Give work that leaves a mark each time it is done, and the folder of marks."""

    def work(piece):
        marks = tmp_path / piece.digest
        marks.mkdir(exist_ok=True)
        (marks / str(len(list(marks.iterdir())))).touch()
        return piece.number

    return work, tmp_path


def test_no_cluster_is_started_for_nothing():
    """A map over no pieces starts nothing."""
    with pieces_on(Forbidden(), "square", "memory://store") as map_pieces:
        assert list(map_pieces(square, [])) == []


def test_no_cluster_is_started_unless_asked():
    """A context in which nothing is mapped starts nothing."""
    with pieces_on(Forbidden(), "square", "memory://store"):
        pass


@pytest.mark.usefixtures("prefect_backend")
def test_a_scheduler_that_dies_is_unavailable():
    """What a scheduler took with it is worth another attempt, which finds another scheduler."""
    with (
        pieces_on(Losing(address="tcp://127.0.0.1:9"), "square", "memory://store") as map_pieces,
        pytest.raises(Unavailable, match=re.escape("tcp://127.0.0.1:9")),
    ):
        list(map_pieces(square, pieces("lost", 2)))


@pytest.mark.usefixtures("prefect_backend")
def test_results_come_in_the_order_of_the_pieces():
    """Every piece's result comes back, in the order of the pieces, whichever worker was faster."""
    results, run = spread(IN_PROCESS, square, pieces("order", 5))
    assert results == [[0, 1, 4, 9, 16]]
    assert states_of(run, 5) == {f"square piece {number} of 5": "Completed" for number in range(1, 6)}


@pytest.mark.usefixtures("prefect_backend")
def test_array_work_stays_on_the_pieces_own_thread():
    """Inside a piece Dask computes synchronously: a piece never waits for a worker that waits for it."""
    results, _ = spread(IN_PROCESS, scheduler_and_process, pieces("synchronous", 1))
    assert results == [[("synchronous", os.getpid())]]


def percent_of(run):
    """Return what the newest progress artifact of a flow run shows; None if there is none."""
    with get_client(sync_client=True) as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        found = client.read_artifacts(artifact_filter=mine)
    return float(found[0].data) if found else None


def half(piece):
    """Move half of a piece's bytes, and go on when the flow shows a quarter of both pieces; then move the rest."""
    if piece.number == 0:
        run = TaskRunContext.get().task_run.flow_run_id
        logging.getLogger("aggrade.test").info("half of it", extra={"moved": 500})
        wait_until(lambda: percent_of(run) == 25.0, "a quarter")
    return piece.number


@pytest.mark.usefixtures("prefect_backend")
def test_progress_is_told_while_a_piece_lasts():
    """What a worker says it has moved shows at once; in the end everything was moved, whoever told of it."""
    results, run = spread(IN_PROCESS, half, pieces("half", 2), weigh=lambda _: 1000)
    assert results == [[0, 1]]
    assert percent_of(run) == 100.0


@pytest.mark.usefixtures("prefect_backend")
def test_a_piece_that_fails_fails_the_whole():
    """The error of a piece comes out as itself, with its problems, and ends the flow."""
    with pytest.raises(BadInput, match="piece 2: found this"):
        spread(IN_PROCESS, refuse_two, pieces("failing", 4))


@pytest.mark.usefixtures("prefect_backend")
def test_finished_pieces_are_cached(counted):
    """A piece that a run has finished is not done again by the next run."""
    work, marks = counted
    chosen = pieces("cached", 2)
    assert spread(IN_PROCESS, work, chosen)[0] == [[0, 1]]
    results, run = spread(IN_PROCESS, work, chosen)
    assert results == [[0, 1]]
    assert set(states_of(run, 2).values()) == {"Cached"}
    assert [len(list((marks / piece.digest).iterdir())) for piece in chosen] == [1, 1]


@pytest.mark.usefixtures("prefect_backend")
def test_a_result_that_can_not_be_read_is_made_again(counted):
    """What a killed worker left half written costs the time to do that piece again, once."""
    work, marks = counted
    chosen = pieces("torn", 2)
    spread(IN_PROCESS, work, chosen)
    folder = PREFECT_LOCAL_STORAGE_PATH.value() / "square-pieces" / "v1" / readable("memory://store")
    (folder / chosen[0].digest).write_bytes((folder / chosen[0].digest).read_bytes()[:100])
    assert [spread(IN_PROCESS, work, chosen)[0] for _ in range(2)] == [[[0, 1]]] * 2
    assert [len(list((marks / piece.digest).iterdir())) for piece in chosen] == [2, 1]


@pytest.mark.usefixtures("prefect_backend")
def test_a_result_of_a_newer_version_is_refused(counted):
    """Nothing is done again, and what the newer version has kept stays."""
    work, marks = counted
    chosen = pieces("newer", 2)
    spread(IN_PROCESS, work, chosen)
    folder = PREFECT_LOCAL_STORAGE_PATH.value() / "square-pieces" / "v1" / readable("memory://store")
    kept = folder / chosen[0].digest
    newer = kept.read_text().replace(
        '"result":"[', r'"result":"[{\"__class__\": \"aggrade.newer.Receipt\"}, '
    )
    kept.write_text(newer)
    with pytest.raises(Refused, match="update aggrade"):
        spread(IN_PROCESS, work, chosen)
    assert kept.read_text() == newer
    assert [len(list((marks / piece.digest).iterdir())) for piece in chosen] == [1, 1]


@pytest.mark.usefixtures("prefect_backend")
def test_a_piece_asked_for_again_is_done_again(counted):
    """The second map over the same pieces within one context trusts no cache."""
    work, marks = counted
    chosen = pieces("again", 2)
    spread(IN_PROCESS, work, chosen, rounds=2)
    assert [len(list((marks / piece.digest).iterdir())) for piece in chosen] == [2, 2]


@pytest.mark.usefixtures("prefect_backend")
def test_workers_elsewhere_do_the_work_each_time(counted):
    """Where results aren't shared nothing is cached, and the results come back all the same."""
    work, marks = counted
    chosen = pieces("elsewhere", 1)
    cluster = Cluster(
        cluster_class="distributed.LocalCluster",
        cluster_kwargs={"processes": False, "n_workers": 1, "dashboard_address": "127.0.0.1:0"},
    )
    assert [spread(cluster, work, chosen)[0] for _ in range(2)] == [[[0]], [[0]]]
    assert len(list((marks / chosen[0].digest).iterdir())) == 2


@pytest.mark.usefixtures("prefect_backend")
def test_small_pieces_share_tasks():
    """Neighbours that are small together have one task, and a large piece has its own."""
    sizes = [20, 20, 64, 1, 1]
    results, run = spread(
        IN_PROCESS, square, pieces("small", 5), weigh=lambda piece: sizes[piece.number] * 2**20
    )
    assert results == [[0, 1, 4, 9, 16]]
    expected = ["square piece 3 of 5", "square pieces 1 to 2 of 5", "square pieces 4 to 5 of 5"]
    assert sorted(states_of(run, 3)) == expected


@pytest.mark.long
@pytest.mark.usefixtures("prefect_backend")
def test_many_pieces_share_tasks():
    """Hundreds of small pieces are dealt out several to a task, and come back in order all the same."""
    results, run = spread(IN_PROCESS, square, pieces("many", 600))
    assert results == [[number**2 for number in range(600)]]
    assert "square pieces 598 to 600 of 600" in states_of(run, 200)


@pytest.mark.usefixtures("prefect_backend")
def test_a_shared_cluster_serves_every_map_of_its_context():
    """Within `one_cluster` two jobs use one cluster; another cluster's job gets its own."""
    STARTED.clear()

    @flow(persist_result=False)
    def two_jobs():
        results = []
        with one_cluster(counted_cluster(1)):
            for scope, workers in (("first", 1), ("second", 1), ("other", 2)):
                with pieces_on(counted_cluster(workers), "square", "memory://store") as map_pieces:
                    results += map_pieces(square, pieces(f"shared-{scope}", 2))
        return results

    assert two_jobs() == [0, 1] * 3
    assert STARTED == [1, 2]


@pytest.mark.e2e
@pytest.mark.usefixtures("prefect_backend")
def test_pieces_run_in_processes_of_their_own():
    """On the default kind of cluster pieces run in other processes, and one API serves them all."""
    results, run = spread(
        Cluster(cluster_kwargs={"n_workers": 2}), scheduler_and_process, pieces("processes", 4)
    )
    processes = {process for _, process in results[0]}
    assert os.getpid() not in processes
    assert set(states_of(run, 4).values()) == {"Completed"}
    assert logging.getLogger("distributed").level == logging.WARNING
