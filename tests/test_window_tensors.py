"""Tensors are made where torch is there; where it isn't, the reader says so."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from make_windows import numbered, write_windows

from aggrade import WindowReader
from aggrade.errors import BadInput


@pytest.fixture
def root(tmp_path):
    """Return a dataset root with one session of six windows."""
    write_windows(numbered(["a"], [6]), tmp_path / "windows.zarr")
    return str(tmp_path)


def test_without_torch_tensors_are_refused(root, monkeypatch):
    """The error names what is missing and what works without it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BadInput, match='pip install torch, or leave framework="numpy"') as caught:
        WindowReader(root, 4, framework="torch")
    assert caught.value.code == "no-torch"
    reader = WindowReader(root, 4)
    with pytest.raises(BadInput, match="pip install torch"):
        reader.torch_dataset()
    assert len(list(reader)) == 2


def test_tensors_hold_what_arrays_hold(root):
    """With torch, each array of numbers is a tensor of the same values, and sessions are a list of text."""
    torch = pytest.importorskip("torch")
    for tensors, arrays in zip(WindowReader(root, 4, framework="torch"), WindowReader(root, 4), strict=True):
        assert set(tensors) == set(arrays)
        assert tensors["session"] == list(arrays["session"])
        for name in set(arrays) - {"session"}:
            assert isinstance(tensors[name], torch.Tensor)
            np.testing.assert_array_equal(tensors[name].numpy(), arrays[name])
    assert isinstance(WindowReader(root, 4, framework="torch").window("a", 1)["eeg"], torch.Tensor)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_takes_the_reader(root, workers):
    """With workers or without, an epoch of a data loader has each window once."""
    torch = pytest.importorskip("torch")
    dataset = WindowReader(root, 2, framework="torch").torch_dataset()
    context = {"multiprocessing_context": "spawn"} if workers else {}
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers, **context)
    windows = [int(window) for batch in loader for window in batch["window"]]
    assert sorted(windows) == list(range(6))
