"""The core's log records and the runs they belong to."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress

import pytest
from prefect import flow, get_client, task
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler, APILogWorker, PrefectConsoleHandler
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

from aggrade.errors import BadInput, Problem
from tasks.logs import PlainErrors, RunLogHandler, in_a_run, send_core_logs

core = logging.getLogger("aggrade.commit.transaction")


@pytest.fixture
def clean_logger():
    """Restore the core's logger afterwards."""
    logger = logging.getLogger("aggrade")
    before = logger.level, logger.handlers[:]
    logger.handlers = []
    yield logger
    logger.level, logger.handlers = before


def test_sending_twice_is_sending_once(clean_logger):
    """However often it is asked for, one handler is added."""
    send_core_logs()
    send_core_logs()
    assert [type(handler) for handler in clean_logger.handlers] == [RunLogHandler]


def test_records_of_level_info_count(clean_logger):
    """The core's INFO records get through; a level that someone chose to see more stays."""
    send_core_logs()
    assert core.isEnabledFor(logging.INFO)
    clean_logger.setLevel(logging.DEBUG)
    send_core_logs()
    assert core.isEnabledFor(logging.DEBUG)


def test_a_record_outside_of_runs_is_left_alone(clean_logger):
    """What is logged outside of any run goes to no run and warns of nothing."""
    send_core_logs()
    assert not in_a_run()
    core.info("nobody's")
    record = clean_logger.makeRecord("aggrade", logging.INFO, __file__, 1, "nobody's", (), None)
    assert not RunLogHandler().filter(record)


@pytest.mark.usefixtures("prefect_backend", "clean_logger")
def test_records_reach_the_run_they_belong_to():
    """What the core logs inside a task is found with the task's flow run; a plain thread's records are dropped."""

    @task
    def commit():
        core.info("wrote %d objects", 7)
        beat = threading.Thread(target=core.info, args=("heartbeat",))
        beat.start()
        beat.join()

    @flow(persist_result=False)
    def work():
        send_core_logs()
        commit()
        return FlowRunContext.get().flow_run.id

    run = work()
    assert isinstance(RunLogHandler(), APILogHandler)
    APILogWorker.drain_all(timeout=60)
    with get_client(sync_client=True) as client:
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
    assert [log.message for log in logs if log.name.startswith("aggrade")] == ["wrote 7 objects"]


def logged(error, level):
    """Return the record of an error as a run's logger with that level makes it, after the filter."""
    logger = logging.getLogger("prefect.flow_runs")
    before, records = logger.level, []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}):
            logger.error("Encountered exception during execution: %r", error, exc_info=error)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return records[0]


OURS = BadInput(Problem("file.xdf", "no stream", "one", "record it anew", "empty"))


@pytest.mark.usefixtures("clean_logger")
def test_an_error_of_ours_is_a_sentence():
    """The run's log has what the error says, without a traceback."""
    send_core_logs()
    record = logged(OURS, logging.INFO)
    assert record.getMessage() == f"BadInput: {OURS}"
    assert record.exc_info is None


@pytest.mark.parametrize(("error", "level"), [(ValueError("odd"), logging.INFO), (OURS, logging.DEBUG)])
@pytest.mark.usefixtures("clean_logger")
def test_tracebacks_that_somebody_needs_stay(error, level):
    """An error nobody foresaw keeps its traceback, and so does every one where DEBUG is shown."""
    send_core_logs()
    record = logged(error, level)
    assert record.exc_info[1] is error
    assert record.getMessage().startswith("Encountered exception")


def test_the_filter_is_added_once():
    """However often it is asked for."""
    send_core_logs()
    send_core_logs()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        assert sum(isinstance(one, PlainErrors) for one in logging.getLogger(name).filters) == 1


@pytest.fixture
def console():
    """Give a console handler of the root logger whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    handler = PrefectConsoleHandler(stream)
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    with suppress(BrokenPipeError):
        stream.close()


@pytest.mark.usefixtures("clean_logger")
def test_a_run_outlives_who_reads_its_console(console, caplog):
    """As a worker does that is killed: the console falls silent, other handlers go on."""
    send_core_logs()
    for message in ("nobody reads this", "nor that"):
        core.info(message)
    assert console.console.quiet
    assert caplog.messages == ["nobody reads this", "nor that"]
