"""Cache keys: readable, legal, stable, and different for whatever differs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tasks.caching import ReceiptKey, digest_of, readable


class Model(BaseModel):
    """A parameter model."""

    size: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """A parameter as a dataclass."""

    x: int


def _key(policy, task, **inputs):
    return policy.compute_key(SimpleNamespace(task=SimpleNamespace(name=task)), inputs, {})


def test_a_key_names_task_version_and_parts():
    """A key reads as task, version and the parts that were chosen, in order."""
    policy = ReceiptKey(version="v3", parts=lambda inputs: (inputs["store"], inputs["session"]))
    assert _key(policy, "window", store="root", session="sub 01", other=1) == "window/v3/root/sub%2001"


def test_tasks_never_share_a_key():
    """Two tasks with the same inputs have different keys."""
    assert _key(ReceiptKey(), "one", x=7) != _key(ReceiptKey(), "two", x=7)


def test_a_raised_version_forgets_old_results():
    """Raising the version changes every key."""
    assert _key(ReceiptKey(version="v1"), "one", x=7) != _key(ReceiptKey(version="v2"), "one", x=7)


@given(st.text())
def test_a_part_is_one_legal_folder_name(text):
    """Whatever a part holds, it is one path component, not hidden, not empty, and at most 80 bytes long."""
    name = readable(text)
    assert PurePosixPath(name).parts == (name,)
    assert name.isascii()
    assert name.isprintable()
    assert not name.startswith(".")
    assert 0 < len(name) <= 80


@given(st.text(), st.text())
def test_different_parts_have_different_names(first, second):
    """Two parts share a name only if they are equal."""
    assert (readable(first) == readable(second)) == (first == second)


def test_long_parts_that_differ_at_the_end_stay_apart():
    """A part too long for a name keeps its beginning and a digest of the whole."""
    first, second = "s" * 300 + "1", "s" * 300 + "2"
    assert readable(first) != readable(second)
    assert readable(first).startswith("s" * 60)


def test_a_digest_is_the_same_in_another_process():
    """The digest of a value doesn't depend on the process that works it out."""
    values = [{"b": 1, "a": [1.5, None]}, Model(size=2, names=("a", "b")), Point(3), "text"]
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from test_tasks_caching import Model, Point\nfrom tasks.caching import digest_of\n"
        f"print(*map(digest_of, {values!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest_of(value) for value in values]


def test_a_digest_tells_values_apart():
    """A digest changes with any field."""
    assert digest_of(Model(size=2, names=("a",))) != digest_of(Model(size=2.5, names=("a",)))


def test_a_digest_ignores_the_order_of_keys():
    """Dictionaries that are equal have the same digest."""
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
