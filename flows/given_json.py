"""JSON that was given on the command line, and what is wrong with it."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from aggrade.errors import BadInput, Problem

__all__ = ["object_from", "text_of_file", "whole_json"]

_MOST = 80
_FIX = "write it to a file and name that: @spec.json"


def text_of_file(file: Path) -> str:
    """Return the text of a file that stands for an argument.

    Parameters
    ----------
    file
        The file.

    Raises
    ------
    BadInput
        If it can't be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        found, expected = f"a file that can't be read ({why})", "a text file"
        raise BadInput(
            Problem(str(file), found, expected, "check the file and its permissions", "json")
        ) from error


def whole_json(where: str, text: str) -> Any:
    """Return what JSON says.

    Parameters
    ----------
    where
        The parameter, for people.
    text
        What was given. ``@FILE`` has been replaced where there is such a file.

    Raises
    ------
    BadInput
        If it is no JSON, with the place where that breaks, or names a file that isn't there.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise BadInput(Problem(where, "JSON that is nested too deeply", "JSON", _FIX, "json")) from error
    except json.JSONDecodeError as error:
        if text.startswith("@"):
            fix = "check the path; it is taken from the folder in which the command runs"
            found = f"a folder, {text[1:]}" if Path(text[1:]).is_dir() else f"no file {text[1:]}"
            problem = Problem(where, found, "a file with JSON", fix, "json-file")
            raise BadInput(problem) from error
        place = f"{error.msg} at line {error.lineno}, column {error.colno}"
        found = f"{textwrap.shorten(text, _MOST, placeholder=' …')!r}, which is no JSON: {place}"
        raise BadInput(Problem(where, found, "JSON", _FIX, "json")) from error


def object_from(where: str, text: str) -> dict[str, Any]:
    """Return the names and values that JSON holds. Parameters as for `whole_json`.

    Raises
    ------
    BadInput
        As `whole_json`, or if it is JSON of something else.
    """
    told = whole_json(where, text)
    if not isinstance(told, dict):
        found = textwrap.shorten(json.dumps(told), _MOST, placeholder=" …")
        raise BadInput(Problem(where, found, 'JSON with names and values: {"name": value}', _FIX, "json"))
    return told
