"""The plan of a population: pure, JSON-able, priced, and refused where two tasks share a chunk."""

from __future__ import annotations

import pytest

from aggrade.catalogues.cube import Shape, documents_of
from aggrade.catalogues.finding import Source
from aggrade.catalogues.inspecting import EpochReport
from aggrade.catalogues.loading import How
from aggrade.catalogues.planning import FilledPiece, PopulatePlan, plan_population
from aggrade.commit import Snapshot
from aggrade.commit.documents import units_in
from aggrade.errors import Refused

HOW = How.model_validate(
    {
        "spec": {
            "object_id": "id",
            "time": "mjd",
            "time_scale": "utc",
            "epoch": {"filename": r"(\d+)"},
            "measurements": {"g": {"value": "mag"}},
        },
        "match": {},
    }
)


def shape(objects=1000, offsets=False):
    """Return a store of one band."""
    units = {"g": "mag"}
    return Shape(objects=objects, text_ids=False, units=units, value="mag", time_scale="utc", offsets=offsets)


def report(key, time=None, cells=500):
    """Return what the look at one epoch found."""
    source = Source(folder="/cats", key=f"{key}.fits", etag="e", size=10_000)
    time = 60000.0 + int(key) if time is None else time
    units = {"g": "mag"}
    return EpochReport(
        key=str(key), sources=(source,), digest=f"d{key}", time=time, units=units, rows=600, cells=cells
    )


def plan(reports, *, snapshot=None, size=None, **options):
    """Plan a population."""
    return plan_population(
        store="/data/lightcurves.zarr",
        snapshot=snapshot,
        how=HOW,
        shape=size or shape(),
        objects_digest="o",
        reports=reports,
        **options,
    )


def snapshot(epochs, unit=1, size=None):
    """Return a store that has some epochs, with so many of them in a chunk."""
    documents = documents_of(size or shape(), epochs)
    for name in ("lightcurves", "status"):
        documents[name]["chunk_grid"]["configuration"]["chunk_shape"][-1] = unit
    return Snapshot("etag", {"aggrade": {"generation": 4, "write_id": "w"}}, documents)


def test_a_plan_is_a_value():
    """A plan survives JSON, and the same things known make the same plan."""
    made = plan([report(1), report(2)])
    assert PopulatePlan.model_validate_json(made.model_dump_json()) == made
    assert plan([report(1), report(2)]) == made


def test_epochs_are_sorted_by_time():
    """New epochs lie in the order of time, then of their keys, whatever order they were found in."""
    made = plan([report(1, 5.0), report(2, 3.0), report(10, 4.0), report(3, 4.0)])
    assert [epoch.report.key for epoch in made.epochs] == ["2", "10", "3", "1"]
    assert [epoch.index for epoch in made.epochs] == [0, 1, 2, 3]
    assert [layer.label for layer in made.commit.layers] == ["2", "10", "3", "1"]


def test_new_epochs_lie_behind_the_old_ones():
    """What is there stays where it is, and is not written again."""
    made = plan([report(8), report(9)], snapshot=snapshot(5))
    assert [epoch.index for epoch in made.epochs] == [5, 6]
    assert made.commit.base.generation == 4
    assert made.commit.documents["lightcurves"]["shape"] == [1000, 1, 2, 7]
    assert {region.variable for region in made.commit.regions}.isdisjoint({"object", "ra", "measurement"})
    bounds = {region.variable: region.bounds for region in made.commit.regions}
    assert bounds["status"] == ((0, 1000), (0, 1), (5, 7))
    assert bounds["epoch"] == ((5, 7),)


def test_a_new_store_gets_everything():
    """On create every variable is written."""
    made = plan([report(1)])
    assert {region.variable for region in made.commit.regions} == set(made.commit.documents)
    assert made.commit.base is None


def test_a_root_without_arrays_is_a_new_store():
    """A fence made a root where nothing was yet; the store is created over it."""
    made = plan([report(1)], snapshot=Snapshot("etag", {"aggrade": {"generation": 2}}, {}))
    assert made.commit.base.generation == 2
    assert "object" in {region.variable for region in made.commit.regions}


def test_nothing_new_is_no_commit():
    """Without new epochs there is nothing to write, and the plan says so."""
    made = plan([], unchanged=["1", "2"], refused={"bad.fits": "it is bad"})
    assert made.commit is None
    assert "nothing to write" in str(made)
    assert "already there, nothing to do: 1, 2" in str(made)
    assert "refused: bad.fits: it is bad" in str(made)


@pytest.mark.parametrize("unit", [1, 3, 4, 7])
@pytest.mark.parametrize("there", [0, 5, 8])
@pytest.mark.parametrize("objects", [1000, 3_000_000])
def test_every_chunk_has_one_owner(unit, there, objects):
    """However many epochs share a chunk, and wherever the old ones end, no chunk belongs to two pieces."""
    size = shape(objects)
    before = snapshot(there, unit, size) if there else None
    made = plan([report(index) for index in range(70)], snapshot=before, size=size)
    assert [epoch.index for epoch in made.epochs] == list(range(there, there + 70))
    owners = {}
    for number, piece in enumerate(made.pieces):
        start, stop = piece.epochs[0].index, piece.epochs[-1].index + 1
        assert piece.span == (start, stop)
        for name in ("lightcurves", "status"):
            document = made.commit.documents[name]
            box = (*((0, length) for length in document["shape"][:-1]), (start, stop))
            for index in units_in(document, box):
                assert owners.setdefault((name, index), number) == number
    assert len(made.pieces) > 1


