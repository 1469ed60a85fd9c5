"""Disks that say how much room they have left."""

from __future__ import annotations

import shutil
from typing import NamedTuple

import pytest

__all__ = ["Usage", "disk"]


class Usage(NamedTuple):
    """What a disk says of itself, in bytes."""

    total: int
    used: int
    free: int


@pytest.fixture
def disk(monkeypatch):
    """Return a function that sets how many bytes every disk has left."""

    def leave(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2 * free, free, free))

    return leave
