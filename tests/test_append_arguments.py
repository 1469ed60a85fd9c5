"""A mistyped rule, or what is no dataset, is told before anything is read."""

from __future__ import annotations

import pytest
import xarray as xr
from make_datasets import make_session

import aggrade
from aggrade.append_arguments import check_arguments
from aggrade.errors import BadInput

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
