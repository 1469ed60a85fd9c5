"""Cut a recording session into windows: the variables of one session, as `append` takes them.

``docs/windows.md`` defines every variable so that an independent reader can check each sample.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from aggrade.errors import BadInput, Problem
from aggrade.recordings import EEG, FNIRS
from aggrade.recordings.choosing import Wanted, choose_markers
from aggrade.recordings.discover import digest_of, local_session
from aggrade.recordings.session import opened_session
from aggrade.window_filling import fill_windows
from aggrade.window_grid import Track, believed_rate, window_starts
from aggrade.window_labels import NO_LABEL, NOT_COUNTED, bad_fractions, events_of, labels_of
from aggrade.window_spec import WindowSpec
from aggrade.window_trials import Cuts, trial_length, trial_windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aggrade.recordings import Session, Stream
    from aggrade.window_filling import Filled
    from aggrade.window_labels import Events

__all__ = ["cut_windows"]

logger = logging.getLogger(__name__)

_ROUNDED_DIGITS = 3
_LISTED = 12


def cut_windows(
    source: str | Path,
    spec: WindowSpec | Mapping[str, Any],
    *,
    storage_options: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Cut one recording session into windows. The same files and specification give an identical dataset.

    Window edges lie in time on the session's clock, half-open, for both modalities. A sample's slot is the
    number of samples, received or lost, that lie before it in its window; what was lost is NaN.

    Parameters
    ----------
    source
        A folder with the recordings of one session, or one recording; a local path or ``s3://…``.
    spec
        What to cut; a plain mapping is taken too.
    storage_options
        As for `aggrade.storage.open_storage`.

    Returns
    -------
    xarray.Dataset
        Dimension ``session`` of length 1. For each modality ``m`` of ``eeg`` and ``fnirs`` that the session
        has: ``m`` (session, window, m_channel, m_sample) float32 in ``m_channel_unit``, ``m_coverage`` and
        ``m_surplus`` (session, window), ``m_peak_to_peak``, ``m_flat``, ``m_nan_count``, ``m_rail`` (session,
        window, m_channel), and per session ``m_start``, ``m_start_resolution_s``, ``m_rate_measured``,
        ``m_jitter_s``, ``m_gaps``, ``m_lost``; ``eeg_line_noise`` and ``fnirs_scalp_coupling`` (session, window,
        channel). Then ``window_start`` s, ``label``, ``bad_fraction``, ``max_gap`` s (session, window), and the
        session's own variables; around markers also ``i_trial``, ``i_window_in_trial`` (session, window) and
        ``n_windows_left_out`` (session).

    Raises
    ------
    BadInput
        If the specification, a file or a choice is wrong; every reason is named, and nothing was written.
    """
    wanted = WindowSpec.of(spec)
    with local_session(source, storage_options) as files:
        digest = digest_of(files)
        with opened_session(files, _wanted(wanted)) as session:
            dataset = _dataset(session, wanted, digest)
    logger.info("session %r: %d windows", session.id, dataset.sizes["window"])
    return dataset


def _wanted(spec: WindowSpec) -> Wanted:
    return Wanted(
        {str(name): stream for name, stream in spec.streams.items()},
        {EEG: spec.eeg_channels, FNIRS: spec.fnirs_channels},
        spec.clock,
        {str(name): markers for name, markers in spec.clock_markers.items()},
    )


def _dataset(session: Session, spec: WindowSpec, digest: str) -> xr.Dataset:
    events = _events(session, spec)
    rates = {
        name: believed_rate(stream.header.nominal_rate, session.timings[name].rate)
        for name, stream in session.streams.items()
    }
    size, stride = _extent(spec, events, next(iter(rates.values())), session.id)
    tracks = _tracks(session, spec, rates, size)
    cuts = _cuts(tracks, spec, (size, stride), events, next(iter(rates.values())), session.id)
    filled = {
        name: fill_windows(session.streams[name], track, cuts.starts, spec.line_hz)
        for name, track in tracks.items()
    }
    bad = bad_fractions(cuts.starts, size, session.markers)
    variables = {
        **_per_window(cuts, bad, list(filled.values())),
        **{name: variable for each in filled.values() for name, variable in each.variables.items()},
        **_per_session(session, tracks, len(cuts.starts), digest),
        **(_of_trials(cuts) if spec.cuts_trials else {}),
    }
    variables["label"][2]["mapping"] = dict(spec.mapping)
    return xr.Dataset(variables, _coordinates(session), _attributes(session, tracks, spec, size, stride))


