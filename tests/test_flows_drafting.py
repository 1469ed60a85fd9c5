"""The draft of a specification, from the command line."""

from __future__ import annotations

import json

import pytest

from aggrade.errors import BadInput
from flows.command_line import main
from flows.drafting import inspect


def test_a_specification_is_drafted(tmp_path, capsys):
    """JSON to keep is printed; that it is a guess, and what is open, is said beside it."""
    (tmp_path / "night_1.csv").write_text("objid,mjd,mag,magerr\nx,61000.25,14.5,0.125\n")
    for command in (["inspect"], ["catalogue", "inspect"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, str(tmp_path / "night_1.csv")])
        assert ended.value.code == 0
        said = capsys.readouterr()
        assert json.loads(said.out)["measurements"] == {"mag": {"value": "mag", "error": "magerr"}}
        assert "night_1.csv: a guess" in said.err
        assert "time_scale is unknown" in said.err


def test_one_file_is_inspected_at_a_time(tmp_path):
    """A folder of several catalogues is refused, and so is a file that is torn."""
    for night in "12":
        (tmp_path / f"night_{night}.csv").write_text("objid,mag\nx,14.5\n")
    with pytest.raises(BadInput, match="2 catalogues"):
        inspect(str(tmp_path))
    (tmp_path / "night_1.csv").write_text("objid,mag\nx,1")
    with pytest.raises(BadInput, match="last line does not end"):
        inspect(str(tmp_path / "night_1.csv"))
