"""Progress on the terminal and in the Prefect UI."""

from __future__ import annotations

import io
import logging

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
)
from prefect.context import FlowRunContext
from rich.console import Console

from tasks.progress import pace, progress


def test_a_terminal_shows_a_bar():
    """On a terminal the bar ends full and names the last unit."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=100)
    with progress("populate", total=2, unit="epochs", console=console) as advance:
        advance("epoch 1")
        advance("epoch 2")
    assert "epoch 2" in shown.getvalue()
    assert "2/2" in shown.getvalue()


def test_a_file_shows_no_bar():
    """Where the output is no terminal, no bar is drawn."""
    shown = io.StringIO()
    with progress("populate", total=1, unit="epochs", console=Console(file=shown)) as advance:
        advance("epoch 1")
    assert shown.getvalue() == ""


def test_each_unit_is_logged(caplog):
    """Every unit that is done is reported once, with how many there are."""
    caplog.set_level(logging.INFO, "aggrade")
    with progress("populate", total=2, unit="epochs") as advance:
        advance("epoch 1")
    assert [record.getMessage() for record in caplog.records] == ["epoch 1 (1 of 2 epochs)"]


def test_bytes_rate_and_time_left_are_told(caplog):
    """Where units say how many bytes they have, bar and log tell what is done, how fast it goes and when it ends."""
    assert pace(60_000_000, 240_000_000, 30.0) == "60.0 MB of 240.0 MB, 2.0 MB/s, 1 min 30 s left"
    assert pace(0, 240, 0.0) == "0 B of 240 B"
    caplog.set_level(logging.INFO, "aggrade")
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=150)
    with progress("rechunk", total=2, unit="pieces", size=3000, console=console) as advance:
        advance("piece 1", 1, 1000)
        advance("piece 2", 1, 2000)
    assert "3.0 kB of 3.0 kB" in shown.getvalue()
    assert "kB/s, 0 s left" in shown.getvalue() or "MB/s, 0 s left" in shown.getvalue()
    assert caplog.records[-1].getMessage().startswith("piece 2 (2 of 2 pieces; 3.0 kB of 3.0 kB, ")


def test_bytes_move_the_bar_between_units(caplog):
    """What is moved within a unit moves the bar, and is no line of the log."""
    caplog.set_level(logging.INFO, "aggrade")
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=150)
    with progress("rechunk", total=1, unit="pieces", size=3000, console=console) as advance:
        advance("rechunk", 0, 2000)
        assert not caplog.records
        advance("piece 1", 1, 1000)
    assert "0/1 pieces" in shown.getvalue()
    assert "1/1 pieces" in shown.getvalue()
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["piece 1 (1 of 1 pieces"]


def test_many_pieces_are_not_a_line_each(caplog):
    """Of pieces that are done in no time only the last is reported."""
    caplog.set_level(logging.INFO, "aggrade")
    with progress("rechunk", total=50, unit="pieces") as advance:
        for piece in range(50):
            advance(f"piece {piece}")
    assert caplog.records[-1].getMessage() == "piece 49 (50 of 50 pieces)"
    assert len(caplog.records) < 10


@pytest.mark.usefixtures("prefect_backend")
def test_a_run_has_an_artifact_that_ends_at_the_share_done():
    """Inside a run a progress artifact ends at 100 % when every unit was done."""

    @flow(persist_result=False)
    def work():
        with progress("populate", total=2, unit="epochs") as advance:
            advance("epoch 1")
            advance("epoch 2")
        return FlowRunContext.get().flow_run.id

    run = work()
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        )
    assert (artifact.type, float(artifact.data), artifact.description) == (
        "progress",
        100.0,
        "populate: 2 epochs",
    )
