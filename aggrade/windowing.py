"""Cut a recording session into windows: the variables of one session, as `append` takes them.

``docs/windows.md`` defines every variable so that an independent reader can check each sample.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from aggrade.errors import BadInput, Problem
from aggrade.recordings import EEG, FNIRS
from aggrade.recordings.choosing import Wanted, choose_markers
from aggrade.recordings.discover import digest_of, local_session
from aggrade.recordings.session import opened_session
from aggrade.window_grid import Track, believed_rate, window_starts
from aggrade.window_labels import NO_LABEL, bad_fractions, labels_of
from aggrade.window_spec import WindowSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from aggrade.recordings import Session, Stream

__all__ = ["cut_windows"]

logger = logging.getLogger(__name__)

PIECE_BYTES = 16 << 20
_ROUNDED_DIGITS = 3


class _Cut(NamedTuple):
    """What one modality gives."""

    variables: dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]
    gaps: NDArray[np.float32]


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
        ``m_surplus`` (session, window), and per session ``m_start``, ``m_start_resolution_s``,
        ``m_rate_measured``, ``m_jitter_s``, ``m_gaps``, ``m_lost``. Of the EEG ``eeg_peak_to_peak`` and
        ``eeg_flat`` (session, window, eeg_channel). Then ``window_start`` s, ``label``, ``bad_fraction``,
        ``max_gap`` s (session, window), and the session's own variables.

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
    )


def _dataset(session: Session, spec: WindowSpec, digest: str) -> xr.Dataset:
    markers = choose_markers(session.markers, spec.markers, spec.mapping, session.id) if spec.mapping else []
    tracks, size, stride = _tracks(session, spec)
    starts = window_starts(list(tracks.values()), spec, stride, session.id)
    cuts = {name: _cut(session.streams[name], track, starts) for name, track in tracks.items()}
    labels = labels_of(starts, size, markers, spec.mapping, rule=spec.label, hold=spec.hold_markers)
    variables = {
        **_per_window(starts, labels, bad_fractions(starts, size, session.markers), list(cuts.values())),
        **{name: variable for cut in cuts.values() for name, variable in cut.variables.items()},
        **_per_session(session, tracks, len(starts), digest),
    }
    variables["label"][2]["mapping"] = dict(spec.mapping)
    if spec.mapping and not (labels >= 0).any():
        logger.warning("session %r: no marker of the mapping falls into a window", session.id)
    return xr.Dataset(variables, _coordinates(session), _attributes(session, tracks, spec, size, stride))


def _nominal(stream: Stream, measured: float) -> float:
    """Return the declared rate; where none is declared, the measured one to three digits, Hz."""
    return stream.header.nominal_rate or float(f"{measured:.{_ROUNDED_DIGITS}g}")


def _tracks(session: Session, spec: WindowSpec) -> tuple[dict[str, Track], float, float]:
    """Return the modalities as the windows see them, and the size and the stride of the windows in s."""
    rates = {
        name: believed_rate(stream.header.nominal_rate, session.timings[name].rate)
        for name, stream in session.streams.items()
    }
    counted = next(iter(rates.values()))
    size, stride = spec.length_s(counted), spec.stride_s(counted)
    tracks = {}
    for name, rate in rates.items():
        length = size if name == EEG or spec.fnirs_window_s is None else spec.fnirs_window_s
        offset = 0.0 if name == EEG else spec.fnirs_offset_s
        samples = _samples(length * rate, f"{session.id}, {name}", length)
        tracks[name] = Track(name, session.timings[name], length, offset, samples)
        _report_rate(session, name)
    return tracks, size, stride


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


def _cut(stream: Stream, track: Track, starts: NDArray[np.float64]) -> _Cut:
    """Fill the windows of one modality, piece by piece, and look at their quality."""
    name, channels = track.modality, len(stream.header.channels)
    shape = (len(starts), channels, track.samples)
    values = np.full((1, *shape), np.nan, np.float32)
    coverage = np.empty((1, len(starts)), np.float32)
    gaps = np.empty(len(starts), np.float32)
    peaks = np.empty((1, len(starts), channels), np.float32)
    for part in _pieces(len(starts), channels * track.samples):
        _fill(values[0, part], stream, track, starts[part])
        empty = np.isnan(values[0, part]).all(axis=1)
        coverage[0, part] = 1 - empty.mean(axis=1)
        gaps[part] = _longest(empty) * (track.length / track.samples)
        peaks[0, part] = _peak_to_peak(values[0, part])
    begin, stop = track.members(starts)
    surplus = np.maximum(stop - begin - track.samples, 0).astype(np.int16)[None]
    window, dims = ("session", "window"), ("session", "window", f"{name}_channel")
    variables = {
        name: ((*dims, f"{name}_sample"), values, {"long_name": f"{name} samples"}),
        f"{name}_coverage": (window, coverage, {"long_name": "real samples / expected samples"}),
        f"{name}_surplus": (window, surplus, {"long_name": "samples in the span beyond its slots"}),
    }
    if name == EEG:
        flat = np.asarray(peaks == 0)
        variables[f"{name}_peak_to_peak"] = (dims, peaks, {"long_name": "largest - smallest sample"})
        variables[f"{name}_flat"] = (dims, flat, {"long_name": "all real samples are equal"})
    return _Cut(variables, gaps)


def _pieces(windows: int, samples: int) -> Iterator[slice]:
    whole = max(1, PIECE_BYTES // (samples * 8))
    return (slice(low, min(low + whole, windows)) for low in range(0, windows, whole))


def _fill(out: NDArray[np.float32], stream: Stream, track: Track, starts: NDArray[np.float64]) -> None:
    """Put the samples of some windows into ``out`` (window, channel, slot)."""
    placed = track.place(starts)
    if len(placed.row):
        low = int(placed.row.min())
        rows = stream.x[low : int(placed.row.max()) + 1]
        out[placed.window, :, placed.slot] = rows[placed.row - low]


def _longest(empty: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the longest run of empty slots of each window; ``empty`` is (window, slot)."""
    count = np.cumsum(empty, axis=1)
    before = np.maximum.accumulate(np.where(empty, 0, count), axis=1)
    return np.asarray((count - before).max(axis=1))


def _peak_to_peak(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return largest - smallest of each (window, channel); NaN where there is no sample."""
    high, low = np.fmax.reduce(values, axis=2), np.fmin.reduce(values, axis=2)
    return np.asarray(high - low)


def _per_window(
    starts: NDArray[np.float64], labels: NDArray[np.int16], bad: NDArray[np.float32], cuts: list[_Cut]
) -> dict[str, Any]:
    dims = ("session", "window")
    longest = np.max([cut.gaps for cut in cuts], axis=0)
    start = {"long_name": "start of the window since the session's start", "units": "s"}
    return {
        "window_start": (dims, starts[None], start),
        "label": (dims, labels[None], {"long_name": "label; -1: none"}, {"fill_value": NO_LABEL}),
        "bad_fraction": (dims, bad[None], {"long_name": "part of the window that is annotated as bad"}),
        "max_gap": (dims, longest[None], {"long_name": "longest time without a sample", "units": "s"}),
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
    return {name: (("session",), _one(value), _session_attributes(name)) for name, value in found.items()}


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
