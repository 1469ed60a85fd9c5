"""A wide recording is cut within bounded memory, however much of the file is left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("measure_snirf.py")
SAMPLES, COLUMNS, KEPT = 51_408, 248_832, 9_360
OVERHEAD = 700_000_000


@pytest.mark.long
def test_three_hours_of_a_wide_recording(tmp_path):
    """3 h of 248,832 columns, 102 GB, of which 9,360 are kept, take the kept samples and 0.7 GB, Python included."""
    numbers = [str(number) for number in (SAMPLES, COLUMNS, KEPT)]
    command = [sys.executable, str(SCRIPT), str(tmp_path / "wide.snirf"), *numbers]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["bytes"] >= 4 * SAMPLES * KEPT
    assert found["peak"] < found["dataset"] + OVERHEAD
