"""What values mean: a layer whose labels, rules or scales are other ones than its store's is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import xarray as xr
from make_datasets import make_session
from make_recordings import eeg_stream, marker_stream, nirs_stream, write_xdf
from make_stores import write_zarr
from memory_storage import World, open_world

import aggrade
from aggrade.commit import find_layer
from aggrade.errors import Refused
from aggrade.landing import land, plan_landing
from aggrade.staging import stage
from aggrade.storage import open_storage

__all__ = ["open_world"]

ROOT = "world://data"
STORE = f"{ROOT}/windows.zarr"
REST = {"rest": 0, "left": 1}
SWAPPED = {"left": 0, "rest": 1}


def session(label, mapping=None, values=(0, 1, -1), *, root=None, **attributes):
    """Return a session whose label, and root, have a mapping, and whose windows have these labels."""
    made = make_session(label, len(values), 1)
    made["label"].values[:] = values
    if mapping is not None:
        made["label"].attrs["mapping"] = mapping
    return made.assign_attrs(attributes | ({} if root is None else {"mapping": root}))


@dataclass
class Place:
    """Where a store is to lie: in memory."""

    world: World
    how: dict[str, Any]

    def opened(self):
        """Open what lies there."""
        return aggrade.open_windows(STORE, **self.how)


@pytest.fixture
def store(open_world):
    """Return where there is no store yet."""
    world = World()
    return Place(world, {"storage_options": open_world(world)})


def append(dataset, store, **how):
    """Append a session."""
    return aggrade.append(dataset, STORE, grow=("window",), **store.how, **how)


def refused(dataset, store, *codes):
    """Assert that a session is refused for these reasons, dry as well, and return them; nothing is written."""
    before = dict(store.world.objects)
    for dry in (True, False):
        with pytest.raises(Refused) as caught:
            append(dataset, store, dry_run=dry)
        assert [problem.code for problem in caught.value.problems] == list(codes)
    assert store.world.objects == before
    return caught.value.problems


class TestNamesOfLabels:
    """A code has one name, and a name one code, for all sessions."""

    def test_swapped(self, store):
        """Labels would read as the other class; both mappings are told, once, and what to do."""
        append(session("a", REST, root=REST), store)
        (problem,) = refused(session("b", SWAPPED, root=SWAPPED), store, "names")
        assert problem.where == "attribute 'mapping' of variable 'label'"
        assert (problem.found, problem.expected) == (str(SWAPPED), f"{REST}, as in the store")
        assert problem.fix == "cut it again with the store's mapping, or use another store"

    def test_with_all_else(self, store):
        """It is one of several reasons that are told together."""
        append(session("a", REST), store)
        wrong = session("b", SWAPPED, eeg_rate=500.0).drop_vars("window_start")
        refused(wrong, store, "missing-variable", "rate", "names")

    @pytest.mark.parametrize(
        "mapping",
        [
            {"rest": 1},
            {"left": 1, "rest": 2},
            {"right": 0},
            {"rest": 0, "right": 1},
            {"rest": 0, "left": 1, "right": 1},
            {"LEFT": 0},
        ],
    )
    def test_what_contradicts(self, store, mapping):
        """Another code of a name, or another name of a code, is refused, whichever windows there are."""
        append(session("a", REST), store)
        refused(session("b", mapping, (-1, -1)), store, "names")

    def test_a_name_that_would_be_lost(self, store):
        """A store keeps its mapping: windows of a code that has no name in it are refused, a name unused is not."""
        append(session("a", REST), store)
        more = {**REST, "right": 2}
        (problem,) = refused(session("b", more, (0, 2)), store, "names")
        assert problem.found == str(more)
        assert append(session("b", more, (0, 1)), store).details == {
            "left_out": ["attribute 'mapping.right' of variable 'label'"]
        }
        assert store.opened()["label"].attrs["mapping"] == REST

    def test_a_store_without_labels(self, store):
        """Where nothing was named, windows without a label are taken, and others have no name."""
        append(session("a", {}, (-1, -1), root={}), store)
        (problem,) = refused(session("b", REST, root=REST), store, "names")
        assert problem.expected == "no names, as in the store"
        assert "another store" in problem.fix
        append(session("b", REST, (-1, -1)), store)

    @pytest.mark.parametrize("mapping", [REST, {"left": 1}, {"Rest": 0.0, "LEFT": np.int16(1)}, {}, None])
    def test_what_agrees(self, store, mapping):
        """The same names, fewer, none at all, other capitals and types of numbers are taken."""
        append(session("a", REST), store)
        append(session("b", mapping), store)
        assert store.opened()["label"].values.tolist() == [[0, 1, -1]] * 2

    def test_capitals_that_differ_in_code(self, store):
        """Where capitals tell names apart, they do."""
        append(session("a", {"s": 0, "S": 1}), store)
        append(session("b", {"S": 1}), store)
        refused(session("c", {"S": 0}), store, "names")

    @pytest.mark.parametrize("stored", ["label", "root"])
    def test_wherever_it_stands(self, store, stored):
        """Readers take that of the label or the dataset's, so each is compared with whichever there is."""
        append(session("a", REST) if stored == "label" else session("a", root=REST), store)
        refused(session("b", SWAPPED), store, "names")
        refused(session("b", root=SWAPPED), store, "names")
        refused(session("b", REST, root=SWAPPED), store, "names")
        append(session("b", REST, root=REST), store)

    def test_a_store_of_another_tool(self, tmp_path):
        """Without a mapping there is nothing to compare; with one there is."""
        for name, own in (("none", None), ("some", REST)):
            write_zarr(session("a", own), tmp_path / f"{name}.zarr")
        aggrade.append(session("b", SWAPPED), tmp_path / "none.zarr", grow=("window",))
        with pytest.raises(Refused, match="mapping"):
            aggrade.append(session("b", SWAPPED), tmp_path / "some.zarr", grow=("window",))

    def test_many_names(self, store):
        """Of long mappings those are told that don't fit."""
        names = {f"m{code}": code for code in range(40)}
        append(session("a", names), store)
        (problem,) = refused(session("b", {**names, "m3": 30, "m30": 3}), store, "names")
        assert problem.found == "{'m3': 30, 'm30': 3, …} (40)"
        assert problem.expected == "{'m3': 3, 'm30': 30, …} (40), as in the store"

    @pytest.mark.parametrize("odd", ["rest: 0", ["rest"], {"rest": [0]}, {"a": {"b": 1}}, 7])
    def test_what_is_no_mapping(self, store, odd):
        """Attributes of that name that map nothing to a code are not compared, but not kept, as ever."""
        append(session("a", REST), store)
        assert append(session("b", odd), store).details["left_out"]

    def test_what_contains_itself(self, store):
        """What can't be looked at is refused for that."""
        append(session("a", REST), store)
        odd: dict = {}
        odd["rest"] = odd
        refused(session("b", odd), store, "attribute")

    def test_flags(self, store):
        """CF's names of flags are names of codes, too."""

        def flagged(label, meanings, values):
            made = session(label)
            made["label"].attrs |= {"flag_meanings": meanings, "flag_values": values}
            return made

        append(flagged("a", "rest left", np.array([0, 1], "i2")), store)
        (problem,) = refused(flagged("b", "left rest", [0, 1]), store, "names")
        assert problem.where == "attribute 'flag_meanings' of variable 'label'"
        append(flagged("b", "left rest", [1, 0]), store)
        append(flagged("c", "rest left", [0]), store)


