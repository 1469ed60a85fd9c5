"""What to cut: the specification of windows, as a form, a command line and a file understand it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations at run time
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aggrade.errors import BadInput, Problem

__all__ = ["WindowSpec"]

_LARGEST_LABEL = 2**15 - 1


class WindowSpec(BaseModel):
    """How recordings are cut into windows.

    Give the size in seconds or in samples, not both. Everything else has a default that suits a recording with
    one EEG stream, one fNIRS stream or one of each. ``docs/windows.md`` says exactly what a window holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    window_size_s: float | None = Field(
        default=None,
        gt=0,
        description="Length of a window in seconds, e.g. 2.0. Or give window_size_samples. With a trial offset it "
        "may be left out: a window is then a whole trial.",
    )
    window_size_samples: int | None = Field(
        default=None,
        gt=0,
        description="Length of a window in EEG samples (fNIRS samples where there is no EEG), e.g. 512.",
    )
    window_stride_s: float | None = Field(
        default=None,
        gt=0,
        description="Seconds from the start of one window to the next; shorter than the size makes windows "
        "overlap. Left out: the size.",
    )
    window_stride_samples: int | None = Field(
        default=None, gt=0, description="The stride in EEG samples, instead of in seconds."
    )
    drop_last_window: bool = Field(
        default=True,
        description="On: what is left at the end and is shorter than a window is left out. Off: one more "
        "window is cut that ends with the recording, or the trial, and overlaps the one before.",
    )
    fnirs_window_s: float | None = Field(
        default=None,
        gt=0,
        description="Length of the fNIRS span of a window in seconds, where it shall differ from the EEG's "
        "(blood flow answers slowly: 3 to 8 s are usual). Left out: the size.",
    )
    fnirs_offset_s: float = Field(
        default=0.0,
        description="Seconds by which the fNIRS span begins after the EEG span of the same window; negative: "
        "before it.",
    )
    eeg_channels: tuple[str, ...] | None = Field(
        default=None,
        description="EEG channels by name or pattern (* and ?), in the order in which they are stored, e.g. "
        '["Fz", "C*"]. Left out: all that are EEG. An empty list leaves the EEG out.',
    )
    fnirs_channels: tuple[str, ...] | None = Field(
        default=None,
        description='fNIRS channels by name or pattern, e.g. ["S1_D1 *", "* 850"]. Left out: all. An empty '
        "list leaves the fNIRS out.",
    )
    streams: dict[Literal["eeg", "fnirs"], str] = Field(
        default_factory=dict,
        description="Which stream is the EEG or the fNIRS where a recording has several, by name, e.g. "
        '{"fnirs": "Photon_Cap_RAW"}. Put the file name and a colon before it where two files use one name.',
    )
    clock: Literal["auto", "stamps", "markers", "starts"] = Field(
        default="auto",
        description="How the files of a session come on one clock. auto: by stamps of one device, else by markers "
        "that both files have, else by the start times that they state. Any other demands one of these. Files "
        "that hold both modalities need none.",
    )
    clock_markers: dict[Literal["eeg", "fnirs"], str] = Field(
        default_factory=dict,
        description="Names of the marker streams that hold the same events, by which files come on one clock, e.g. "
        '{"eeg": "events", "fnirs": "nirs/stim"}. With both named, what the markers say need not agree. '
        "Left out: all markers that say the same.",
    )
    markers: str | None = Field(
        default=None, description="Name of the marker stream that labels come from, where there are several."
    )
    mapping: dict[str, int] = Field(
        default_factory=dict,
        description='Marker text → label from 0 to 32767, e.g. {"LEFT": 0, "RIGHT": 1}. Other markers are '
        "left out. Left out: no labels; all are -1.",
    )
    label: Literal["majority", "first", "last"] = Field(
        default="majority",
        description="The label of a window with several markers: the one that covers most of it, the one "
        "that begins first, or the one that begins last.",
    )
    hold_markers: bool = Field(
        default=False,
        description="Off: a marker without a duration labels the window that it falls in. On: it holds until "
        "the next marker of the mapping, as in block designs.",
    )
    trial_start_offset_s: float | None = Field(
        default=None,
        description="Seconds from a marker of the mapping to the start of its trial, e.g. -0.5. Any trial offset, "
        "0 included, has windows cut around markers instead of side by side.",
    )
    trial_start_offset_samples: int | None = Field(
        default=None, description="The same in EEG samples (fNIRS samples where there is no EEG)."
    )
    trial_stop_offset_s: float | None = Field(
        default=None,
        description="Seconds from the end of a marker (its onset where it has no duration) to the end of its "
        "trial. Left out: the trial ends with the marker, or is one window long if that is longer.",
    )
    trial_stop_offset_samples: int | None = Field(default=None, description="The same in EEG samples.")
    on_missing: Literal["error", "warn", "ignore"] = Field(
        default="warn",
        description="What to do if a text of the mapping is on no marker of a recording: refuse it, say so, or "
        "nothing.",
    )
    start: Literal["overlap", "first"] = Field(
        default="overlap",
        description="overlap: windows lie where both EEG and fNIRS were recorded. first: they lie where at "
        "least one was, from its beginning to its end; what the other lacks is NaN, with its coverage.",
    )
    line_hz: float | None = Field(
        default=None,
        gt=0,
        description="Frequency of the mains in Hz, for the line noise of the EEG. Left out: 50 or 60, whichever "
        "shows more.",
    )

    @field_validator("mapping")
    @classmethod
    def _labels_fit(cls, mapping: dict[str, int]) -> dict[str, int]:
        if wrong := {text: label for text, label in mapping.items() if not 0 <= label <= _LARGEST_LABEL}:
            raise ValueError(f"labels must be from 0 to {_LARGEST_LABEL}, found {wrong}")
        return mapping

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.window_size_s is self.window_size_samples is None and not self.cuts_trials:
            raise ValueError("give either window_size_s or window_size_samples")
        for name in ("window_size", "window_stride", "trial_start_offset", "trial_stop_offset"):
            if getattr(self, f"{name}_s") is not None and getattr(self, f"{name}_samples") is not None:
                raise ValueError(f"give {name}_s or {name}_samples, not both")
        if self.cuts_trials and not self.mapping:
            raise ValueError('say by a mapping which markers begin a trial, e.g. {"LEFT": 0, "RIGHT": 1}')
        return self

    @property
    def cuts_trials(self) -> bool:
        """Whether windows are cut around markers."""
        return any(
            getattr(self, f"trial_{edge}_offset_{unit}") is not None
            for edge in ("start", "stop")
            for unit in ("s", "samples")
        )

    @property
    def is_whole_trial(self) -> bool:
        """Whether a window is as long as its trial."""
        return self.window_size_s is self.window_size_samples is None

    @classmethod
    def of(cls, spec: WindowSpec | Mapping[str, Any]) -> WindowSpec:
        """Return a specification, from one or from a plain mapping.

        Parameters
        ----------
        spec
            A `WindowSpec`, or its fields.

        Raises
        ------
        BadInput
            If a field is unknown or its value does not fit; every one is named.
        """
        if isinstance(spec, cls):
            return spec
        try:
            return cls.model_validate(spec)
        except ValidationError as error:
            raise BadInput(*(_problem(dict(item)) for item in error.errors())) from error

    def length_s(self, rate: float) -> float | None:
        """Return the length of a window in s, None where it is its trial's; `rate` in Hz is that of the samples."""
        return _seconds(self.window_size_s, self.window_size_samples, rate)

    def stride_s(self, rate: float) -> float | None:
        """Return the stride in s, None where it is the length; `rate` as in `length_s`."""
        return _seconds(self.window_stride_s, self.window_stride_samples, rate)

    def trial_offsets_s(self, rate: float) -> tuple[float, float | None]:
        """Return what begin and end of a trial are off those of its marker, s; None: the end is not said."""
        start = _seconds(self.trial_start_offset_s, self.trial_start_offset_samples, rate)
        return start or 0.0, _seconds(self.trial_stop_offset_s, self.trial_stop_offset_samples, rate)


def _seconds(seconds: float | None, samples: int | None, rate: float) -> float | None:
    return seconds if samples is None else samples / rate


def _problem(item: dict[str, Any]) -> Problem:
    from difflib import get_close_matches

    where = ".".join(str(part) for part in item["loc"])
    found = "nothing that fits" if not item["loc"] else repr(item["input"])
    if item["type"] == "extra_forbidden":
        near = get_close_matches(where, WindowSpec.model_fields, 1)
        fix = f"did you mean {near[0]}?" if near else f"use one of {', '.join(WindowSpec.model_fields)}"
        return Problem(f"windows.{where}", "an unknown setting", "a known one", fix.rstrip("?"), "spec")
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return Problem(f"windows.{where}".rstrip("."), found, message, "change it", "spec")
