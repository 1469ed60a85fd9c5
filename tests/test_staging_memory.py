"""What a dry run says of memory holds for a recording of three hours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_cutting_staging_and_landing_keep_to_the_plans_memory(tmp_path):
    """Three hours of 64 channels at 500 Hz take what their windows take and the plan's allowance, no more."""
    command = [sys.executable, str(ROOT / "tests" / "measure_windowing.py"), str(tmp_path), "180"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    run = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}, check=True
    )
    found = json.loads(run.stdout)
    assert found["windows"] < found["taken"] < found["stated"], found
