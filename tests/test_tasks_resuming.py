"""Crashed runs of deployments are scheduled again, a bounded number of times, and no other runs are."""

from __future__ import annotations

import uuid

import pytest
from make_runs import run as run_flow
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Completed, Crashed, Pending, Running, Submitting
from waiting import wait_until

from flows.command_line import main
from flows.resume_crashed import resume_crashed
from tasks.resuming import TAGS, resume_runs

pytestmark = pytest.mark.usefixtures("prefect_backend")
HOW = {
    "attempts": 3,
    "within_h": 24.0,
    "pause_s": 60.0,
    "silent_s": 600.0,
    "lost_s": 1860.0,
    "dry_run": False,
    "wait": lambda _: None,
}
AT_ONCE = 1e-6
"""Silence of so many seconds is too long."""


@flow
def nothing():
    """Do nothing: only its runs are looked at."""


class Deployed:
    """A deployment of its own, and its runs."""

    def __init__(self, client, tags=TAGS):
        self.client = client
        flow_id = client.create_flow(nothing)
        self.id = client.create_deployment(flow_id, f"resuming-{uuid.uuid4()}", tags=list(tags))

    def run(self, *states, parameters=None):
        """Begin a run, and bring it through some states."""
        made = self.client.create_flow_run_from_deployment(self.id, parameters=parameters or {})
        for state in states:
            self.client.set_flow_run_state(made.id, state, force=True)
        return str(made.id)

    def hear(self, resource, name):
        """Wait until the server has stored an event of a resource."""
        chosen = EventFilter(event=EventNameFilter(name=[name]), resource=EventResourceFilter(id=[resource]))
        wait_until(lambda: bool(self.client.read_events(chosen, limit=1).events), name)

    def tell(self, resource, name):
        """Send an event, and wait until the server has stored it."""
        event = Event(event=name, resource={"prefect.resource.id": resource})
        self.client.request("POST", "/events", json=[event.model_dump(mode="json")])
        self.hear(resource, name)

    def silent_run(self, *states, beats=True):
        """Return a run whose last sign of life the server has stored, with what somebody else did behind it."""
        run = self.run(*states)
        self.hear(f"prefect.flow-run.{run}", f"prefect.flow-run.{states[-1].name}")
        if beats:
            self.tell(f"prefect.flow-run.{run}", "prefect.flow-run.heartbeat")
        self.tell(f"elsewhere.{uuid.uuid4()}", "something.else")
        return run

    def state(self, run):
        """Return the name of a run's state."""
        return self.client.read_flow_run(uuid.UUID(run)).state.name


@pytest.fixture
def client():
    """Return a client of the test's server."""
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def deployed(client):
    """Return a deployment whose runs may go on."""
    return Deployed(client)


def fates(*runs, **how):
    """Return what becomes of some runs, as far as it is told."""
    found = {one.id: one.becomes for one in resume_runs(**{**HOW, **how})}
    return [found.get(run) for run in runs]


def crash(times):
    """Return the states of a run that crashed so many times."""
    return [Running(), Crashed()] * times


def test_a_crashed_run_goes_on(deployed):
    """It waits to be started again, and is not resumed twice."""
    run = deployed.run(*crash(1))
    assert fates(run) == ["resumed"]
    assert deployed.state(run) == "AwaitingRetry"
    assert fates(run) == [None]


def test_a_dry_run_by_hand_tells_each_once(deployed, capsys):
    """What was said while the flow ran isn't printed again at its end."""
    run = deployed.run(*crash(1))
    name = deployed.client.read_flow_run(uuid.UUID(run)).name
    with pytest.raises(SystemExit) as caught:
        main(["resume", "--dry-run"])
    assert caught.value.code == 0
    assert "".join(capsys.readouterr()).count(name) == 1
    assert deployed.state(run) == "Crashed"


def test_a_young_crash_is_waited_for(deployed):
    """A worker's second report of the same crash finds the run Crashed still; an old one is not waited for."""
    waited = []
    run = deployed.run(*crash(1))

    def report_again(seconds):
        waited.append(seconds)
        deployed.client.set_flow_run_state(uuid.UUID(run), Crashed(message="again"))

    assert fates(run, wait=report_again) == ["resumed"]
    assert len(waited) == 1
    assert 0 < waited[0] <= HOW["pause_s"]
    assert deployed.state(run) == "AwaitingRetry"
    deployed.client.set_flow_run_state(uuid.UUID(run), Crashed(), force=True)
    assert fates(run, pause_s=0.0, wait=waited.append) == ["resumed"]
    assert len(waited) == 1


