"""Which streams and channels of a recording are used: decided before a sample is loaded.

Nothing is guessed: where a recording has two streams of one kind, the choice is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.recordings import EEG, FNIRS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from aggrade.recordings import Markers, StreamHeader
    from aggrade.recordings.clocks import How

__all__ = [
    "Choice",
    "Wanted",
    "choose_channels",
    "choose_markers",
    "choose_streams",
    "left_out",
    "named_markers",
]

MODALITIES = (EEG, FNIRS)
_TOGETHER_S = 1e-3


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for.

    Parameters
    ----------
    streams
        Modality → name of a stream, as ``name`` or ``file:name``.
    channels
        Modality → names or patterns; None: all that are of the modality; empty: none of it at all.
    clock
        How files come on one clock, as `aggrade.recordings.clocks.align` takes it.
    clock_markers
        Modality → name of the markers on its clock that place it, as ``name`` or ``file:name``.
    """

    streams: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    clock: How = "auto"
    clock_markers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """A stream, and the indices of its channels in the order in which they are used.

    Parameters
    ----------
    header
        The stream.
    picks
        The channels.
    others
        Streams of other files, or other parts of a file, that have the same channels: parts of one recording.
    """

    header: StreamHeader
    picks: tuple[int, ...]
    others: tuple[StreamHeader, ...] = ()

    @property
    def parts(self) -> tuple[StreamHeader, ...]:
        """The stream and its other parts."""
        return (self.header, *self.others)


def choose_streams(headers: Sequence[StreamHeader], wanted: Wanted, where: str) -> dict[str, Choice]:
    """Return modality → the stream and the channels that are used.

    Parameters
    ----------
    headers
        All streams of the session's files.
    wanted
        What is asked for.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If a stream or channel that is asked for does not exist, if several streams could be meant, or if
        there is neither EEG nor fNIRS with samples. All problems are reported together.
    """
    problems: list[Problem] = []
    choices: dict[str, Choice] = {}
    for modality in MODALITIES:
        names = wanted.channels.get(modality)
        if names is not None and not names:
            continue
        try:
            found = _streams(headers, modality, wanted.streams.get(modality), where)
            if found:
                choices[modality] = Choice(found[0], choose_channels(found[0], modality, names), found[1:])
            elif names is not None:
                problems.append(_absent(headers, modality, where))
        except BadInput as error:
            problems += error.problems
    if not choices and not problems:
        problems.append(_nothing(headers, where))
    raise_all(problems, BadInput)
    return choices


def left_out(headers: Iterable[StreamHeader], choices: Mapping[str, Choice], wanted: Wanted) -> list[str]:
    """Return a sentence for each stream that nothing can be cut from, where its modality is wanted and has no other.

    Parameters
    ----------
    headers
        All streams of the session's files.
    choices
        What `choose_streams` found.
    wanted
        What is asked for.
    """
    names = {one: wanted.channels.get(one) for one in MODALITIES if one not in choices}
    absent = {one for one, asked in names.items() if asked is None or asked}
    return [
        f"{header.source}: {said} is left out: it takes two samples to know a rate"
        for header in headers
        if header.modality in absent and header.samples <= 1
        for said in _said([header])
    ]


def _streams(
    headers: Sequence[StreamHeader], modality: str, name: str | None, where: str
) -> tuple[StreamHeader, ...]:
    """Return the stream of a modality; several, if they are parts of one recording; none, if there is none."""
    if name is not None:
        return _named(headers, modality, name, where)
    found = tuple(header for header in headers if header.modality == modality and header.samples > 1)
    if len(found) > 1 and not _are_parts(found):
        fix = f'choose one: streams = {{"{modality}": "…"}}'
        raise BadInput(
            Problem(
                where, f"{len(found)} {modality} streams: {_list(found)}", "one", fix, "ambiguous-streams"
            )
        )
    return found


def _are_parts(headers: Sequence[StreamHeader]) -> bool:
    """Tell whether streams can be parts of one recording: the same channels, each on a clock of its own."""
    clocks = {header.clock or header.source for header in headers}
    kinds = {(header.channels, header.units, header.nominal_rate) for header in headers}
    return len(clocks) == len(headers) and len(kinds) == 1


def _named(headers: Sequence[StreamHeader], modality: str, name: str, where: str) -> tuple[StreamHeader, ...]:
    found = tuple(header for header in headers if name in (header.name, f"{header.source}:{header.name}"))
    setting = f"{where}, streams.{modality}"
    if not found:
        near = get_close_matches(name, [header.name for header in headers], 1)
        fix = f"did you mean {near[0]!r}" if near else "correct the name"
        raise BadInput(Problem(setting, repr(name), f"one of {_list(headers)}", fix, "unknown-stream"))
    filled = tuple(header for header in found if header.samples > 1)
    if not filled:
        fix = "choose another stream, or leave the recording out"
        said = ", ".join(_said(found))
        raise BadInput(Problem(setting, said, "two samples or more", fix, "empty-stream"))
    if len(filled) > 1 and not _are_parts(filled):
        fix = "put the file name and a colon before it"
        raise BadInput(Problem(setting, f"{name!r} {len(filled)} times", "one", fix, "ambiguous-streams"))
    return filled


