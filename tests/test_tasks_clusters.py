"""The description of a cluster: what it accepts and what it becomes."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import ExitStack

import dask
import pytest
from pydantic import ValidationError

from aggrade.errors import Unavailable
from aggrade.settings import cores
from tasks.clusters import Cluster, running_on


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


def test_a_scheduler_that_does_not_answer_is_unavailable():
    """A flow that finds no scheduler says so as an error that is worth another attempt."""
    with socket.socket() as held, ExitStack() as stack:
        held.bind(("127.0.0.1", 0))  # nobody listens there
        cluster = Cluster(address=f"tcp://127.0.0.1:{held.getsockname()[1]}")
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(Unavailable, match=re.escape(cluster.address)),
        ):
            running_on(stack, cluster).runner()


@pytest.mark.parametrize("processes", [True, False])
def test_workers_leave_an_interrupt_to_who_started_them(processes):
    """Ctrl-C reaches every process of a terminal; a worker process ignores it, this process never does."""
    before = signal.getsignal(signal.SIGINT)
    cluster = Cluster(cluster_kwargs={"n_workers": 1, "processes": processes})
    with cluster.runner() as runner:
        told = runner.client.run(signal.getsignal, signal.SIGINT)
    assert list(told.values()) == [signal.SIG_IGN if processes else before]
    assert signal.getsignal(signal.SIGINT) is before
