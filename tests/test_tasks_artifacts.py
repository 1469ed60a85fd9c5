"""What a run shows in the Prefect UI."""

from __future__ import annotations

import json

import pytest
from make_runs import run
from prefect import flow
from pydantic import BaseModel

from aggrade import BadInput, Problem, Receipt
from aggrade.price import Price
from tasks.artifacts import show_failures, show_picture, show_plans, show_receipts

RECEIPT = Receipt(
    kind="append",
    store="s3://lab/windows.zarr",
    write_id="abc",
    generation=3,
    layers={"sub-1": 2},
    objects=34,
    bytes_written=1000,
    seconds=1.25,
    backup="00000002-abc",
    undo="aggrade restore …",
)


class Plan(BaseModel):
    """A plan."""

    def __str__(self) -> str:
        return "append sub-1 | 34 PUT"


def test_outside_of_a_run_nothing_is_shown():
    """Without a run there is no UI, and no error."""
    show_plans([Plan()])
    show_receipts([RECEIPT])
    show_failures({"sub-1": ValueError("no")})
    show_picture(b"png", "picture", "A picture")


def test_several_plans_have_a_total(caplog):
    """The prices of all plans are added up; a single one is its own total."""

    class Priced(Plan):
        price: Price

    one = Priced(price=Price(requests={"GET": 2, "PUT": 1}, bytes_written=1000, peak_memory=5_000))
    caplog.set_level("INFO", "aggrade.plan")
    show_plans([one, Plan()])
    show_plans([one, one, one])
    alone, all_three = (record.getMessage() for record in caplog.records)
    assert "in all" not in alone
    assert "in all" in all_three
    assert "6 GET, 3 PUT" in all_three
    assert "writes 3.0 kB" in all_three
    assert "memory 5.0 kB" in all_three


@pytest.mark.usefixtures("prefect_backend")
def test_a_run_shows_plan_receipts_failures_and_pictures():
    """Each report is an artifact of its own, with what a person needs to see."""

    @flow(persist_result=False)
    def work():
        show_plans([Plan()])
        show_receipts([RECEIPT])
        show_failures({"sub-2": BadInput(Problem("sub-2", "this", "that", "do so"))})
        show_picture(b"\x89PNG", "window", "A window")

    shown = run(work).artifacts
    assert shown.keys() == {"plan", "receipts", "failures", "window"}
    assert "append sub-1 | 34 PUT" in shown["plan"]
    (row,) = json.loads(shown["receipts"])
    assert (row["layers"], row["store"], row["undo"]) == ("sub-1", "windows.zarr", RECEIPT.undo)
    (failure,) = json.loads(shown["failures"])
    assert (failure["what"], failure["error"]) == ("sub-2", "BadInput")
    assert "found this" in failure["why"]
    assert shown["window"].startswith("data:image/png;base64,")


@pytest.mark.usefixtures("prefect_backend")
def test_nothing_to_do_is_said():
    """A run without plans says so."""

    @flow(persist_result=False)
    def work():
        show_plans([])
        show_receipts([])

    shown = run(work).artifacts
    assert shown.keys() == {"plan"}
    assert "nothing to do" in shown["plan"]


@pytest.mark.usefixtures("prefect_backend")
def test_layers_of_one_commit_are_one_row():
    """What came together has its objects, its bytes and its undoing once."""
    own = [RECEIPT.model_copy(update={"layers": {name: row}}) for row, name in enumerate(["a", "b"])]

    @flow(persist_result=False)
    def work():
        show_receipts(own)

    (row,) = json.loads(run(work).artifacts["receipts"])
    assert row["layers"] == "a, b"
    assert row["objects"] == RECEIPT.objects


@pytest.mark.usefixtures("prefect_backend")
def test_receipts_are_a_table_that_can_be_read():
    """Of a store the table has the name and the text its URL, once; of many layers it names three, and counts the rest."""
    epochs = RECEIPT.model_copy(update={"layers": {f"night-{n}": n for n in range(160)}, "undo": None})
    epochs = epochs.model_copy(update={"write_id": "another"})
    others = [RECEIPT.model_copy(update={"store": f"s3://lab/sessions/{n}_windowed.zarr"}) for n in range(12)]

    @flow(persist_result=False)
    def work():
        show_receipts([epochs, RECEIPT, *others])

    done = run(work)
    rows = json.loads(done.artifacts["receipts"])
    assert [row["store"] for row in rows[:3]] == ["windows.zarr", "windows.zarr", "0_windowed.zarr"]
    assert rows[0]["layers"] == "night-0, night-1, night-2, 157 more"
    assert rows[0]["undo"] == ""
    assert list(rows[0])[:4] == ["what", "store", "layers", "undo"]
    told = done.descriptions["receipts"].splitlines()
    assert told[0] == "What this run has done"
    assert told[2:4] == [
        "- `windows.zarr` is `s3://lab/windows.zarr`",
        "- `0_windowed.zarr` is `s3://lab/sessions/0_windowed.zarr`",
    ]
    assert told[-1] == "- 3 more stores"
