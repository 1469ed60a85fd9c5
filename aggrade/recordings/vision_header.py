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
_MARKER = re.compile(r"^(Mk\d+)=(?:[^,\n]*,){2}(\d+)", re.MULTILINE)
_CUT = re.compile(r"\w+=|(Mk|Ch)\d*$")
_ANYTHING = re.compile(r"\s*\S")
_AGAIN = "copy the file again from where it was made"


def check_vision(path: Path, name: str) -> None:
    """Demand whole texts, the files that the header names, each channel, whole samples, and markers that lie in them.

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
    _check_end(text, name, _CUT)
    data, markers = (_beside(path, fields, field, name) for field in ("DataFile", "MarkerFile"))
    if data is None:
        fix = "write its name into the header"
        raise BadInput(Problem(name, "no DataFile", "the file of the samples", fix, "companion"))
    channels = int(fields["NumberOfChannels"])
    described = _SETTING.findall(_section(text, "Channel Infos"))
    if len(described) != channels:
        found, expected = f"{len(described)} channels described", f"{channels}, as NumberOfChannels says"
        raise BadInput(Problem(name, found, expected, _AGAIN, "truncated"))
    samples = _check_bytes(data, channels, fields, name)
    if markers is not None:
        content, where = markers.read_text(encoding="utf-8", errors="replace"), f"{name}, {markers.name}"
        _check_end(content, where, _ANYTHING)
        _check_markers(content, where)
        if samples is not None:
            _check_places(content, samples, where)


def _beside(path: Path, fields: dict[str, str], field: str, name: str) -> Path | None:
    """Return a file that the header names; None where it names none."""
    named = fields.get(field, "").replace("$b", path.stem)
    if named and not (path.parent / named).is_file():
        fix = "put it beside the header, under the name that the header gives"
        found, expected = f"no file {named!r}", f"the {field} of the header"
        raise BadInput(Problem(name, found, expected, fix, "companion"))
    return path.parent / named if named else None


def _section(text: str, title: str) -> str:
    """Return what stands below a title in brackets, up to the next one."""
    found = re.search(rf"^\[{title}\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    return found[1] if found else ""


def _check_end(text: str, where: str, cut: re.Pattern[str]) -> None:
    """Refuse a text that ends inside a line of which a part may be missing, as `cut` tells by what is left of it."""
    last = text[text.rfind("\n") + 1 :]
    if not text.strip() or cut.match(last):
        found = f"a last line {last!r} without a line break" if text.strip() else "an empty file"
        fix = f"{_AGAIN}; if it is whole, end its last line with a line break"
        raise BadInput(Problem(where, found, "whole lines: the file was cut short", fix, "truncated"))


def _check_markers(text: str, where: str) -> None:
    """Demand a list of markers that holds one, or that another section closes: a file may be cut in front of them."""
    infos = re.search(r"^\[Marker Infos\]\s*$", text, re.MULTILINE | re.IGNORECASE)
    if infos is None:
        found, expected = "no [Marker Infos]", "a list of markers: the file was cut short"
        raise BadInput(Problem(where, found, expected, _AGAIN, "truncated"))
    if not re.search(r"^(Mk\d+=|\[)", text[infos.end() :], re.MULTILINE):
        found, expected = "no marker", "at least one, as Mk1=New Segment: the file may have been cut short"
        fix = f"{_AGAIN}; if there never was a marker, take MarkerFile out of the header"
        raise BadInput(Problem(where, found, expected, fix, "truncated"))


def _check_places(text: str, samples: int, where: str) -> None:
    """Refuse markers behind the samples; one at their end may lie there."""
    beyond = [(mark, place) for mark, place in _MARKER.findall(text) if int(place) > samples + 1]
    if beyond:
        mark, place = beyond[0]
        found = f"{mark} at sample {place}" + f" and {len(beyond) - 1} more" * (len(beyond) > 1)
        expected = f"markers in the {samples} samples that there are: those were cut short"
        fix = "copy the samples again from where they were made; if they are whole, take these markers out"
        raise BadInput(Problem(where, found, expected, fix, "truncated"))


def _check_bytes(path: Path, channels: int, fields: dict[str, str], name: str) -> int | None:
    """Return how many samples there are; None where they are no numbers of a fixed size."""
    if fields.get("DataFormat") != "BINARY":
        return None
    sample = channels * _BYTES.get(fields.get("BinaryFormat", ""), 1)
    size, points = path.stat().st_size, int(fields.get("DataPoints") or 0) * sample
    by_channel = fields.get("DataOrientation") == "VECTORIZED"
    if by_channel and not points:
        found, expected = (
            "VECTORIZED samples without DataPoints",
            "their number: it says where channels begin",
        )
        fix = "write DataPoints into the header, as where the file was made"
        raise BadInput(Problem(name, found, expected, fix, "data-points"))
    if size % sample or size < points or (by_channel and size != points):
        expected = f"{points or 'whole samples'} bytes of {sample} a sample: the file was cut short"
        if by_channel and size > points:
            expected = f"{points} bytes of {sample} a sample, as DataPoints says"
        raise BadInput(Problem(name, f"{size} bytes of samples", expected, _AGAIN, "truncated"))
    return size // sample