def choose_channels(header: StreamHeader, modality: str, names: Sequence[str] | None) -> tuple[int, ...]:
    """Return the indices of channels.

    Without names, these are the EEG channels of a stream that says which they are, or all channels of any
    other stream. A pattern stands for the channels that it fits, in the order of the file; each is used once.

    Parameters
    ----------
    header
        The stream.
    modality
        What it is used as.
    names
        Names or patterns (``*``, ``?``); a name that contains such a character is found as it stands.

    Raises
    ------
    BadInput
        If a name fits no channel; near misses are named.
    """
    everything = range(len(header.channels))
    if names is None:
        typed = [index for index in everything if header.types[index] == EEG]
        return tuple(typed if modality == EEG and typed else everything)
    places = {channel: index for index, channel in enumerate(header.channels)}
    fitting = {name: _fitting(places, name) for name in names}
    problems = [_unknown(header, modality, name) for name, found in fitting.items() if not found]
    raise_all(problems, BadInput)
    return tuple(dict.fromkeys(index for found in fitting.values() for index in found))


def _fitting(places: Mapping[str, int], name: str) -> list[int]:
    if name in places:
        return [places[name]]
    return [index for channel, index in places.items() if fnmatchcase(channel, name)]


def choose_markers(
    markers: Iterable[Markers], name: str | None, texts: Iterable[str], where: str
) -> list[Markers]:
    """Return the stream of markers that labels come from, as a list of one, or none.

    Parameters
    ----------
    markers
        All streams of markers.
    name
        The stream that is asked for, as ``name`` or ``file:name``; None: the one that holds the texts.
    texts
        What a marker may say to be of use.
    where
        The session, as the user knows it.

    Raises
    ------
    BadInput
        If the stream that is asked for does not exist, or if several hold such texts.
    """
    markers, known = list(markers), set(texts)
    if name is not None:
        found = named_markers(markers, name, f"{where}, markers")
    else:
        found = _once([item for item in markers if known & set(item.text)])
    if len(found) > 1:
        fix = 'choose one: markers = "…"'
        problem = f"{len(found)} streams with markers of the mapping: {_list(found)}"
        raise BadInput(Problem(where, problem, "one", fix, "ambiguous-markers"))
    return found


def _once(markers: list[Markers]) -> list[Markers]:
    """Leave out what one table says of two files, where both began together: to a millisecond the same.

    Streams of one file lie on one clock; which of those is meant is another question.
    """
    kept: list[Markers] = []
    for item in markers:
        said = (item.source, item.text)
        others = (other for other in kept if other.origin.clock != item.origin.clock)
        same = (other for other in others if (other.source, other.text) == said)
        if not any(np.allclose(other.t, item.t, rtol=0, atol=_TOGETHER_S) for other in same):
            kept.append(item)
    return kept


def named_markers(markers: Sequence[Markers], name: str, where: str) -> list[Markers]:
    """Return the streams of markers that bear a name.

    Parameters
    ----------
    markers
        All streams of markers that may be meant.
    name
        As ``name`` or ``file:name``.
    where
        The setting, as the user knows it.

    Raises
    ------
    BadInput
        If there is none.
    """
    found = [item for item in markers if name in (item.name, f"{item.source}:{item.name}")]
    if not found:
        expected = f"one of {_list(markers)}" if markers else "a stream of markers: there is none"
        near = get_close_matches(name, [item.name for item in markers], 1)
        fix = f"did you mean {near[0]!r}" if near else "correct the name, or leave it out"
        raise BadInput(Problem(where, repr(name), expected, fix, "unknown-markers"))
    return found


def _list(items: Iterable[StreamHeader | Markers]) -> str:
    return ", ".join(f"{item.name!r} ({item.source})" for item in items) or "none"


def _unknown(header: StreamHeader, modality: str, name: str) -> Problem:
    near = get_close_matches(name, header.channels, 3, 0.5)
    lower = [channel for channel in header.channels if channel.lower() == name.lower()]
    names = lower or near
    fix = f"did you mean {' or '.join(map(repr, names))}" if names else "correct the name"
    shown = ", ".join(header.channels[:12]) + (" …" if len(header.channels) > 12 else "")
    where = f"{header.source}, {modality}_channels"
    return Problem(where, repr(name), f"a channel of {header.name!r}: {shown}", fix, "unknown-channel")


def _absent(headers: Sequence[StreamHeader], modality: str, where: str) -> Problem:
    found = f"no {modality} stream with two samples or more among {', '.join(_said(headers)) or 'none'}"
    fix = f'leave {modality}_channels out, or choose a stream: streams = {{"{modality}": "…"}}'
    return Problem(where, found, f"one, for {modality}_channels", fix, "no-stream")


def _nothing(headers: Sequence[StreamHeader], where: str) -> Problem:
    found = "; ".join(_said(headers)) or "no stream at all"
    fix = 'leave the recording out, or say which stream it is: streams = {"eeg": "…"}'
    return Problem(where, found, "an EEG or fNIRS stream with two samples or more", fix, "no-stream")


def _said(headers: Iterable[StreamHeader]) -> Iterator[str]:
    for header in headers:
        samples = "1 sample" if header.samples == 1 else f"{header.samples} samples"
        yield f"{header.name!r} ({header.modality or 'no type'}, {samples})"