def test_who_goes_on_already_is_left(deployed):
    """A run that somebody retried by hand meanwhile is not scheduled a second time."""
    run = deployed.run(*crash(1))

    def retry(_):
        deployed.client.set_flow_run_state(uuid.UUID(run), Running(), force=True)

    assert fates(run, wait=retry) == ["resumed"]
    assert deployed.state(run) == "Running"


def test_it_is_given_up_after_its_turns(deployed, caplog):
    """A run that crashes each time is left to a person, who is told."""
    run = deployed.run(*crash(3))
    assert fates(run) == ["given up"]
    assert deployed.state(run) == "Crashed"
    assert "has had its turns" in caplog.text
    assert fates(run, attempts=4) == ["resumed"]


def test_starts_that_die_before_the_flow_begins_count(deployed):
    """A run whose process can't even import the flow never runs, and is given up all the same."""
    run = deployed.run(*[Pending(), Submitting(), Crashed()] * 2)
    assert fates(run) == ["resumed"]
    for state in (Pending(), Submitting(), Crashed()):
        deployed.client.set_flow_run_state(uuid.UUID(run), state, force=True)
    assert fates(run) == ["given up"]


def test_what_was_done_since_is_left(deployed):
    """A later run with the same parameters that completed has done the work; one with others has not."""
    same = deployed.run(*crash(1), parameters={"a": 1})
    other = deployed.run(*crash(1), parameters={"a": 2})
    deployed.run(Running(), Completed(), parameters={"a": 1})
    assert fates(same, other) == ["done since", "resumed"]


def test_a_run_that_was_done_before_does_not_count(deployed):
    """What completed before the crash says nothing of it."""
    deployed.run(Running(), Completed())
    assert fates(deployed.run(*crash(1))) == ["resumed"]


def test_others_are_left_alone(client, deployed):
    """Runs of other deployments, runs that live, and those that ended otherwise are none of its business."""
    strange = Deployed(client, tags=["aggrade"]).run(*crash(1))
    runs = [strange, deployed.run(Running()), deployed.run(Running(), Completed()), deployed.run()]
    assert fates(*runs) == [None] * 4


def test_old_ones_are_left_alone(deployed):
    """A crash of long ago is history."""
    assert fates(deployed.run(*crash(1)), within_h=1e-9) == [None]


def test_a_run_whose_heartbeat_stays_away_goes_on(deployed, caplog):
    """The automation may have missed its heartbeat: the server has stored it, and nothing of the run behind it."""
    run = deployed.silent_run(Running())
    assert fates(run) == [None]
    assert fates(run, silent_s=AT_ONCE, dry_run=True) == ["resumed"]
    assert deployed.state(run) == "Running"
    assert fates(run, silent_s=AT_ONCE) == ["resumed"]
    assert deployed.state(run) == "AwaitingRetry"
    assert "gives no sign of life: Crashed" in caplog.text


def test_a_run_without_heartbeats_is_left(deployed):
    """They may be off: nothing is known of a run that never sent one, or none since it was started again."""
    never = deployed.silent_run(Running(), beats=False)
    before = deployed.silent_run(Running())
    deployed.client.set_flow_run_state(uuid.UUID(before), Running(), force=True)
    assert fates(never, before, silent_s=AT_ONCE) == [None, None]
    assert deployed.state(never) == deployed.state(before) == "Running"


def test_a_task_that_goes_on_is_a_sign_of_life(deployed):
    """What a run's tasks do counts as well as its heartbeats, by the server's clock."""
    run = deployed.silent_run(Running())
    task = {"prefect.resource.id": f"prefect.task-run.{uuid.uuid4()}"}
    flow_run = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}
    late = Event(event="prefect.task-run.Running", resource=task, related=[flow_run])
    deployed.client.request("POST", "/events", json=[late.model_dump(mode="json")])
    deployed.hear(task["prefect.resource.id"], late.event)
    assert fates(run, silent_s=AT_ONCE) == [None]


def test_a_start_that_never_begins_goes_on(deployed):
    """A run that a worker took and lost has sent no heartbeat; it has its own time to begin."""
    run = deployed.silent_run(Pending(), Submitting(), beats=False)
    assert fates(run, silent_s=AT_ONCE) == [None]
    assert fates(run, lost_s=AT_ONCE) == ["resumed"]
    assert deployed.state(run) == "AwaitingRetry"


def test_a_dry_run_changes_nothing(deployed):
    """It says what would become of it."""
    run = deployed.run(*crash(1))
    assert fates(run, dry_run=True) == ["resumed"]
    assert deployed.state(run) == "Crashed"


def test_as_a_flow(deployed):
    """The flow returns the same, and shows it."""
    run = deployed.run(*crash(1))
    done = run_flow(resume_crashed, dry_run=True)
    assert done.state.is_completed()
    assert {one.id: one.becomes for one in done.result}[run] == "resumed"
    assert "resumed" in done.artifacts["crashed-runs"]