def _events(session: Session, spec: WindowSpec) -> Events:
    """Return the markers that mean a label; do as told where a text of the mapping is on none."""
    if not spec.mapping:
        return events_of([], {})
    markers = choose_markers(session.markers, spec.markers, spec.mapping, session.id)
    missing = sorted(set(spec.mapping).difference(*(item.text for item in markers)))
    if missing and spec.on_missing != "ignore":
        texts = sorted({text for item in markers or session.markers for text in item.text})
        found = f"no marker of the mapping says {_listed(missing)}"
        if spec.on_missing == "error":
            expected = f"one at least; the markers say {_listed(texts)}"
            fix = "correct the mapping, or set on_missing to warn or ignore"
            raise BadInput(Problem(session.id, found, expected, fix, "missing-marker"))
        logger.warning("session %r: %s; the markers say %s", session.id, found, _listed(texts))
    return events_of(markers, spec.mapping, hold=spec.hold_markers)


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(map(repr, texts[:_LISTED])) + (" …" if len(texts) > _LISTED else "") or "nothing"


def _extent(spec: WindowSpec, events: Events, rate: float, where: str) -> tuple[float, float]:
    """Return size and stride of the windows, s; `rate` is that of the samples they are counted in, Hz."""
    size = spec.length_s(rate)
    size = trial_length(events, spec, rate, where) if size is None else size
    stride = spec.stride_s(rate)
    return size, size if stride is None else stride


def _cuts(
    tracks: Mapping[str, Track],
    spec: WindowSpec,
    extent: tuple[float, float],
    events: Events,
    rate: float,
    where: str,
) -> Cuts:
    """Return where windows lie and what their labels are: around markers, or side by side."""
    if not spec.cuts_trials:
        starts = window_starts(list(tracks.values()), spec, extent[1], where)
        labels = labels_of(starts, extent[0], events, rule=spec.label)
        if len(events.label) and not (labels >= 0).any():
            logger.warning("session %r: no marker of the mapping falls into a window", where)
        nothing = np.zeros(len(starts), np.int32)
        return Cuts(starts, labels, nothing, nothing, 0)
    cuts = trial_windows(list(tracks.values()), spec, extent, events, rate, where)
    if cuts.left_out:
        logger.warning("session %r: %d windows around markers have no room; left out", where, cuts.left_out)
    return cuts


def _nominal(stream: Stream, measured: float) -> float:
    """Return the declared rate; where none is declared, the measured one to three digits, Hz."""
    return stream.header.nominal_rate or float(f"{measured:.{_ROUNDED_DIGITS}g}")


def _tracks(session: Session, spec: WindowSpec, rates: Mapping[str, float], size: float) -> dict[str, Track]:
    """Return the modalities as the windows see them."""
    tracks = {}
    for name, rate in rates.items():
        length = size if name == EEG or spec.fnirs_window_s is None else spec.fnirs_window_s
        offset = 0.0 if name == EEG else spec.fnirs_offset_s
        samples = _samples(length * rate, f"{session.id}, {name}", length)
        tracks[name] = Track(name, session.timings[name], length, offset, samples)
        _report_rate(session, name)
    return tracks


def _samples(exact: float, where: str, length: float) -> int:
    samples = round(exact)
    if samples < 1:
        found, expected = f"{exact:.3g} samples in {length:g} s", "at least one sample in a window"
        raise BadInput(Problem(where, found, expected, "make the window longer", "window-too-short"))
    return samples


def _report_rate(session: Session, name: str) -> None:
    declared, measured = session.streams[name].header.nominal_rate, session.timings[name].rate
    if declared and believed_rate(declared, measured) != declared:
        logger.warning(
            "session %r: the %s declares %.4g Hz and runs at %.4g Hz; the latter is used",
            session.id,
            name,
            declared,
            measured,
        )


def _per_window(cuts: Cuts, bad: NDArray[np.float32], filled: list[Filled]) -> dict[str, Any]:
    dims = ("session", "window")
    longest = np.max([each.gaps for each in filled], axis=0)
    start = {"long_name": "start of the window since the session's start", "units": "s"}
    return {
        "window_start": (dims, cuts.starts[None], start),
        "label": (dims, cuts.labels[None], {"long_name": "label; -1: none"}, {"fill_value": NO_LABEL}),
        "bad_fraction": (dims, bad[None], {"long_name": "part of the window that is annotated as bad"}),
        "max_gap": (dims, longest[None], {"long_name": "longest time without a sample", "units": "s"}),
    }


