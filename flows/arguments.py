"""From a flow's signature to command-line arguments: one argument per parameter, one per field of a model.

``windows: WindowSpec`` becomes ``--windows`` (the whole, as JSON) and ``--windows.window-size-s`` and so on, each
with the description that the form in the UI shows. What is given is handed to the flow as it is: the flow's own
validation has the last word, so that the command line and the UI accept and refuse the same.
"""

from __future__ import annotations

import inspect
import json
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import docstring_parser
from cyclopts import Parameter
from pydantic import BaseModel

from flows.given_json import object_from, whole_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cyclopts import Token
    from prefect import Flow

__all__ = ["command_of", "from_text"]

_SIMPLE = (str, int, float, bool)
_JSON = ("{", "[", "@")
_PLACES = {"target"}
"""Parameters that may be left out, and that people name without a flag, as in ``cp SOURCE TARGET``."""


def command_of(flow: Flow[Any, Any]) -> Callable[..., Any]:
    """Return a function that a command line can call instead of a flow.

    Parameters
    ----------
    flow
        A declared flow.

    Returns
    -------
    callable
        Its signature has one parameter per argument, all text that needs it read as JSON.
    """
    signature = inspect.signature(flow.fn, eval_str=True)
    described = {p.arg_name: p.description or "" for p in docstring_parser.parse(flow.__doc__ or "").params}
    arguments = [a for p in signature.parameters.values() for a in _arguments(p, described.get(p.name, ""))]
    arguments.sort(key=lambda argument: argument.kind)

    def command(*positional: Any, **given: Any) -> Any:
        named = zip((argument.name for argument in arguments), positional, strict=False)
        parameters = _assembled({**dict(named), **given}, signature)
        flow.validate_parameters(parameters)
        return flow(**parameters)

    command.__name__ = flow.fn.__name__
    command.__doc__ = flow.description
    command.__signature__ = inspect.Signature(arguments)  # type: ignore[attr-defined]
    command.__annotations__ = {argument.name: argument.annotation for argument in arguments}
    return command


def _arguments(parameter: inspect.Parameter, description: str) -> Iterator[inspect.Parameter]:
    model = _model(parameter.annotation)
    required = parameter.default is inspect.Parameter.empty
    flag = f"--{_dashed(parameter.name)}"
    if model is None:
        default = inspect.Parameter.empty if required else parameter.default
        names = [flag] if not required else None
        argument = _argument(parameter.name, parameter.annotation, names, description, default)
        yield argument.replace(kind=parameter.kind) if _is_place(parameter) else argument
        return
    told = f"{description} The whole, as JSON or @FILE."
    yield _argument(parameter.name, dict[str, Any], [flag], told, None)
    for name, field in model.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        names = [f"{flag}.{_dashed(name)}"]
        yield _argument(
            f"{parameter.name}__{name}", field.annotation, names, field.description or "", default
        )


def _is_place(parameter: inspect.Parameter) -> bool:
    return parameter.name in _PLACES and parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _argument(
    name: str, annotation: Any, names: list[str] | None, description: str, default: Any
) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if names else inspect.Parameter.POSITIONAL_OR_KEYWORD
    shown = "" if default in (None, inspect.Parameter.empty, {}, ()) else f" [default: {default}]"
    simple = _simple(annotation)
    details: dict[str, Any] = {"help": description + shown, "show_default": False}
    if names:
        details["name"] = names
    if simple is None:
        details |= {
            "converter": _converter(f"parameter {name.replace('__', '.')}", annotation),
            "n_tokens": 1,
            "accepts_keys": False,
            "negative": (),
        }
    given: Any = Annotated[Any if simple is None else simple | None, Parameter(**details)]
    absent = inspect.Parameter.empty if not names else None
    return inspect.Parameter(name, kind, default=absent, annotation=given)


def _simple(annotation: Any) -> Any:
    """Return the type that the command line reads by itself, or None where the text is JSON."""
    options = [option for option in _options(annotation) if option is not type(None)]
    if len(options) != 1:
        return None
    return options[0] if options[0] in _SIMPLE or get_origin(options[0]) is Literal else None


def _options(annotation: Any) -> Sequence[Any]:
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]


def _is_list(annotation: Any) -> bool:
    return any(get_origin(option) in (tuple, list) for option in _options(annotation))


def _model(annotation: Any) -> type[BaseModel] | None:
    models = [each for each in _options(annotation) if isinstance(each, type) and issubclass(each, BaseModel)]
    return models[0] if models else None


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _converter(where: str, annotation: Any) -> Callable[[Any, Sequence[Token]], Any]:
    split, takes_text = _is_list(annotation), str in _options(annotation)
    is_model = annotation == dict[str, Any]

    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        text = tokens[0].value
        if is_model:
            return object_from(where, text)
        if text.startswith(_JSON) and not takes_text:
            return whole_json(where, text)
        return from_text(text, split=split)

    return convert


def from_text(text: str, *, split: bool = False) -> Any:
    """Read JSON where text is JSON; other text is itself, or a list of what stands between its commas.

    >>> from_text('{"epoch": 100}'), from_text("oid"), from_text("Fz,Cz", split=True)
    ({'epoch': 100}, 'oid', ['Fz', 'Cz'])
    """
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",")] if split else text


def _assembled(given: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return the flow's parameters: what was given, fields put into their models; what wasn't is left out."""
    assembled: dict[str, Any] = {
        name: value for name, value in given.items() if "__" not in name and value is not None
    }
    for name, value in given.items():
        whole, _, field = name.partition("__")
        if field and value is not None:
            assembled[whole] = {**assembled.get(whole, {}), field: value}
    for parameter in signature.parameters.values():
        if parameter.default is inspect.Parameter.empty and _model(parameter.annotation):
            assembled.setdefault(parameter.name, {})
    return assembled
