"""What the demonstration's random reads cost, from a store and from its copy for reading."""

from __future__ import annotations

import io

import numpy as np
import pytest
from make_datasets import make_session
from make_stores import light_curves, write_light_curves
from rich.console import Console

import aggrade
from flows.demo_reads import Read, random_reads, show_reads
from flows.demo_terminal import Terminal

WINDOW, CURVE = "one random window", "one random light curve"


@pytest.fixture
def root(tmp_path):
    """Make a dataset with windows and light curves, each with its copy."""
    for number in range(3):
        aggrade.append(
            make_session(f"s{number}", 4, number), str(tmp_path / "windows.zarr"), chunks={"session": 1}
        )
    curves = light_curves(np.arange(8), np.arange(8.0), np.zeros(8))
    write_light_curves(curves, tmp_path, "lightcurves.zarr", objects=8, epochs=1)
    for name, copy, chunks in (
        ("windows", "windows_for_training", {"session": 1, "window": 1}),
        ("lightcurves", "lightcurves_by_object", {"object": 1, "epoch": -1}),
    ):
        aggrade.rechunk(str(tmp_path / f"{name}.zarr"), str(tmp_path / f"{copy}.zarr"), chunks=chunks)
    return str(tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_each_item_is_read_from_both(root, seed):
    """The copy is asked for less: a light curve is a chunk of each array there, and a chunk of each epoch where it was written."""
    reads = list(random_reads(root, np.random.default_rng(seed)))
    assert [(read.what, read.store.rpartition("/")[2]) for read in reads] == [
        (WINDOW, "windows.zarr"),
        (WINDOW, "windows_for_training.zarr"),
        (CURVE, "lightcurves.zarr"),
        (CURVE, "lightcurves_by_object.zarr"),
    ]
    written, trained, epochs, objects = reads
    assert written.requests == trained.requests == 1
    assert trained.bytes_read < written.bytes_read
    assert (epochs.requests, objects.requests) == (2 * 6, 2)
    assert objects.bytes_read < epochs.bytes_read
    assert all(read.seconds > 0 for read in reads)


def test_what_has_no_copy_is_left_out(root, tmp_path):
    """Nothing is compared where there is nothing to compare with, and nothing at all where nothing lies."""
    (tmp_path / "windows_for_training.zarr").rename(tmp_path / "elsewhere")
    assert {read.what for read in random_reads(root, np.random.default_rng(0))} == {CURVE}
    assert list(random_reads(str(tmp_path / "nowhere"), np.random.default_rng(0))) == []


def test_each_read_is_a_line(root):
    """Requests, bytes and milliseconds, and where they went."""
    shown = io.StringIO()
    show_reads(Terminal(Console(file=shown, width=200)), root)
    lines = shown.getvalue().splitlines()
    assert len(lines) == 4
    assert all(" request" in line and " ms, from " in line and "B, " in line for line in lines)
    assert str(Read(WINDOW, "x", 1, 1500, 0.0123)) == "1 request, 1.5 kB, 12.3 ms"
