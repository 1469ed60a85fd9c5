"""Train a small model to tell the labels of windows apart, on whatever recordings lie in a dataset root.

    aggrade ingest recordings data --windows '{"window_size_s": 5, "mapping": {"rest": 0, "left": 1}}'
    python examples/train_windows.py data [--epochs 5] [--modality eeg] [--framework torch|numpy] [--state state.json]

With torch a small convolutional network is trained (braindecode's `ShallowFBCSPNet` where braindecode is installed),
without it a logistic regression on the spread of each channel. Every fifth session is kept for testing, windows
with half of their samples or more are used, and what is missing in them is 0. With ``--state`` the place in the epoch is written
after each batch, and a run that was stopped reads on from there, with a new model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import aggrade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Labels = NDArray[np.int64]


class Logistic:
    """Logistic regression on the logarithm of each channel's standard deviation, with plain NumPy.

    Parameters
    ----------
    channels, classes
        How many.
    rate
        Learning rate.
    """

    def __init__(self, channels: int, classes: int, rate: float = 0.5) -> None:
        self.weights = np.zeros((channels + 1, classes))
        self.rate = rate

    def _features(self, samples: Samples) -> NDArray[np.float64]:
        spread = np.log(samples.std(axis=2, dtype=np.float64) + 1e-6)
        return np.column_stack([spread, np.ones(len(samples))])

    def learn(self, samples: Samples, labels: Labels) -> float:
        """Take a step on a batch (window, channel, sample); return the loss before it."""
        features = self._features(samples)
        scores = features @ self.weights
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = float(-np.log(odds[rows, labels] + 1e-12).mean())
        odds[rows, labels] -= 1
        self.weights -= self.rate * features.T @ odds / len(labels)
        return loss

    def guess(self, samples: Samples) -> Labels:
        """Return the likeliest class of each window."""
        return np.asarray((self._features(samples) @ self.weights).argmax(axis=1))


class Network:
    """A small convolutional network in torch.

    Parameters
    ----------
    channels, classes, length
        Channels, classes, samples of a window.
    """

    def __init__(self, channels: int, classes: int, length: int) -> None:
        import torch

        self.torch = torch
        torch.manual_seed(0)
        self.model = _network(channels, classes, length)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-3)

    def learn(self, samples: Samples, labels: Labels) -> float:
        """Take a step on a batch (window, channel, sample); return the loss before it."""
        self.model.train()
        scores = self.model(self.torch.from_numpy(samples))
        loss = self.torch.nn.functional.cross_entropy(scores, self.torch.from_numpy(labels))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())

    def guess(self, samples: Samples) -> Labels:
        """Return the likeliest class of each window."""
        self.model.eval()
        with self.torch.no_grad():
            return np.asarray(self.model(self.torch.from_numpy(samples)).argmax(dim=1).numpy())


def _network(channels: int, classes: int, length: int) -> Any:
    from torch import nn

    try:
        from braindecode.models import ShallowFBCSPNet
    except ImportError:
        kernel, step = min(25, length), max(1, length // 50)
        return nn.Sequential(
            nn.Conv1d(channels, 16, kernel, stride=step, padding=kernel // 2),
            nn.BatchNorm1d(16),
            nn.ELU(),
            nn.Conv1d(16, 16, 5, padding=2),
            nn.ELU(),
            nn.AdaptiveAvgPool1d(8),
            nn.Flatten(),
            nn.Linear(128, classes),
        )
    return ShallowFBCSPNet(n_chans=channels, n_outputs=classes, n_times=length, final_conv_length="auto")


def shares(store: str) -> tuple[list[str], list[str]]:
    """Return the sessions to train on and to test on: of every five the last; of a single one both."""
    sessions = [str(session) for session in aggrade.open_windows(store)["session"].values]
    test = sessions[4::5] or sessions[-1:]
    return [session for session in sessions if session not in test] or test, test


def prepared(samples: Samples) -> Samples:
    """Return windows with each channel's mean and scale taken out, missing samples 0."""
    there = ~np.isnan(samples)
    count = np.maximum(there.sum(axis=2, keepdims=True), 1)
    whole = np.where(there, samples, 0)
    centred = np.where(there, whole - whole.sum(axis=2, keepdims=True) / count, 0)
    scale = np.sqrt(
        (centred**2).sum(axis=(1, 2), keepdims=True) / np.maximum(there.sum(axis=(1, 2), keepdims=True), 1)
    )
    return (centred / np.where(scale > 0, scale, 1)).astype(np.float32)


def train(
    store: str,
    *,
    modality: str = "eeg",
    framework: str = "numpy",
    epochs: int = 5,
    batch_size: int = 32,
    state: Path | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, float]:
    """Train and test a model.

    Parameters
    ----------
    store
        A dataset root.
    modality
        ``"eeg"`` or ``"fnirs"``.
    framework
        ``"torch"`` or ``"numpy"``.
    epochs, batch_size
        How long, and how many windows at once.
    state
        Where the place in the epoch is kept, or None.
    tell
        Takes a line per epoch.

    Returns
    -------
    dict
        ``loss`` of the last epoch and ``accuracy`` on the sessions that were kept for testing.
    """
    chosen: Mapping[str, Any] = {"label": (0, None), f"{modality}_coverage": (0.5, None)}
    training, testing = (
        aggrade.WindowReader(
            store, batch_size, seed=1, modalities=[modality], where={**chosen, "session": sessions}
        )
        for sessions in shares(store)
    )
    if state is not None and state.exists():
        training.load_state_dict(json.loads(state.read_text()))
    first = testing.window(testing.sessions[0], 0)[modality]
    classes = 1 + max(aggrade.open_windows(store)["label"].attrs["mapping"].values())
    model: Any = (
        Network(len(first), classes, first.shape[1])
        if framework == "torch"
        else Logistic(len(first), classes)
    )
    losses: list[float] = []
    while training.epoch < epochs:
        losses = list(_learned(model, training, modality, state))
        tell(f"epoch {training.epoch}: loss {np.mean(losses):.4f}")
    guessed = [model.guess(prepared(batch[modality])) == batch["label"] for batch in testing]
    accuracy = float(np.concatenate(guessed).mean())
    tell(f"{testing.windows} windows of sessions that were not trained on: {accuracy:.0%} right")
    return {"loss": float(np.mean(losses)) if losses else float("nan"), "accuracy": accuracy}


def _learned(model: Any, reader: aggrade.WindowReader, modality: str, state: Path | None) -> Iterator[float]:
    for batch in reader:
        yield model.learn(prepared(batch[modality]), batch["label"])
        if state is not None:
            state.write_text(json.dumps(reader.state_dict()))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--modality", choices=("eeg", "fnirs"), default="eeg")
    parser.add_argument("--framework", choices=("torch", "numpy"), default="torch")
    parser.add_argument("--state", type=Path)
    asked = parser.parse_args()
    train(
        asked.store,
        modality=asked.modality,
        framework=asked.framework,
        epochs=asked.epochs,
        state=asked.state,
    )


if __name__ == "__main__":
    main()
