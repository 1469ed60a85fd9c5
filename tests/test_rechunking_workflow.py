"""The example of the workflow does what it says, and the page on lazy loading reads what it says, counted."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from aggrade.storage import open_storage
from aggrade.storage.counting import Counted

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "lazy-loading.md"
NIGHTS = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run the example; return its folder, what it found and what it said."""
    found = importlib.util.spec_from_file_location("workflow", ROOT / "examples" / "rechunking_workflow.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    folder, said = tmp_path_factory.mktemp("workflow"), []
    return folder, module.main(folder, NIGHTS, said.append), said


def test_each_night_ends_in_one_chunk_per_star(run):
    """In the write layout a light curve has a chunk per night, in the copy one; after a new night the copy is behind."""
    _, (first, second), said = run
    assert first["chunks"] == (NIGHTS - 1, 1)
    assert second["chunks"] == (NIGHTS, 1)
    for part in (first, second):
        assert (part["before"], part["after"]) == ("lightcurves.zarr", "lightcurves_by_object.zarr")
    assert "stars within 0.2 degrees, 4 nights, float32" in said[-1]


def test_the_copy_holds_what_the_catalogues_say(run):
    """Every detection of the nights' files, read without aggrade, is the cell of its star."""
    folder, (_, second), _ = run
    cube = second["curves"].dataset.load()
    where = {int(number): index for index, number in enumerate(cube["object"].values)}
    nights = [str(key) for key in cube["epoch"].values]
    cells = 0
    for path in (folder / "catalogues").iterdir():
        table = Table.read(path) if path.suffix == ".fits" else pq.read_table(path).to_pandas()
        rows = [where[int(number)] for number in table["objid"]]
        values, epoch = np.asarray(table["g_mag"], "f4"), nights.index(path.stem.removeprefix("survey_"))
        seen = np.isfinite(values)
        found = cube["lightcurves"].sel(measurement="g", value="mag").isel(epoch=epoch).values[rows]
        np.testing.assert_array_equal(found[seen], values[seen])
        cells += int(seen.sum())
    status = cube["status"].sel(measurement="g").values
    assert cells == int(((status == 1) | (status == 3)).sum())


def test_the_page_reads_what_it_says(run, monkeypatch, capsys):
    """Each snippet sends as many requests as its first line names; those of several are counted by their kind."""
    folder = run[0]
    counts = Counter()
    monkeypatch.setattr(
        "aggrade.lightcurves.open_storage", lambda url, options: Counted(open_storage(url, options), counts)
    )
    names, sent = {"store": str(folder / "store")}, []
    for snippet in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        before = counts["GET"]
        exec(compile(snippet, str(PAGE), "exec"), names)
        sent.append((snippet.partition("\n")[0].removeprefix("# "), counts["GET"] - before))
    for said, number in sent:
        assert not said.isdigit() or int(said) == number, sent
    told = dict(sent)
    assert 0 < told["opening"] <= 20
    assert 0 < told["positions"] <= 5
    assert 2 <= told["together"] <= 20
    stars = names["stars"].sizes["object"]
    assert stars > 5
    assert capsys.readouterr().out.splitlines()[0] == f"('epoch',) float32 {stars}"
    assert len(names["seen"]) == names["curves"].dataset.sizes["object"]


def test_the_page_is_linked():
    """Readers find it from the front page and from the page on reading."""
    for page in ("README.md", "docs/reading.md"):
        assert "lazy-loading.md" in (ROOT / page).read_text()
