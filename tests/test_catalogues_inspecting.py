"""The look at every catalogue before anything is planned."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from make_catalogues import write_table

from aggrade.catalogues.finding import Source, find_catalogues
from aggrade.catalogues.given import given_objects
from aggrade.catalogues.inspecting import EpochReport, discover, inspect_all
from aggrade.catalogues.loading import EpochSources, How, load_epoch, load_file
from aggrade.errors import BadInput, Conflict

SPEC = {
    "object_id": "id",
    "ra": "ra",
    "dec": "dec",
    "time": "mjd",
    "time_scale": "utc",
    "epoch": {"filename": r"night_(\d+)"},
    "measurements": [{"value": "mag", "name": {"filename": r"_([gr])\."}, "unit": "mag"}],
}


def how(match=None, **changes):
    """Return how catalogues are read."""
    return How.model_validate({"spec": {**SPEC, **changes}, "match": match or {}})


def columns(night=1, rows=3, **changes):
    """Return the rows of one night."""
    base = {
        "id": np.arange(rows) + 2**60,
        "ra": np.arange(rows) + 10.0,
        "dec": np.zeros(rows),
        "mjd": np.full(rows, 60000.0 + night),
        "mag": np.linspace(18, 19, rows),
    }
    return {**base, **changes}


def looked(folder, how_=None, **options):
    """Return what discovery and inspection find in a folder."""
    how_ = how_ or how()
    found = discover(find_catalogues(folder), how_, None, map)
    return found, inspect_all(found.epochs, how_, None, map=map, **options)


def test_epochs_are_known_by_the_names_of_files(tmp_path):
    """Files of one epoch are one epoch; nothing is read to know that."""
    for name in ("night_2_g.csv", "night_1_r.csv", "night_1_g.csv"):
        (tmp_path / name).write_text("not read")
    found = discover(find_catalogues(tmp_path), how(), None, map)
    assert {epoch.key: [s.name for s in epoch.sources] for epoch in found.epochs} == {
        "1": ["night_1_g.csv", "night_1_r.csv"],
        "2": ["night_2_g.csv"],
    }


def test_a_file_without_an_epoch_is_told(tmp_path):
    """A file whose name tells no epoch is a problem of its own and stops no other."""
    for name in ("night_2_g.csv", "flat.csv"):
        (tmp_path / name).write_text("not read")
    found = discover(find_catalogues(tmp_path), how(), None, map)
    assert [epoch.key for epoch in found.epochs] == ["2"]
    assert found.problems[0].where == "flat.csv"


def test_a_report_says_what_was_found(tmp_path):
    """Rows, cells, time, units and files of both bands are reported together."""
    write_table(tmp_path / "night_1_g.parquet", columns(mag=np.array([18, np.nan, 19])))
    write_table(tmp_path / "night_1_r.fits", columns(rows=2))
    _, (reports, gathered) = looked(tmp_path, gathering=True)
    (report,) = reports
    assert (report.rows, report.cells, report.time, report.varies) == (5, 4, 60001.0, False)
    assert report.units == {"g": "mag", "r": "mag"}
    assert len(report.sources) == 2
    assert len(report.digest) == len(report.mark) == 64
    assert gathered.keys.tolist() == [2**60, 2**60 + 1, 2**60 + 2]
    assert EpochReport.model_validate_json(report.model_dump_json()) == report


def test_one_bad_file_spoils_its_epoch_and_no_other(tmp_path):
    """An epoch of which one file is bad is refused whole, and its rows build no objects."""
    write_table(tmp_path / "night_1_g.csv", columns())
    write_table(tmp_path / "night_1_r.csv", {"ra": [1.0]})
    write_table(tmp_path / "night_2_g.csv", columns(2, rows=1))
    _, (reports, gathered) = looked(tmp_path, gathering=True)
    told = {report.key: [problem.where for problem in report.problems] for report in reports}
    assert told["2"] == []
    assert all(where.startswith("night_1_r.csv") for where in told["1"])
    assert len(told["1"]) == 4
    assert gathered.keys.tolist() == [2**60]


@pytest.mark.parametrize("by", ["column", "header"])
def test_epochs_of_a_bad_file_are_incomplete_everywhere(tmp_path, by):
    """Where files say themselves which epochs they hold, what a bad file shares with a good one is left out."""
    epoch = {"column": "visit"} if by == "column" else {"header": "VISIT"}
    for name, visit, bad in (("a_g.fits", 1, False), ("b_r.fits", 1, True), ("c_g.fits", 2, False)):
        given = columns(visit=np.full(3, visit))
        if bad:
            del given["mag"]
        write_table(tmp_path / name, given, meta={"VISIT": visit})
    found, (reports, _) = looked(tmp_path, how(epoch=epoch))
    assert [each.key for each in found.epochs] == ["2"]
    assert "column mag" in found.problems[0].where
    assert [report.problems for report in reports] == [()]


def test_duplicates_are_refused_across_files(tmp_path):
    """Two files of one epoch and band with the same object are a problem; with 'first' or 'best' they are not."""
    plain = {"measurements": {"g": {"value": "mag"}}}
    write_table(tmp_path / "night_1_a.csv", columns())
    write_table(tmp_path / "night_1_b.csv", columns(rows=1))
    _, (reports, _) = looked(tmp_path, how(**plain))
    assert [problem.code for problem in reports[0].problems] == ["duplicates"]
    assert str(2**60) in reports[0].problems[0].found
    for policy in ("first", "best"):
        _, (reports, _) = looked(tmp_path, how(**plain, duplicates=policy))
        assert reports[0].problems == ()


@pytest.mark.parametrize(
    ("second", "told"),
    [({"filter": "r"}, "filters g, r in epoch 1"), ({"unit": "mmag"}, "units mag, mmag of measurement m")],
)
def test_files_of_one_epoch_must_agree(tmp_path, second, told):
    """One epoch has one filter, and one measurement one unit."""
    for name, each in (("a", {"filter": "g", "unit": "mag"}), ("b", {"filter": "g", "unit": "mag"} | second)):
        rows = columns(id=np.array([1, 2, 3]) + 10 * ord(name))
        write_table(
            tmp_path / f"night_1_{name}.fits",
            rows,
            meta={"FILT": each["filter"]},
            units={"mag": each["unit"]},
        )
    _, (reports, _) = looked(tmp_path, how(filter={"header": "FILT"}, measurements={"m": {"value": "mag"}}))
    assert told in str(reports[0].problems[0])


def test_an_epoch_needs_a_time(tmp_path):
    """An epoch in which no row says anything, and whose header has no time, is refused."""
    write_table(tmp_path / "night_1_g.csv", columns(mag=np.full(3, np.nan)))
    _, (reports, _) = looked(tmp_path)
    assert "no row with a time in epoch 1" in str(reports[0].problems[0])


@pytest.mark.parametrize(("new_objects", "refused"), [("ignore", False), ("refuse", True)])
def test_new_objects_are_refused_if_asked(tmp_path, new_objects, refused):
    """Rows of objects that the table lacks are a problem only if they shall be."""
    write_table(tmp_path / "night_1_g.csv", columns())
    asked = how({"new_objects": new_objects})
    objects = given_objects(pd.DataFrame({"id": [2**60, 5]}), asked, None)
    _, (reports, _) = looked(tmp_path, asked, objects=objects)
    assert [problem.code for problem in reports[0].problems] == ["new-objects"] * refused
    if refused:
        assert "2 of 3 rows" in reports[0].problems[0].found


def test_digests_tell_what_was_read_and_how(tmp_path):
    """The same rows have the same digest in any format, other rows or another specification another one."""
    digests = {}
    cases = {
        "plain": ("csv", {}),
        "fits": ("fits", {}),
        "extra": ("csv", {"other": np.ones(3)}),
        "changed": ("csv", {"mag": np.ones(3)}),
    }
    for case, (suffix, changes) in cases.items():
        write_table(tmp_path / case / f"night_1_g.{suffix}", columns(**changes))
        digests[case] = looked(tmp_path / case)[1].reports[0].digest
    digests["spec"] = looked(tmp_path / "plain", how(value_range=(0, 50)))[1].reports[0].digest
    assert digests["plain"] == digests["fits"] == digests["extra"]
    assert len({digests["plain"], digests["changed"], digests["spec"]}) == 3


@pytest.mark.parametrize(("duplicates", "same"), [("best", True), ("first", False)])
def test_the_order_of_files_counts_only_where_the_first_row_wins(tmp_path, duplicates, same):
    """Renaming files so that they swap places changes the digest only where their order decides."""
    asked = how(measurements={"g": {"value": "mag"}}, duplicates=duplicates)
    digests = []
    for names in (("a", "b"), ("b", "a")):
        for name, rows in zip(names, (2, 3), strict=True):
            write_table(tmp_path / names[0] / f"night_1_{name}.csv", columns(rows=rows))
        digests.append(looked(tmp_path / names[0], asked)[1].reports[0].digest)
    assert (digests[0] == digests[1]) is same


@pytest.mark.parametrize(
    ("files", "batches"),
    [(["a", "b", "c"], [1, 1, 1]), (["a", "a", "a"], [3]), (["a", "a", "b"], [2, 1]), ([], [])],
)
def test_work_is_cut_by_the_size_of_files(files, batches):
    """Epochs go to the map in batches of so many bytes; epochs of one file stay together."""
    sizes = []

    def counted(_, asked):
        sizes.extend(len(batch) for batch in asked)
        return []

    sources = {name: Source(folder="f", key=name, etag="", size=40 << 20) for name in files}
    epochs = [EpochSources(key=str(index), sources=(sources[name],)) for index, name in enumerate(files)]
    inspect_all(epochs, how(), None, map=counted)
    assert sizes == batches


def test_a_file_of_many_epochs_is_read_once(tmp_path):
    """What was read is kept for the next epoch, and read again once the file changes."""
    asked = how(epoch={"column": "mjd"}, measurements={"g": {"value": "mag"}})
    path = write_table(tmp_path / "all_g.csv", columns())
    (source,) = find_catalogues(path)
    assert load_file(source, asked, None) is load_file(source, asked, None)
    write_table(path, columns(rows=2))
    assert load_file(find_catalogues(path)[0], asked, None).interpreted.epochs[0].rows == 2


@pytest.mark.parametrize("size", [1000, 1 << 30])
def test_files_that_share_epochs_are_read_once(tmp_path, size):
    """Epochs that lie in the same five files read each file once; of files larger than that, few others are kept."""
    asked = how(epoch={"column": "mjd"}, measurements={"g": {"value": "mag"}})
    paths = [write_table(tmp_path / f"object_{number}.csv", columns()) for number in range(5)]
    sources = tuple(each.model_copy(update={"size": size}) for each in find_catalogues(paths))
    epoch = EpochSources(key=discover(sources, asked, None, map).epochs[0].key, sources=sources)
    load_epoch(epoch, asked, None)
    before = [load_file(source, asked, None, kept=5) for source in sources]
    load_epoch(epoch, asked, None)
    after = [load_file(source, asked, None, kept=5) for source in sources]
    assert all(one is other for one, other in zip(before, after, strict=True))
    load_file(sources[0], how(epoch={"column": "mjd"}, measurements={"x": {"value": "mag"}}), None)
    kept = load_file(sources[1], asked, None, kept=5) is before[1]
    assert kept == (size == 1000)


def test_an_epoch_that_is_gone_is_refused(tmp_path):
    """An epoch that its files no longer hold is bad input; a file that changed is a conflict."""
    asked = how(epoch={"column": "mjd"}, measurements={"g": {"value": "mag"}})
    path = write_table(tmp_path / "all_g.csv", columns())
    (source,) = find_catalogues(path)
    with pytest.raises(BadInput, match="no rows of epoch 5"):
        load_epoch(EpochSources(key="5", sources=(source,)), asked, None)
    plain = how()
    epoch = EpochSources(
        key="1", sources=find_catalogues(write_table(tmp_path / "n" / "night_1_g.csv", columns()))
    )
    write_table(tmp_path / "n" / "night_1_g.csv", columns(rows=2))
    with pytest.raises(Conflict):
        load_epoch(epoch, plain, None)
