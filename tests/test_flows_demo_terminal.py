"""The demonstration's terminal: steps and the core's records, as text."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from flows.demo_terminal import Terminal


@pytest.fixture
def shown():
    """Give a terminal that writes plain text, and what it has written."""
    text = io.StringIO()
    return Terminal(Console(file=text, width=100, highlight=False)), text


def test_a_step_is_announced_and_its_end_told(shown):
    """What begins is printed before it is done, what ends after it."""
    terminal, text = shown
    with terminal.step("make the inputs"):
        assert text.getvalue() == "▸ make the inputs\n"
    assert text.getvalue().splitlines()[1].startswith("✓ make the inputs (")


def test_a_step_that_fails_is_never_ticked_off(shown):
    """An error goes through, and the step is marked as failed."""
    terminal, text = shown
    with pytest.raises(OSError, match="disk full"), terminal.step("make the inputs"):
        raise OSError("disk full")
    assert "✗ make the inputs did not end well" in text.getvalue()
    assert "✓" not in text.getvalue()


def test_what_the_core_reports_is_shown_and_kept(shown, tmp_path):
    """Records of the core from INFO upwards are printed and written to the file, others are neither."""
    terminal, text = shown
    with terminal.logs(tmp_path / "log.txt"):
        logging.getLogger("aggrade.appending").info("appended %d windows", 45)
        logging.getLogger("aggrade.storage").debug("GET")
        logging.getLogger("elsewhere").info("noise")
    assert text.getvalue() == "    appended 45 windows\n"
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert line.endswith("INFO aggrade.appending: appended 45 windows")


def test_logging_is_left_as_it_was(shown, tmp_path):
    """Afterwards the core's logger has the handlers and the level that it had."""
    terminal, _ = shown
    core = logging.getLogger("aggrade")
    before = core.level, list(core.handlers)
    with terminal.logs(tmp_path / "log.txt"):
        assert core.handlers != before[1]
    assert (core.level, core.handlers) == before


def test_text_of_the_users_is_never_taken_for_markup(shown):
    """Square brackets in names are printed as they are."""
    terminal, text = shown
    terminal.say("s3://bucket/[bold]x")
    with terminal.step("read [red]y"):
        pass
    assert "s3://bucket/[bold]x" in text.getvalue()
    assert "▸ read [red]y" in text.getvalue()