class TestRecordings:
    """Sessions that are cut from recordings."""

    @pytest.fixture
    def recordings(self, tmp_path):
        """Write a recording with a marker in each second and one that lacks those of the left."""
        t = np.arange(4 * 256) / 256
        for name, texts in (("a", ["rest", "left"] * 2), ("b", ["left", "rest"] * 2), ("c", ["rest"] * 4)):
            folder = tmp_path / "recordings" / name
            folder.mkdir(parents=True)
            write_xdf(folder / "r.xdf", [eeg_stream(t), marker_stream(np.arange(4) + 0.5, texts)])
        return tmp_path / "recordings"

    def cut(self, recordings, name, **spec):
        """Cut one of them."""
        return aggrade.cut_windows(recordings / name, {"window_size_s": 1.0, "mapping": REST} | spec)

    def test_fewer_markers(self, recordings, store):
        """A recording without some of the markers has the whole mapping, and is taken."""
        append(self.cut(recordings, "a"), store)
        assert append(self.cut(recordings, "c"), store).details == {}
        refused(self.cut(recordings, "b", mapping=SWAPPED), store, "names")

    def test_through_staging(self, recordings, store):
        """A session that is staged meets the same guard, dry and not."""
        append(self.cut(recordings, "a"), store)
        other = self.cut(recordings, "b", mapping=SWAPPED)
        with pytest.raises(Refused, match="mapping"):
            plan_landing(other, ROOT, "b-1", **store.how)
        staged = stage(other, ROOT, "b-1", **store.how)
        with pytest.raises(Refused, match="mapping"):
            land(staged, STORE, **store.how)
        assert store.opened().sizes["session"] == 1

    def test_another_rule_of_labels(self, recordings, store):
        """Which of several markers labels a window is the store's; without labels it doesn't matter."""
        append(self.cut(recordings, "a"), store)
        (problem,) = refused(self.cut(recordings, "b", label="last"), store, "window-rule")
        assert problem.where == "attribute 'spec' of the dataset, label"
        assert (problem.found, problem.expected) == ("'last'", "'majority', as in the store")
        append(self.cut(recordings, "b", label="last", mapping={}), store)

    def test_other_offsets_of_trials(self, recordings, store):
        """Where a marker lies in its window is the store's, in seconds or in samples."""
        trials = {"window_size_s": 0.5, "window_stride_s": 0.5}
        append(self.cut(recordings, "a", **trials, trial_start_offset_s=-0.25), store)
        other = self.cut(recordings, "b", **trials, trial_start_offset_s=0.0)
        (problem,) = refused(other, store, "window-rule")
        assert problem.where == "attribute 'spec' of the dataset, trial_start_offset"
        assert (problem.found, problem.expected) == ("0 s", "-0.25 s, as in the store")
        append(self.cut(recordings, "b", **trials, trial_start_offset_samples=-64, label="first"), store)

    def test_offsets_of_one_modality(self, tmp_path, store):
        """Where a session lacks the EEG, its offset in samples counts those that it has."""
        t, nirs = np.arange(4 * 256) / 256, nirs_stream(np.arange(40) / 10)
        markers = marker_stream(np.arange(1, 4) + 0.0, ["rest", "left", "rest"])
        for name, streams in (("both", [eeg_stream(t), nirs]), ("one", [nirs])):
            (tmp_path / name).mkdir()
            write_xdf(tmp_path / name / f"{name}.xdf", [*streams, markers])
        spec = {"window_size_s": 0.5, "window_stride_s": 0.5}
        append(self.cut(tmp_path, "both", **spec, trial_start_offset_s=-0.5), store)
        other = self.cut(tmp_path, "one", **spec, trial_start_offset_samples=-10)
        (problem,) = refused(other, store, "window-rule")
        assert problem.found == "-1 s"
        append(self.cut(tmp_path, "one", **spec, trial_start_offset_samples=-5), store)

    def test_no_layer(self, recordings, store):
        """What holds no session is refused for that alone."""
        trial = self.cut(recordings, "a", window_size_s=0.5, trial_start_offset_s=0.0)
        append(trial, store)
        refused(trial.isel(session=[]), store, "label-missing")

    def test_other_settings(self, recordings, store):
        """What changes no number of a window, or suits one recording, is the session's own, and noted."""
        append(self.cut(recordings, "a"), store)
        own = {"line_hz": 60.0, "hold_markers": True, "start": "first", "drop_last_window": False}
        receipt = append(self.cut(recordings, "c", **own, on_missing="ignore", markers="markers"), store)
        assert receipt.details == {"left_out": ["attribute 'spec' of the dataset"]}

    @pytest.mark.parametrize("said", ["no JSON", "[1]", '{"label": 7}', 3, None, "[" * 9000])
    def test_what_is_no_specification(self, recordings, store, said):
        """A specification that can't be read is not compared."""
        append(self.cut(recordings, "a").assign_attrs(spec=said), store)
        append(self.cut(recordings, "b", label="last"), store)

    def test_a_specification_of_another_version(self, recordings, store):
        """Settings that aren't known do not hinder, and those that lack have their defaults."""
        said = json.dumps({"window_size_s": 1.0, "mapping": REST, "of_tomorrow": 1})
        append(self.cut(recordings, "a").assign_attrs(spec=said), store)
        refused(self.cut(recordings, "b", label="last"), store, "window-rule")


