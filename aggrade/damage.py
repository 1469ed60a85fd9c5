"""Sentences of a report as what an error is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.errors import Damaged, Problem, Refused, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["damage_of", "raise_damage"]

_UPDATE = "update aggrade, then try again"


def damage_of(sentences: Iterable[str]) -> list[Problem]:
    """Return sentences of a report, each of which names a place and mostly a remedy, as what an error is made of.

    >>> damage_of(["s3://lab/a.zarr: 2 objects are missing; restore a backup."])[0].fix
    'restore a backup'
    """
    return [_damage(sentence.rstrip(".")) for sentence in dict.fromkeys(sentences)]


def _damage(sentence: str) -> Problem:
    where, _, told = sentence.partition(": ")
    what, remedied, fix = told.removeprefix("found ").rpartition("; ")
    advice = fix if remedied else "restore a backup, or append the layer again"
    found, is_told, expected = (what or told).rpartition(", expected ")
    wanted = expected if is_told else "what the receipts say"
    return Problem(where, found if is_told else expected, wanted, advice, "verify")


def raise_damage(problems: Sequence[Problem]) -> None:
    """Raise one error that names all that is wrong, or return if nothing is.

    Parameters
    ----------
    problems
        As `damage_of` returns them.

    Raises
    ------
    Damaged
        If anything is not what its receipts say.
    Refused
        If all that is wrong is that a newer aggrade has written what this one can't judge.
    """
    is_newer = all(problem.fix == _UPDATE for problem in problems)
    raise_all(problems, Refused if is_newer else Damaged)
