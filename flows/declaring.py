"""One way to declare a flow, so that its signature and docstring feed the UI's form and the command line's help.

Flows carry numpydoc docstrings like everything else. Prefect reads descriptions of parameters from Google's
form only, so a declared flow's ``__doc__`` is that: made from the numpydoc text, never written by hand.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import docstring_parser
from docstring_parser import DocstringStyle
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.task_runners import ThreadPoolTaskRunner

from aggrade.errors import BadInput, Problem
from aggrade.settings import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prefect.futures import PrefectFuture
    from prefect.task_runners import TaskRunner

__all__ = ["DeclaredFlow", "declare"]

_CLASS = re.compile(r" or instance of [\w.]+")

P = ParamSpec("P")
R = TypeVar("R")


_PREFECTS = {"return_state", "wait_for"}


class DeclaredFlow(Flow[P, R]):
    """A flow whose wrong parameters are `BadInput`, like every other wrong input."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow.

        Raises
        ------
        BadInput
            Naming a parameter that is missing or unknown.
        """
        try:
            inspect.signature(self.fn).bind(*args, **{k: v for k, v in kwargs.items() if k not in _PREFECTS})
        except TypeError as error:
            raise BadInput(_wrong(self.name, str(error), kwargs)) from error
        return super().__call__(*args, **kwargs)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as the types that the signature names.

        Raises
        ------
        BadInput
            Naming every parameter that is wrong.
        """
        try:
            return super().validate_parameters(parameters)
        except ParameterTypeError as error:
            lines = [line.removeprefix(" - ") for line in str(error).splitlines() if line.startswith(" - ")]
            raise BadInput(
                *(_wrong(self.name, line, parameters) for line in lines or [str(error)])
            ) from error


def _wrong(flow: str, line: str, parameters: Mapping[str, Any]) -> Problem:
    """Say what is wrong with a parameter, of which pydantic says ``windows.size: Input should be …``."""
    where, is_named, why = line.partition(": ")
    _, is_told, wanted = why.partition("Input should be ")
    _, is_ours, sentence = why.partition("Value error, ")
    found = _given(parameters, where.split(".")) if is_told or is_ours else why or line
    expected = (
        _CLASS.sub("", wanted).replace("a valid dictionary", "names and values")
        or "what the form and --help describe"
    )
    fix = sentence or "correct it and run again"
    return Problem(f"parameter {where if is_named else flow}", found, expected, fix, "parameter")


def _given(parameters: Any, path: Sequence[str]) -> str:
    """Return the value that was given, as far as the path leads to it."""
    value = parameters
    for name in path:
        is_there = isinstance(value, Mapping) and name in value
        value = value[name] if is_there else getattr(value, name, value)
    return textwrap.shorten(repr(value), 80, placeholder=" …")


def declare(name: str, *, run_name: str) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Turn a function into a flow with a form that explains itself.

    Parameters
    ----------
    name
        The flow's name, with dashes.
    run_name
        What a run is called, with parameters in braces.

    Returns
    -------
    callable
        A decorator. The flow validates its parameters, keeps its receipts as JSON and runs light tasks on as
        many threads as there are cores.
    """

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        text = docstring_parser.parse(inspect.getdoc(function) or "", DocstringStyle.NUMPYDOC)
        for parameter in text.params:
            parameter.description = " ".join((parameter.description or "").split())
        function.__doc__ = docstring_parser.compose(text, DocstringStyle.GOOGLE)
        threads = cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=cores()))
        return DeclaredFlow(
            function,
            name=name,
            description=text.description,
            flow_run_name=run_name,
            task_runner=threads,
            persist_result=True,
            result_serializer="json",
        )

    return decorate
