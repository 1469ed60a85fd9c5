"""Running by hand: what is shown, and which of Prefect's settings are changed."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from rich.console import Console

from aggrade.errors import Unavailable
from flows.terminal import QuietHandler, at_terminal, terminal_settings


@pytest.fixture
def handler():
    """Give a handler and what it writes."""
    shown = io.StringIO()
    return QuietHandler(Console(file=shown, width=40)), shown


@pytest.fixture
def own_root(monkeypatch):
    """Give the root logger handlers of its own, and take them away again."""
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "INFO")
    root = logging.getLogger()
    before = root.handlers
    root.handlers = [PrefectConsoleHandler(), logging.NullHandler()]
    yield root
    root.handlers = before


def record(name, level, text, error=None):
    """Make a log record."""
    return logging.LogRecord(
        name, level, __file__, 1, text, (), (type(error), error, None) if error else None
    )


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("aggrade.commit.transaction", logging.INFO, True),
        ("prefect.flow_runs", logging.INFO, False),
        ("prefect.flow_runs", logging.WARNING, True),
        ("prefect.task_runs", logging.ERROR, False),
        ("distributed.nanny", logging.INFO, False),
        ("distributed.nanny", logging.WARNING, True),
    ],
)
def test_the_cores_reports_and_others_warnings_are_shown(handler, name, level, shown):
    """The core reports, others warn; what a flow raises is said once, by whoever called it."""
    quiet, _ = handler
    assert bool(quiet.filter(record(name, level, "text"))) is shown


def test_a_worker_that_ends_slowly_is_no_news(handler):
    """Dask says so of every worker on a busy machine when a cluster closes; it is no fault."""
    quiet, _ = handler
    said = "Worker process still alive after 4.0 seconds, killing"
    assert not quiet.filter(record("distributed.nanny", logging.WARNING, said))


def test_a_line_is_a_line(handler):
    """A long message is not wrapped, and an error's traceback is left out."""
    quiet, shown = handler
    quiet.handle(record("aggrade", logging.WARNING, "x" * 100, ValueError("hidden")))
    assert shown.getvalue() == "x" * 100 + "\n"


def test_a_plan_goes_where_results_go(handler, capsys):
    """Plans are printed on standard output."""
    quiet, shown = handler
    quiet.handle(record("aggrade.plan", logging.INFO, "append sub-1"))
    assert capsys.readouterr().out == "append sub-1\n"
    assert shown.getvalue() == ""


def test_telemetry_is_off_and_start_up_has_time():
    """Nothing phones home, and a cold start doesn't time out; unless the user has decided otherwise."""
    with at_terminal(Console(file=io.StringIO()), debug=True):
        assert PREFECT_SERVER_ANALYTICS_ENABLED.value() is False
        assert PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value() >= 120
    chosen = {PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 300}
    with temporary_settings(chosen), at_terminal(Console(file=io.StringIO()), debug=True):
        assert PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value() == 300


def test_nothing_is_told_to_prefects_makers():
    """Before Prefect is imported the environment says so, unless it says otherwise already."""
    names = ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED")
    code = f"import os, sys, flows; print(*(os.environ[name] for name in {names}), 'prefect' in sys.modules)"
    root = Path(__file__).parents[1]
    for given, told in (({}, "1 false False"), (dict.fromkeys(names, "0"), "0 0 False")):
        environment = {name: value for name, value in os.environ.items() if name not in names} | given
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        assert run.stdout.strip() == told


def test_heartbeats_are_kept_where_a_server_watches_them():
    """Only a server that ends with the run goes without heartbeats."""
    assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY in terminal_settings(has_server=False)
    assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY not in terminal_settings(has_server=True)


def test_prefects_console_gives_way(own_root):
    """Prefect's own console output is replaced, other handlers stay."""
    with at_terminal(Console(file=io.StringIO())):
        kinds = {type(handler) for handler in own_root.handlers}
    assert {logging.NullHandler, QuietHandler} <= kinds
    assert PrefectConsoleHandler not in kinds
    assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "INFO"


def test_debug_leaves_everything(own_root):
    """With debug Prefect's console output stays."""
    with at_terminal(Console(file=io.StringIO()), debug=True):
        assert any(isinstance(handler, PrefectConsoleHandler) for handler in own_root.handlers)


@pytest.mark.parametrize(
    "error", [RuntimeError("Failed to reach API at there"), httpx.ConnectError("refused")]
)
def test_a_server_that_does_not_answer_is_one_sentence(error):
    """What Prefect raises then becomes an error of aggrade's that names the server; other errors stay what they are."""
    console = Console(file=io.StringIO())
    named = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"})
    with (
        pytest.raises(Unavailable, match=r"http://127.0.0.1:1/api: found no answer"),
        named,
        at_terminal(console, debug=True),
    ):
        raise error
    with pytest.raises(RuntimeError, match="another"), at_terminal(console, debug=True):
        raise RuntimeError("another")