def remade(made, cuts):
    """Cut the plan's epochs into other pieces."""
    epochs = made.epochs
    pieces = [FilledPiece.of([epochs[index] for index in cut], "o", made.shape) for cut in cuts]
    return PopulatePlan(**{**dict(made), "pieces": tuple(pieces)})


@pytest.mark.parametrize(
    ("unit", "cuts", "refused"),
    [
        (1, [[0, 1], [2, 3]], False),
        (1, [[0, 2], [1, 3]], False),
        (1, [[0, 1], [1, 2, 3]], True),
        (1, [[0], [0], [1, 2, 3]], True),
        (2, [[0, 1], [2, 3]], False),
        (2, [[0], [1, 2, 3]], True),
        (2, [[0, 1, 2], [3]], True),
        (4, [[0, 1], [2, 3]], True),
    ],
)
def test_a_plan_in_which_two_tasks_share_a_chunk_is_refused(unit, cuts, refused):
    """One task per catalogue instead of per epoch, or a cut within a chunk, can't even be planned."""
    made = plan([report(index) for index in range(4)])
    for name in ("lightcurves", "status"):
        made.commit.documents[name]["chunk_grid"]["configuration"]["chunk_shape"][-1] = unit
    if refused:
        with pytest.raises(Refused, match="chunks with several tasks") as caught:
            remade(made, cuts)
        assert caught.value.code == "shared-chunk"
    else:
        assert len(remade(made, cuts).pieces) == len(cuts)


def test_pieces_are_named_by_what_they_write():
    """A piece's digest changes with content, place, time and objects, and with nothing else."""
    made = plan([report(1), report(2)])
    first = made.pieces[0].digest
    assert plan([report(1), report(2)], unchanged=["0"]).pieces[0].digest == first
    others = [
        plan([report(1), report(2).model_copy(update={"digest": "other"})]),
        plan([report(1), report(2)], snapshot=snapshot(1)),
        plan([report(1), report(2, 60002.5)]),
        plan([report(1), report(2)], size=shape(objects=999)),
    ]
    assert len({first, *(other.pieces[0].digest for other in others)}) == 5


def test_small_epochs_share_a_piece_and_large_ones_do_not():
    """Some 64 MiB of cells make a piece, but never more than 8 epochs."""
    few, many = (
        plan([report(i) for i in range(70)]),
        plan([report(i) for i in range(4)], size=shape(8_000_000)),
    )
    assert [len(piece.epochs) for piece in few.pieces] == [8] * 8 + [6]
    assert [len(piece.epochs) for piece in many.pieces] == [1, 1, 1, 1]


def test_the_dry_run_says_what_a_person_needs():
    """Epochs, objects, fill, pieces, requests, bytes and memory are printed."""
    text = str(plan([report(i) for i in range(6)]))
    for words in (
        "6 new epochs, index 0 to 5: 0, 1 … 5 (6)",
        "1,000 objects by 1 measurements (g)",
        "3,600 rows",
    ):
        assert words in text
    for words in (
        "fill at most 50.0%",
        "creates the store",
        "12 chunks of cells",
        "(1000, 1, 2, 1)",
        "memory per worker",
        "PUT",
        "writes 54.0 kB",
    ):
        assert words in text
    assert "on generation 4" in str(plan([report(1)], snapshot=snapshot(3)))


@pytest.mark.parametrize(("cells", "warned"), [(9, True), (10, False)])
def test_a_cube_that_stays_empty_is_warned_of(cells, warned):
    """Under 1 % of fill the plan warns and names the alternative."""
    made = plan([report(1, cells=cells)])
    assert bool(made.warnings) is warned
    assert ("warning: only 0.90% of the cells" in str(made)) is warned
    assert ("table of detections" in str(made)) is warned


def test_the_price_grows_with_the_new_epochs_alone():
    """The price of two more epochs is the same whether ten or ten thousand are there."""
    prices = [plan([report(1), report(2)], snapshot=snapshot(there)).price for there in (10, 900, 10_000)]
    assert len(set(map(str, prices))) == 1


def test_memory_is_that_of_the_largest_epoch():
    """Memory follows the objects and the epochs in a chunk, not the number of epochs."""
    few, many = plan([report(i) for i in range(8)]), plan([report(i) for i in range(50)])
    assert few.memory_per_worker == many.memory_per_worker
    assert plan([report(1)], size=shape(10**6)).memory_per_worker > 10**6 * 9
    one = plan([report(1)]).memory_per_worker
    assert plan([report(1)], snapshot=snapshot(8, 8)).memory_per_worker > one
