"""The examples do what they say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from aggrade import WindowReader, append

PATH = Path(__file__).parents[1] / "examples" / "train_windows.py"


@pytest.fixture(scope="module")
def example():
    """Return the example as a module."""
    found = importlib.util.spec_from_file_location("train_windows", PATH)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return six sessions in which the label is which of two channels is loud, with a window of NaN in each."""
    path, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for number in range(6):
        label = rng.integers(0, 2, (1, 30)).astype("i2")
        samples = rng.standard_normal((1, 30, 2, 60)).astype("f4")
        samples[0, np.arange(30), label[0]] *= 5
        samples[0, 7] = np.nan
        window = ("session", "window")
        dataset = xr.Dataset(
            {
                "eeg": ((*window, "eeg_channel", "eeg_sample"), samples),
                "eeg_coverage": (window, 1 - np.isnan(samples[:, :, 0]).mean(axis=2, dtype="f4")),
                "label": (window, label, {"mapping": {"left": 0, "right": 1}}),
                "n_windows": ("session", np.array([30], "i4")),
            },
            {
                "session": np.array([f"s {number}"], object),
                "eeg_channel": np.array(["C3", "C4"], object),
            },
        )
        append(dataset, str(path), grow=("window",))
    return str(path)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_the_model_learns_what_can_be_learnt(example, root, framework):
    """On a session that it hasn't seen the model is right nearly always, with torch or without."""
    if framework == "torch":
        pytest.importorskip("torch")
    told = []
    found = example.train(
        root, framework=framework, epochs=20 if framework == "numpy" else 8, tell=told.append
    )
    assert found["accuracy"] > 0.9
    assert told[-1].startswith("29 windows of sessions that were not trained on")


def test_a_run_that_was_stopped_reads_on(example, root, tmp_path):
    """The place is kept after each batch, and the windows that were left are those that come next."""
    state = tmp_path / "state.json"
    example.train(root, epochs=1, batch_size=16, state=state, tell=lambda _: None)
    kept = json.loads(state.read_text())
    assert (kept["epoch"], kept["step"]) == (0, -(-5 * 29 // 16))
    state.write_text(json.dumps({**kept, "step": 3}))
    told = []
    example.train(root, epochs=1, batch_size=16, state=state, tell=told.append)
    assert [line.split(":")[0] for line in told] == [
        "epoch 1",
        "29 windows of sessions that were not trained on",
    ]


def test_what_is_missing_is_zero(example):
    """Windows are centred and scaled over what is there; NaN becomes 0."""
    window = np.array([[[1, 3, np.nan, np.nan], [10, 10, 10, 10]]], np.float32)
    np.testing.assert_allclose(
        example.prepared(window)[0, 0], np.array([-1, 1, 0, 0]) * np.sqrt(3), rtol=1e-6
    )
    assert (example.prepared(np.full((1, 2, 3), np.nan, np.float32)) == 0).all()


def test_sessions_to_test_on_are_not_trained_on(example, root):
    """Of six sessions the fifth is kept for testing."""
    training, testing = example.shares(root)
    assert (training, testing) == ([f"s {n}" for n in (0, 1, 2, 3, 5)], ["s 4"])
    assert WindowReader(root, 4, where={"session": testing}).windows == 30
