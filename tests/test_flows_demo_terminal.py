"""The demonstration's terminal: steps and lines, as text."""

from __future__ import annotations

import io

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


def test_text_of_the_users_is_never_taken_for_markup(shown):
    """Square brackets in names are printed as they are."""
    terminal, text = shown
    terminal.say("s3://bucket/[bold]x")
    with terminal.step("read [red]y"):
        pass
    assert "s3://bucket/[bold]x" in text.getvalue()
    assert "▸ read [red]y" in text.getvalue()
