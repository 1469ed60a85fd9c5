"""Pieces on Dask: where the cluster is, when it starts, what comes back."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

import dask
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from pydantic import ValidationError

from aggrade.errors import BadInput, Problem
from tasks.clusters import Cluster, cores, pieces_on

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


@flow(persist_result=False)
def spread(cluster, work, chosen, rounds=1):
    """Map work over pieces, some times over, and return the results and the run's id."""
    run = FlowRunContext.get().flow_run.id
    with pieces_on(cluster, "square", "memory://store") as map_pieces:
        return [list(map_pieces(work, chosen)) for _ in range(rounds)], run


def states_of(run):
    """Return the names of the states of a flow run's task runs, by the runs' names."""
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
    return {task_run.name: task_run.state.name for task_run in found}


@pytest.fixture
def counted(tmp_path):
    """Give work that leaves a mark each time it is done, and the folder of marks."""

    def work(piece):
        marks = tmp_path / piece.digest
        marks.mkdir(exist_ok=True)
        (marks / str(len(list(marks.iterdir())))).touch()
        return piece.number

    return work, tmp_path


def test_an_address_excludes_a_cluster_of_its_own():
    """An address together with arguments for a new cluster is refused, not half ignored."""
    with pytest.raises(ValidationError, match="an address excludes"):
        Cluster(address="tcp://10.0.0.5:8786", cluster_kwargs={"n_workers": 2})


def test_unknown_fields_are_refused():
    """A misspelt field is an error."""
    with pytest.raises(ValidationError, match="n_workers"):
        Cluster(n_workers=2)


def test_text_that_is_a_number_becomes_one():
    """Numbers and truth values from a command line are numbers and truth values; other text stays."""
    given = {"n_workers": "3", "processes": "false", "memory_limit": "2GB", "env": {"A": "1"}}
    expected = {"n_workers": 3, "processes": False, "memory_limit": "2GB", "env": {"A": "1"}}
    assert Cluster(cluster_kwargs=given).cluster_kwargs == expected


def test_the_default_is_a_worker_per_core_seen_from_here_only():
    """By default one single-threaded worker per core runs here, with its dashboard on the loopback interface."""
    kwargs = Cluster().runner().cluster_kwargs
    assert (kwargs["n_workers"], kwargs["threads_per_worker"]) == (cores(), 1)
    assert kwargs["dashboard_address"].startswith("127.0.0.1:")


def test_a_class_gets_its_own_arguments_only():
    """A named cluster class is started with the arguments that were given, none of ours."""
    runner = Cluster(cluster_class="distributed.LocalCluster", cluster_kwargs={"n_workers": 1}).runner()
    assert runner.cluster_kwargs == {"n_workers": 1}


def test_an_address_is_connected_to():
    """An address is handed to the runner as it is."""
    assert Cluster(address="tcp://10.0.0.5:8786").runner().address == "tcp://10.0.0.5:8786"


def test_workers_elsewhere_share_no_local_results():
    """Results on a local disk are trusted only where the workers run on this machine."""
    assert Cluster().shares_results()
    assert not Cluster(address="tcp://10.0.0.5:8786").shares_results()


def test_no_cluster_is_started_for_nothing():
    """A map over no pieces starts nothing."""
    with pieces_on(Forbidden(), "square", "memory://store") as map_pieces:
        assert list(map_pieces(square, [])) == []


def test_no_cluster_is_started_unless_asked():
    """A context in which nothing is mapped starts nothing."""
    with pieces_on(Forbidden(), "square", "memory://store"):
        pass


@pytest.mark.usefixtures("prefect_backend")
def test_results_come_in_the_order_of_the_pieces():
    """Every piece's result comes back, in the order of the pieces, whichever worker was faster."""
    results, run = spread(IN_PROCESS, square, pieces("order", 5))
    assert results == [[0, 1, 4, 9, 16]]
    assert states_of(run) == {f"square piece {number} of 5": "Completed" for number in range(1, 6)}


@pytest.mark.usefixtures("prefect_backend")
def test_array_work_stays_on_the_pieces_own_thread():
    """Inside a piece Dask computes synchronously: a piece never waits for a worker that waits for it."""
    results, _ = spread(IN_PROCESS, scheduler_and_process, pieces("synchronous", 1))
    assert results == [[("synchronous", os.getpid())]]


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
    assert set(states_of(run).values()) == {"Cached"}
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


@pytest.mark.e2e
@pytest.mark.usefixtures("prefect_backend")
def test_pieces_run_in_processes_of_their_own():
    """On the default kind of cluster pieces run in other processes, and one API serves them all."""
    results, run = spread(
        Cluster(cluster_kwargs={"n_workers": 2}), scheduler_and_process, pieces("processes", 4)
    )
    processes = {process for _, process in results[0]}
    assert os.getpid() not in processes
    assert set(states_of(run).values()) == {"Completed"}
    assert logging.getLogger("distributed").level == logging.WARNING
