"""Flows as commands leave the receipts that calls in Python leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_runs import WINDOWS, receipts_in, record
from prefect.settings import PREFECT_API_URL

from flows.ingest_sessions import ingest_sessions


@pytest.mark.usefixtures("prefect_backend")
def test_a_command_leaves_the_receipts_of_a_call(tmp_path):
    """`python -m flows.ingest_sessions` prints and leaves what a call in Python returns and leaves."""
    record(tmp_path / "recordings", "sub-0", first=0)  # of several, it is chance which are appended together
    source = str(tmp_path / "recordings")
    returned = ingest_sessions(source, f"{tmp_path}/call", WINDOWS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flows.ingest_sessions", source, f"{tmp_path}/mode"),
            *("--windows", json.dumps(WINDOWS)),
        ],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
        capture_output=True,
        text=True,
        check=True,
    )
    called, commanded = (receipts_in(tmp_path / name / "windows.zarr") for name in ("call", "mode"))
    assert called == commanded
    assert [list(one["layers"]) for one in called] == [["sub-0"]]
    lines = done.stdout.strip().splitlines()
    assert [line.rpartition(", ")[0] for line in lines] == [
        str(receipt).rpartition(", ")[0].replace("/call/", "/mode/") for receipt in returned
    ]
