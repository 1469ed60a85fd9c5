"""Windows as torch tensors. torch is imported when it is first asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from aggrade.errors import BadInput, Problem

__all__ = ["as_tensors", "import_torch"]


def import_torch() -> Any:
    """Return the module torch.

    Raises
    ------
    BadInput
        If it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        fix = 'pip install torch, or leave framework="numpy"'
        problem = Problem("torch", f"no such module ({error})", "torch", fix, "no-torch")
        raise BadInput(problem) from error
    return torch


def as_tensors(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with tensors in the place of arrays of numbers, sharing their memory, and lists of text."""
    torch = import_torch()
    return {
        name: array.tolist() if array.dtype.kind == "O" else torch.from_numpy(np.ascontiguousarray(array))
        for name, array in values.items()
    }
