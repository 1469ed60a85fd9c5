"""Arrays of every data type with values that show when they are mistaken for others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ["", "a", "Ωμέγα", "naïve", "x" * 5, "\n\t", "0", "日本"]


def random_values(shape: Sequence[int], dtype: Any, seed: int = 0) -> np.ndarray:
    """Return random values; floats with NaN and infinities among them, text with more than ASCII."""
    rng = np.random.default_rng(seed)
    count = math.prod(shape)
    if dtype is str or np.dtype(dtype).kind in "UTO":
        words = [WORDS[i] for i in rng.integers(0, len(WORDS), count)]
        kind = np.dtypes.StringDType() if dtype is str else np.dtype(dtype)
        return np.array(words, dtype=kind).reshape(shape)
    kind = np.dtype(dtype)
    if kind.kind == "S":
        return np.array([b"ab", b"", b"\xff\x01", b"abcd"], dtype=kind)[rng.integers(0, 4, count)].reshape(
            shape
        )
    if kind.kind in "fc":
        special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0])
        values = np.where(rng.random(count) < 0.3, special[rng.integers(0, 5, count)], rng.normal(size=count))
        return values.astype(kind).reshape(shape)
    return rng.integers(0, 2 if kind.kind == "b" else 100, count).astype(kind).reshape(shape)