def _of_trials(cuts: Cuts) -> dict[str, Any]:
    dims = ("session", "window")
    left_out = np.array([cuts.left_out], np.int32)
    return {
        "i_trial": (dims, cuts.trial[None], {"long_name": "marker that the window lies around, from 0"}),
        "i_window_in_trial": (dims, cuts.place[None], {"long_name": "window of its trial, from 0"}),
        "n_windows_left_out": (("session",), left_out, {"long_name": "windows that had no room"}),
    }


def _per_session(session: Session, tracks: Mapping[str, Track], count: int, digest: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "n_windows": np.int32(count),
        "session_start": session.start,
        "session_start_resolution_s": session.start_resolution_s,
        "clock": session.clock,
        "offset_resolution_s": session.offset_resolution_s,
        "source": json.dumps(session.sources, ensure_ascii=False),
        "source_digest": digest,
        "content_digest": "",
        "receipt": "",
    }
    for name, track in tracks.items():
        found[f"{name}_start"] = track.first
        found[f"{name}_start_resolution_s"] = session.stream_resolution_s[name]
        found[f"{name}_rate_measured"] = track.timing.rate
        found[f"{name}_jitter_s"] = track.timing.jitter
        found[f"{name}_gaps"] = np.int32(track.timing.gaps)
        found[f"{name}_lost"] = np.int64(track.timing.lost.sum())
    counts = {f"{name}{end}" for name in tracks for end in ("_gaps", "_lost")}
    one = {
        name: (
            ("session",),
            _one(value),
            _session_attributes(name),
            {"fill_value": NOT_COUNTED} if name in counts else {},
        )
        for name, value in found.items()
    }
    return one | {f"{name}_channel_bad": _marked_bad(session, name) for name in tracks}


def _marked_bad(session: Session, name: str) -> tuple[tuple[str, ...], NDArray[np.bool_], dict[str, str]]:
    """Return which channels the file or its tables mark as bad; their samples are what they are."""
    header = session.streams[name].header
    bad = np.array([[channel in header.bad for channel in header.channels]], bool)
    return ("session", f"{name}_channel"), bad, {"long_name": "the channel is marked as bad"}


def _one(value: Any) -> NDArray[Any]:
    return np.array([value], object if isinstance(value, str) else None)


def _session_attributes(name: str) -> dict[str, str]:
    texts = {
        "n_windows": "windows of the session; those beyond are fill",
        "session_start": "wall-clock time of the session's start, ISO 8601",
        "session_start_resolution_s": "how well session_start is known",
        "clock": "how the modalities came on one clock",
        "offset_resolution_s": "how well the modalities are placed against each other",
        "source": "names of the files that were read",
        "source_digest": "SHA-256 of the files",
        "_start": "first sample since the session's start",
        "_start_resolution_s": "how well the file knows the wall-clock time of its start",
        "_rate_measured": "samples per second by the stamps, gaps left out",
        "_jitter_s": "root mean square of stamp - regular time",
        "_gaps": "gaps in the whole recording",
        "_lost": "samples lost in the gaps of the whole recording",
    }
    key = name if name in texts else name[name.find("_") :]
    units = (
        "Hz"
        if name.endswith("_rate_measured")
        else "s"
        if name.endswith(("_s", "eeg_start", "fnirs_start"))
        else ""
    )
    described = {"long_name": texts[key]} if key in texts else {}
    return described | ({"units": units} if units else {})


def _coordinates(session: Session) -> dict[str, Any]:
    coordinates: dict[str, Any] = {"session": (("session",), _one(session.id))}
    for name, stream in session.streams.items():
        header, dim = stream.header, f"{name}_channel"
        coordinates[dim] = ((dim,), np.array(header.channels, object))
        coordinates[f"{dim}_unit"] = ((dim,), np.array(header.units, object))
        coordinates[f"{dim}_type"] = ((dim,), np.array(header.types, object))
    return coordinates


def _attributes(
    session: Session, tracks: Mapping[str, Track], spec: WindowSpec, size: float, stride: float
) -> dict[str, Any]:
    attributes: dict[str, Any] = {"window_size_s": size, "window_stride_s": stride}
    for name, track in tracks.items():
        attributes[f"{name}_nominal_rate"] = _nominal(session.streams[name], track.timing.rate)
        attributes[f"{name}_window_s"] = track.length
        attributes[f"{name}_offset_s"] = track.offset
    return attributes | {"mapping": dict(spec.mapping), "spec": spec.model_dump_json()}
