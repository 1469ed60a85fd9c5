"""A mistyped rule, or what is no dataset, is told before anything is read."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from make_datasets import make_session

import aggrade
from aggrade.append_arguments import check_arguments
from aggrade.errors import BadInput, Refused

RULES = {"on_conflict": "refuse", "backup": "touched", "channels": "union"}


def test_known_rules():
    """What is documented passes."""
    check_arguments(xr.Dataset({"x": ("t", [1])}), **RULES)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("value", ["Refuse", "", None, "bogus"])
def test_other_rules(name, value):
    """Any other is refused, with those that there are."""
    with pytest.raises(BadInput, match=f"{name}: found {value!r}.*or '") as caught:
        check_arguments(xr.Dataset(), **RULES | {name: value})
    assert caught.value.code == f"{name.replace('_', '-')}-rule"


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_mistyped_rule_replaces_nothing(tmp_path, dry_run):
    """The layer that is there stays the one that shows."""
    first, other = make_session("s1", 2, 1), make_session("s1", 2, 2)
    aggrade.append(first, f"{tmp_path}/windows.zarr")
    with pytest.raises(BadInput, match="'refuse' or 'replace'"):
        aggrade.append(other, f"{tmp_path}/windows.zarr", on_conflict="Refuse", dry_run=dry_run)
    assert (aggrade.open_windows(str(tmp_path))["eeg"].values == first["eeg"].values).all()


@pytest.mark.parametrize("given", [None, xr.DataArray([1]), {"x": 1}])
def test_what_is_no_dataset(tmp_path, given):
    """An array, or nothing, is told from a dataset."""
    with pytest.raises(BadInput, match=r"xarray\.Dataset"):
        aggrade.append(given, f"{tmp_path}/windows.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_a_dimension_twice_and_all_else_at_once(tmp_path):
    """Every problem is in one error."""
    square = xr.Dataset({"x": (("session", "t", "t"), [[[1.0]]])}, {"session": ["s1"]})
    with pytest.raises(BadInput) as caught:
        aggrade.append(square, f"{tmp_path}/windows.zarr", backup="all")
    assert {problem.code for problem in caught.value.problems} == {"dimension-twice", "backup-rule"}


@pytest.mark.parametrize("url", ["s3://", "s3:/", "s3:"])
def test_no_bucket(tmp_path, monkeypatch, url):
    """A scheme without a bucket is no folder of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="bucket"):
        aggrade.append(make_session("s1", 2, 1), url)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("url", [None, 3, b"/data", "/data\0"])
@pytest.mark.parametrize(
    "call",
    [
        lambda url: aggrade.append(make_session("s1", 2, 1), url),
        lambda url: aggrade.remove(url, "s1"),
        lambda url: aggrade.WindowReader(url, 4),
        aggrade.verify,
        aggrade.open_windows,
    ],
)
def test_no_url(url, call):
    """What is neither text nor a path is told by what it is, and so is a name that no file can have."""
    with pytest.raises(BadInput, match=r"store: found .*expected a path, file://"):
        call(url)


def test_a_path_is_as_good_as_its_name(tmp_path):
    """Every verb takes one."""
    aggrade.append(make_session("s1", 2, 1), tmp_path)
    aggrade.append(make_session("s2", 2, 2), tmp_path)
    receipt = aggrade.remove(tmp_path, "s1")
    aggrade.restore(tmp_path, receipt.backup)
    assert aggrade.recover(tmp_path) is None
    assert (
        len(aggrade.list_backups(tmp_path)) == len(aggrade.prune_backups(tmp_path, keep=0, dry_run=True)) == 3
    )
    assert list(aggrade.read_catalogue(tmp_path)["session"]) == ["s1", "s2"]
    assert list(aggrade.open_windows(tmp_path)["session"].values) == ["s1", "s2"]
    assert len(aggrade.WindowReader(tmp_path, 2)) == 2
    assert (
        aggrade.rechunk(tmp_path / "windows.zarr", tmp_path / "windows_for_training.zarr").kind == "rechunk"
    )
    assert aggrade.verify(tmp_path).ok


@pytest.mark.parametrize("name", ["label", "x"])
def test_text_that_is_no_unicode(tmp_path, name):
    """Half a surrogate pair, which no file can hold, is named with its variable."""
    broken = np.array(["\ud800"])
    layer = xr.Dataset({"x": ("session", ["fine"])}, {"session": ["s1"]})
    changed = layer.assign_coords(session=broken) if name == "label" else layer.assign(x=("session", broken))
    with pytest.raises(Refused, match="half a surrogate pair"):
        aggrade.append(changed, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", [{"units": "days"}, {"dtype": "nope"}, {"scale_factor": "a"}])
def test_an_encoding_that_does_not_fit(tmp_path, encoding):
    """What a file once said of other values is told with what to do about it."""
    layer = xr.Dataset({"x": ("session", [1.5])}, {"session": ["s1"]})
    layer["x"].encoding = encoding
    with pytest.raises(BadInput, match=r"drop_encoding"):
        aggrade.append(layer, tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_words_for_what_there_is(tmp_path):
    """A label, a backup or a number of another type is told before anything is looked for."""
    aggrade.append(make_session("s1", 2, 1), tmp_path)
    with pytest.raises(BadInput, match="label: found 1, expected text"):
        aggrade.remove(tmp_path, 1)
    with pytest.raises(BadInput, match="no backup '3'"):
        aggrade.restore(tmp_path, 3)
    with pytest.raises(BadInput, match="keep: found 'x'"):
        aggrade.prune_backups(tmp_path, keep="x")


@pytest.mark.parametrize("grow", ["session", ("session", "window")])
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_grows_beside_the_sessions(tmp_path, grow, dry_run):
    """The dimension of the sessions is none along which each of them may be longer; nothing is written."""
    with pytest.raises(BadInput, match=r"grow: found .*'session'.*leave 'session' out") as caught:
        aggrade.append(make_session("s1", 2, 1), f"{tmp_path}/windows.zarr", grow=grow, dry_run=dry_run)
    assert caught.value.code == "grow-dimension"
    assert not list(tmp_path.iterdir())
