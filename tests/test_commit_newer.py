"""What a newer aggrade wrote is told from what is torn."""

from __future__ import annotations

import json

import pytest

from aggrade.commit.layers import LayerRecord, Removal
from aggrade.commit.newer import is_newer, refuse_newer
from aggrade.errors import Refused
from aggrade.receipt import Receipt

RECEIPT = {"kind": "append", "store": "a.zarr", "write_id": "w", "generation": 1}
RECORD = {"label": "a", "index": 0, "digest": "d", "write_id": "w", "generation": 1}
GONE = {"removed": True, "generation": 1}
TORN = [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe", b"{}"]


@pytest.mark.parametrize("change", [{"moon": "full"}, {"format": 2}, {"generation": "later"}])
def test_keys_and_values_of_a_newer_version(change):
    """A whole document with what this version does not know is none of its own."""
    assert is_newer(json.dumps(RECEIPT | change).encode(), Receipt)
    for entry in (RECORD, GONE, RECORD | {"former": GONE}):
        assert is_newer(json.dumps(entry | change).encode(), LayerRecord, Removal)
    assert is_newer(json.dumps(RECORD | {"former": GONE | change}).encode(), LayerRecord, Removal)


def test_what_this_version_knows():
    """It is not newer."""
    assert not is_newer(json.dumps(RECEIPT).encode(), Receipt)
    for entry in (RECORD, GONE, RECORD | {"former": GONE}):
        assert not is_newer(json.dumps(entry).encode(), LayerRecord, Removal)


@pytest.mark.parametrize("key", RECORD)
def test_a_record_that_lacks_a_key_is_torn(key):
    """So it is mended."""
    lacking = {name: value for name, value in RECORD.items() if name != key}
    assert not is_newer(json.dumps(lacking).encode(), LayerRecord, Removal)


@pytest.mark.parametrize("data", TORN, ids=["empty", "cut", "list", "deep", "bytes", "bare"])
def test_what_is_torn_is_not_newer(data):
    """It is passed by the guard, so that it can be mended."""
    assert not is_newer(data, Receipt)
    refuse_newer("a receipt", data, Receipt)


def test_it_is_refused():
    """With the one thing to do."""
    with pytest.raises(Refused, match=r"a receipt: found .*; update aggrade, then try again") as caught:
        refuse_newer("a receipt", json.dumps(RECEIPT | {"moon": "full"}).encode(), Receipt)
    assert caught.value.code == "newer-version"
