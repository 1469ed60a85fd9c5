"""What a BrainVision header promises, held against the files beside it before MNE reads them.

Header and markers are texts (https://www.brainproducts.com/support-resources/brainvision-core-data-format-1-0/); MNE
makes up what is missing in one that was cut short.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_vision"]

_BYTES = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}
_SETTING = re.compile(r"^(\w+)=(.*?)\s*$", re.MULTILINE)
_CUT = re.compile(r"\w+=|(Mk|Ch)\d*$")
_AGAIN = "copy the file again from where it was made"


def check_vision(path: Path, name: str) -> None:
    """Demand whole texts, the files that the header names, each channel, and bytes that make whole samples.

    Parameters
    ----------
    path
        The header.
    name
        What it is reported by.

    Raises
    ------
    BadInput
        If one of them is missing or was cut short.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    fields = dict(_SETTING.findall(text))
    _check_end(text, name)
    for field in ("DataFile", "MarkerFile"):
        named = fields.get(field, "").replace("$b", path.stem)
        if named and not (path.parent / named).is_file():
            fix = "put it beside the header, under the name that the header gives"
            found, expected = f"no file {named!r}", f"the {field} of the header"
            raise BadInput(Problem(name, found, expected, fix, "companion"))
        if named and field == "MarkerFile":
            markers = (path.parent / named).read_text(encoding="utf-8", errors="replace")
            _check_end(markers, f"{name}, {named}")
            _check_markers(markers, f"{name}, {named}")
    channels = int(fields["NumberOfChannels"])
    described = _SETTING.findall(_section(text, "Channel Infos"))
    if len(described) != channels:
        found, expected = f"{len(described)} channels described", f"{channels}, as NumberOfChannels says"
        raise BadInput(Problem(name, found, expected, _AGAIN, "truncated"))
    _check_bytes(path.parent / fields["DataFile"].replace("$b", path.stem), channels, fields, name)


def _section(text: str, title: str) -> str:
    """Return what stands below a title in brackets, up to the next one."""
    found = re.search(rf"^\[{title}\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    return found[1] if found else ""


def _check_end(text: str, where: str) -> None:
    """Refuse a text that ends inside a setting, of which a part may be missing."""
    last = text[text.rfind("\n") + 1 :]
    if not text.strip() or _CUT.match(last):
        found = f"a last line {last!r} without a line break" if text.strip() else "an empty file"
        fix = f"{_AGAIN}; if it is whole, end its last line with a line break"
        raise BadInput(Problem(where, found, "whole lines: the file was cut short", fix, "truncated"))


def _check_markers(text: str, where: str) -> None:
    if not re.search(r"^\[Marker Infos\]\s*$", text, re.MULTILINE | re.IGNORECASE):
        found, expected = "no [Marker Infos]", "a list of markers: the file was cut short"
        raise BadInput(Problem(where, found, expected, _AGAIN, "truncated"))


def _check_bytes(path: Path, channels: int, fields: dict[str, str], name: str) -> None:
    sample = channels * _BYTES.get(fields.get("BinaryFormat", ""), 1)
    size = path.stat().st_size
    points = int(fields.get("DataPoints", "0")) * sample
    if fields.get("DataFormat") == "BINARY" and (size % sample or size < points):
        expected = f"{points or 'whole samples'} bytes of {sample} a sample: the file was cut short"
        raise BadInput(Problem(name, f"{size} bytes of samples", expected, _AGAIN, "truncated"))
