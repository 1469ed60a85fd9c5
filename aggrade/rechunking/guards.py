"""Reasons not to rechunk into a target, each a small function; all are reported together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dask.utils import parse_bytes

from aggrade.commit import read_intent
from aggrade.errors import BadInput, Problem
from aggrade.rechunking.plan import Compare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.commit import Snapshot
    from aggrade.rechunking.plan import SourceState
    from aggrade.storage import Storage

__all__ = ["memory_bound", "place_problems", "rule_problems", "target_problems"]


def memory_bound(asked: int | str, name: str = "max_memory") -> int:
    """Return a number of bytes, from a number or from text such as ``"1 GiB"``.

    Parameters
    ----------
    asked
        What a user gave.
    name
        The parameter that it was given as.

    Raises
    ------
    BadInput
        If it is neither, or not above 0.
    """
    try:
        bound = int(parse_bytes(asked)) if re.search(r"\d", str(asked)) else 0
    except (ValueError, TypeError, AttributeError, OverflowError):
        bound = 0
    if bound <= 0:
        fix = "give bytes or a size with its unit"
        raise BadInput(Problem(name, repr(asked), 'a size such as "1 GiB"', fix, "max-memory"))
    return bound


def rule_problems(compare: str, keep_versions: int) -> Iterator[Problem]:
    """Yield why there is no such comparison, which a mistyped word must not turn off, or no such number of versions."""
    if compare not in get_args(Compare):
        known = " or ".join(map(repr, get_args(Compare)))
        yield Problem("compare", repr(compare), known, "choose one of them", "compare-rule")
    if isinstance(keep_versions, bool) or keep_versions not in {0, 1}:
        expected = "0 or 1, since the version after the next takes the keys of the one before"
        yield Problem("keep_versions", repr(keep_versions), expected, "choose one of them", "keep-versions")


def place_problems(source: str, target: str) -> Iterator[Problem]:
    """Yield why two places can't be source and target: one lies in the other, or they are the same."""
    one, other = _resolved(source), _resolved(target)
    if one == other:
        yield _overlap(target, "the source itself")
    elif other.startswith(f"{one}/"):
        yield _overlap(target, f"a folder inside the source {source}")
    elif one.startswith(f"{other}/"):
        yield _overlap(target, f"a folder that holds the source {source}")


def _resolved(url: str) -> str:
    return url if "://" in url else str(Path(url).resolve())


def _overlap(target: str, found: str) -> Problem:
    return Problem(f"target {target}", found, "a place of its own", "name another target", "target-place")


def target_problems(target: Storage, before: Snapshot | None, state: SourceState) -> Iterator[Problem]:
    """Yield why what lies at the target must not be replaced.

    Parameters
    ----------
    target
        Where the result will lie.
    before
        What it shows now; None if it is no store.
    state
        The source that it will show.
    """
    if before is None:
        yield from _stray_problems(target)
    elif "source" in before.mark:
        if before.mark["source"]["store"] != state.store:
            yield _not_ours(
                target, f"the rechunked form of {before.mark['source']['store']}", f"one of {state.store}"
            )
    elif before.documents:
        yield _not_ours(
            target, "a store that was not made by rechunk", "nothing, or an earlier result of rechunk"
        )


def _stray_problems(target: Storage) -> Iterator[Problem]:
    """Yield what lies in a folder that is no store; where a first run died, it has an intent and is ours."""
    first = next(iter(target.list()), None)
    if first is not None and read_intent(target) is None:
        yield _not_ours(target, f"a folder with other objects, such as {first.key}", "an empty place")


def _not_ours(target: Storage, found: str, expected: str) -> Problem:
    return Problem(f"target {target.url}", found, expected, "name another target", "target-taken")
