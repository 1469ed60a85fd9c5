"""Receipts as values, as JSON and as a line of text."""

from __future__ import annotations

import json
import pickle

import pytest
from pydantic import ValidationError

from aggrade.receipt import Receipt


def receipt(**changes):
    """Return a receipt of an append of two layers."""
    fields = {
        "kind": "append",
        "store": "s3://bucket/windows.zarr",
        "write_id": "0123",
        "generation": 4,
        "dim": "session",
        "layers": {"ses 1/é": 0, "ses 2": 1},
        "objects": 12,
        "bytes_written": 3_400_000,
        "requests": {"PUT": 12},
        "seconds": 1.26,
    }
    return Receipt(**{**fields, **changes})


def test_survives_json():
    """A receipt that went through JSON says the same; names that are no identifiers survive."""
    text = receipt(details={"windows": 100, "nested": {"list": [1, None]}}).model_dump_json()
    assert Receipt.model_validate_json(text) == receipt(
        details={"windows": 100, "nested": {"list": [1, None]}}
    )
    assert json.loads(text)["layers"] == {"ses 1/é": 0, "ses 2": 1}


def test_survives_pickle():
    """A receipt that went through pickle says the same."""
    assert pickle.loads(pickle.dumps(receipt())) == receipt()


def test_is_small():
    """A receipt of a thousand layers takes a hundred bytes or so a layer."""
    layers = {f"session {number}": number for number in range(1000)}
    digests = dict.fromkeys(layers, "0" * 64)
    assert len(receipt(layers=layers, digests=digests).model_dump_json()) < 110_000


def test_cannot_be_changed():
    """A receipt is a value, whose fields are those that it has."""
    with pytest.raises(ValidationError):
        receipt().generation = 5
    with pytest.raises(ValidationError):
        receipt(surplus=1)
    with pytest.raises(ValidationError):
        receipt(generation="many")


def test_says_what_was_done():
    """The line of text names layers, store, generation, objects, bytes and seconds."""
    assert str(receipt()) == (
        "append ses 1/é, ses 2 → s3://bucket/windows.zarr (generation 4, 12 objects, 3,400,000 bytes, 1.3 s)"
    )


def test_names_three_layers():
    """Of more than three layers three are named."""
    many = receipt(layers={f"s{number}": number for number in range(5)})
    assert str(many).startswith("append s0, s1, s2 … → ")


def test_without_layers():
    """What has no layers names the store, once."""
    assert str(receipt(kind="recover", layers={})).startswith("recover → s3://bucket/windows.zarr (")


def test_a_recovery_says_which_way_it_went():
    """What was recovered is named with its write and its direction, not with counts of nothing."""
    told = str(receipt(kind="recover", layers={}, details={"rolled": "back", "what": "populate"}))
    assert told.startswith("recover: rolled populate (write ")
    assert ") back in s3://bucket/windows.zarr (generation " in told


def test_every_field_says_what_it_is():
    """Each field has a description that ends a sentence."""
    assert all(field.description.endswith((".", "…")) for field in Receipt.model_fields.values())


@pytest.mark.parametrize("undo", ["aggrade restore s3://bucket/windows.zarr 00000003-0123", None])
def test_it_follows_its_store(undo):
    """A store that was copied or moved is named where it lies; what could not be undone there, can't be here."""
    found = receipt(backup="00000003-0123", undo=undo).lying_at("/new place/windows.zarr")
    assert found.store == "/new place/windows.zarr"
    assert found.undo == (undo and "aggrade restore '/new place/windows.zarr' 00000003-0123")
    assert found.write_id == receipt().write_id
