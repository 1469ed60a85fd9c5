"""Cache keys that a person can read: ``<task>/<version>/<parts>``.

A key is also the place of the result below the result storage, so the receipts in a folder or a bucket can be
found and read by hand. It changes with what a task reads and how, and with a version that is raised when the
task's meaning changes; it doesn't change when a docstring does (as `TASK_SOURCE` would), and never collides
with another task's (as `INPUTS` would).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from prefect.cache_policies import CachePolicy
from prefect.transactions import get_transaction
from pydantic import TypeAdapter, ValidationError

from aggrade.commit.newer import newer_problem
from aggrade.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prefect.context import TaskRunContext

__all__ = ["ReceiptKey", "digest_of", "readable", "refuse_newer_result", "understood"]

Result = TypeVar("Result")

_LONGEST_PART = 80
_DIGEST_LENGTH = 16


def digest_of(value: object) -> str:
    """Return a digest of a JSON-able value, a pydantic model or a dataclass, the same in every process.

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    plain = TypeAdapter(type(value)).dump_python(value, mode="json")
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def readable(part: object) -> str:
    """Return one part of a key as one legal, non-empty name of a folder, different for different parts.

    >>> readable("S 01/b"), readable("..")
    ('S%2001%2Fb', '%2E.')
    """
    text = str(part)
    name = quote(text, safe="") or "%"
    name = name.replace(".", "%2E", 1) if name.startswith(".") else name
    if len(name) > _LONGEST_PART:
        name = f"{name[: _LONGEST_PART - _DIGEST_LENGTH - 1]}-{digest_of(text)}"
    return name


def _all_inputs(inputs: Mapping[str, Any]) -> Iterable[object]:
    return inputs.values()


@dataclass
class ReceiptKey(CachePolicy):
    """The policy ``<task>/<version>/<parts>``.

    Parameters
    ----------
    version
        Raised by hand when the same inputs no longer give the same receipt.
    parts
        Makes the readable parts from the task's inputs; together they name everything the result depends on.
    """

    version: str = "v1"
    parts: Callable[[Mapping[str, Any]], Iterable[object]] = _all_inputs

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],  # noqa: ARG002 - the interface is Prefect's
        **_: Any,
    ) -> str:
        """Return the key of one task run."""
        return "/".join([task_ctx.task.name, self.version, *(readable(part) for part in self.parts(inputs))])


def refuse_newer_result() -> None:
    """Raise, within a task, if a newer aggrade has kept a result under this run's key.

    Prefect takes a result that it can't read for missing. One that a kill has torn is made again; one that is whole, but
    says what this version doesn't know, must not be replaced by what says less.

    Raises
    ------
    Refused
        Naming the result.
    """
    run = get_transaction()
    if run is None or run.store is None or not run.key:
        return
    try:
        run.store.read(run.key)
    except ValidationError as error:
        raise Refused(newer_problem(f"result {run.key}")) from error
    except Exception:  # noqa: BLE001 - missing, torn or out of reach: the task makes it, and its storage says what fails
        return


def understood(result: Result) -> Result:
    """Return what a task run has returned, now or in an earlier run.

    Raises
    ------
    Refused
        If it is of a class that this version doesn't have: Prefect gives such a result as the plain values of its JSON.
    """
    parts = result if isinstance(result, list) else [result]
    named = [part["__class__"] for part in parts if isinstance(part, Mapping) and "__class__" in part]
    if named:
        raise Refused(newer_problem(f"result of the class {named[0]}"))
    return result
