"""The five classes of error, sorted by what a handler does about them.

::

    AggradeError
    ├── BadInput      the file or the parameter is wrong: fix it
    ├── Refused       a guard says no: a human decides
    ├── Conflict      somebody else won: plan again
    ├── Damaged       the store is not what its receipts say: verify, restore
    └── Unavailable   the store did not answer: retry

Every error says what was found, what was expected and what to do next. All of them survive pickling, so a
Dask worker or a Prefect task hands on exactly what was raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AggradeError",
    "BadInput",
    "Conflict",
    "Damaged",
    "Problem",
    "Refused",
    "Unavailable",
    "raise_all",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to say no.

    Parameters
    ----------
    where
        The file, variable, parameter or key that is concerned, as the user knows it.
    found
        What is there.
    expected
        What should be there.
    fix
        What to do next, as an imperative sentence without a full stop.
    code
        A stable, machine-readable name such as ``"channel-order"``.
    """

    where: str
    found: str
    expected: str
    fix: str
    code: str = "problem"

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, expected {self.expected}; {self.fix}."


class AggradeError(Exception):
    """Whatever aggrade raises on purpose.

    Parameters
    ----------
    *problems
        Every reason, at least one. All of them are reported at once.

    Attributes
    ----------
    problems : tuple of Problem
        The reasons.
    code : str
        The stable code of the first reason.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    @property
    def code(self) -> str:
        """The stable code of the first reason."""
        return self.problems[0].code

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return str(self.problems[0])
        return "\n".join(
            [f"{len(self.problems)} problems:", *(f"  - {problem}" for problem in self.problems)]
        )


class BadInput(AggradeError):  # noqa: N818 - the names say what happened, not that it is an error
    """A file or a parameter is wrong. Retrying cannot help; fixing it does."""


class Refused(AggradeError):  # noqa: N818
    """A guard says no. Nothing was written; a human decides."""


class Conflict(AggradeError):  # noqa: N818
    """Somebody else won. Nothing of theirs was touched; plan again and retry."""


class Damaged(AggradeError):  # noqa: N818
    """A store is not what its receipts say. Verify it, then restore a backup."""


class Unavailable(AggradeError):  # noqa: N818
    """The store did not answer. Retry later."""


def raise_all(problems: Iterable[Problem], error: type[AggradeError] = Refused) -> None:
    """Raise one error that names every problem, or return if there is none.

    Parameters
    ----------
    problems
        What the guards found.
    error
        The class to raise.

    Raises
    ------
    AggradeError
        Of class `error`, if there is any problem.
    """
    if found := tuple(problems):
        raise error(*found)