class TestScales:
    """Times and values on scales."""

    def epoch(self, key, **attributes):
        """Return one epoch."""
        variables = {
            "epoch_time": (
                "epoch",
                [60000.5],
                {name: value for name, value in attributes.items() if name != "system"},
            ),
            "lightcurves": (
                ("object", "epoch"),
                [[20.0]],
                {n: v for n, v in attributes.items() if n == "system"},
            ),
        }
        return xr.Dataset(variables, {"epoch": [key], "object": [1]})

    @pytest.mark.parametrize(
        ("name", "value", "other"),
        [
            ("time_scale", "tdb", "utc"),
            ("time_ref", "topocentric", "barycentric"),
            ("format", "mjd", "jd"),
            ("system", "AB", "Vega"),
        ],
    )
    def test_another_scale(self, store, name, value, other):
        """Numbers on another scale are other numbers; capitals don't matter, nor what one side alone says."""
        place, how = f"{ROOT}/lightcurves.zarr", {"dim": "epoch", **store.how}
        aggrade.append(self.epoch("1", **{name: value}), place, **how)
        for dry in (True, False):
            with pytest.raises(Refused, match=f"{name}.*{other}.*{value}") as caught:
                aggrade.append(self.epoch("2", **{name: other}), place, **how, dry_run=dry)
            assert caught.value.code == "scale"
        aggrade.append(self.epoch("2", **{name: value.swapcase()}), place, **how)
        aggrade.append(self.epoch("3"), place, **how)
        assert find_layer(open_storage(place, **store.how), "3").index == 2


class TestCounts:
    """How many windows are a session's own."""

    @pytest.mark.parametrize("count", [4, -1])
    @pytest.mark.parametrize("is_new", [False, True], ids=["store", "new store"])
    def test_more_windows_than_there_are(self, store, count, is_new):
        """Readers would show fill for the others."""
        if not is_new:
            append(make_session("s1", 3, 1), store)
        (problem,) = refused(counted("s2", count), store, "count")
        assert problem.where == "variable 'n_windows'"
        assert (problem.found, problem.expected) == (str(count), "at most 3, as many as there are")
        assert "count them again" in problem.fix

    @pytest.mark.parametrize("count", [0, 2, 3])
    def test_fewer_windows_are_fine(self, store, count):
        """Of several sessions in one dataset the shorter ones have fewer."""
        assert append(counted("s1", count), store).layers == {"s1": 0}


def counted(label, count):
    """Return a session of three windows that says to have so many."""
    return make_session(label, 3, 1).assign(n_windows=("session", np.array([count], np.int32)))
