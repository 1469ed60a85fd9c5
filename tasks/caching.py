"""Cache keys that a person can read: ``<task>/<version>/<parts>``.

A key is also the place of the result below the result storage, so the receipts in a folder or a bucket can be
found and read by hand. It changes with what a task reads and how, and with a version that is raised when the
task's meaning changes; it doesn't change when a docstring does (as `TASK_SOURCE` would), and never collides
with another task's (as `INPUTS` would).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from prefect.cache_policies import CachePolicy
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prefect.context import TaskRunContext

__all__ = ["ReceiptKey", "digest_of", "readable"]

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
