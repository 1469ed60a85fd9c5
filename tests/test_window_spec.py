"""The specification of windows takes what a person writes and refuses the rest by name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from aggrade.errors import BadInput
from aggrade.window_spec import WindowSpec


def test_a_plain_mapping_is_taken():
    """A mapping, and a specification itself, give the same specification."""
    spec = WindowSpec.of({"window_size_s": 2, "eeg_channels": ["Fz", "C*"], "mapping": {"LEFT": 0}})
    assert spec == WindowSpec(window_size_s=2.0, eeg_channels=("Fz", "C*"), mapping={"LEFT": 0})
    assert WindowSpec.of(spec) is spec


def test_it_survives_json():
    """What is written as JSON is read back equal."""
    spec = WindowSpec(window_size_samples=512, fnirs_window_s=5, fnirs_offset_s=-1, streams={"fnirs": "RAW"})
    assert WindowSpec.model_validate_json(spec.model_dump_json()) == spec


def test_it_is_frozen():
    """A specification cannot be changed after it was checked."""
    with pytest.raises(ValidationError):
        WindowSpec(window_size_s=2).window_size_s = 3


def test_every_field_says_what_to_do():
    """Each field of the form bears a description of at least a clause."""
    for name, field in WindowSpec.model_fields.items():
        assert field.description, name
        assert len(field.description.split()) >= 5, name


@pytest.mark.parametrize(
    ("given", "where", "hint"),
    [
        ({"window_size": 2}, "windows.window_size", "window_size_s"),
        ({"window_size_s": 2, "fnirs_ofset_s": 1}, "windows.fnirs_ofset_s", "fnirs_offset_s"),
        ({"window_size_s": -2}, "windows.window_size_s", "greater than 0"),
        ({"window_size_s": float("nan")}, "windows.window_size_s", "finite"),
        ({"window_size_s": 2, "start": "middle"}, "windows.start", "overlap"),
        ({"window_size_s": 2, "mapping": {"a": -1}}, "windows.mapping", "0 to 32767"),
        ({"window_size_s": 2, "mapping": {"a": 40000}}, "windows.mapping", "0 to 32767"),
        ({"window_size_s": 2, "streams": {"ecg": "x"}}, "windows.streams", "eeg"),
        ({"window_size_s": 2, "eeg_channels": "Fz"}, "windows.eeg_channels", "tuple"),
        ({}, "windows", "window_size_s or window_size_samples"),
        ({"window_size_s": 2, "window_size_samples": 512}, "windows", "window_size_s or"),
        ({"window_size_s": 2, "window_stride_s": 1, "window_stride_samples": 9}, "windows", "not both"),
        (
            {"mapping": {"a": 1}, "trial_stop_offset_s": 1, "trial_stop_offset_samples": 9},
            "windows",
            "not both",
        ),
        ({"window_size_s": 2, "trial_start_offset_s": 0}, "windows", "mapping"),
        ({"window_size_s": 2, "on_missing": "shout"}, "windows.on_missing", "ignore"),
        ({"window_size_s": 2, "line_hz": 0}, "windows.line_hz", "greater than 0"),
    ],
)
def test_wrong_settings_are_refused_by_name(given, where, hint):
    """An unknown setting gets its near miss, a wrong value what is expected, as one BadInput."""
    with pytest.raises(BadInput) as caught:
        WindowSpec.of(given)
    text = str(caught.value)
    assert where in text
    assert hint in text
    assert "pydantic" not in text


def test_all_wrong_settings_are_reported_together():
    """Two mistakes make one error with two problems."""
    with pytest.raises(BadInput) as caught:
        WindowSpec.of({"window_size_s": 0, "label": "mode"})
    assert len(caught.value.problems) == 2


def test_sizes_in_samples_follow_the_rate():
    """512 samples at 256 Hz are 2 s; the stride is the size unless it is given."""
    spec = WindowSpec(window_size_samples=512)
    assert (spec.length_s(256.0), spec.stride_s(256.0)) == (2.0, None)
    assert WindowSpec(window_size_s=2, window_stride_samples=64).stride_s(256.0) == 0.25
    assert WindowSpec(window_size_samples=512, window_stride_s=0.5).stride_s(256.0) == 0.5


def test_trial_offsets_in_seconds_or_samples():
    """An offset, 0 included, has trials cut; 64 samples at 256 Hz are 0.25 s; an end that is not said is None."""
    whole = {"mapping": {"a": 1}}
    for name in ("trial_start_offset_s", "trial_stop_offset_s", "trial_start_offset_samples"):
        assert WindowSpec.of({**whole, name: 0}).cuts_trials
    assert not WindowSpec(window_size_s=2, mapping={"a": 1}).cuts_trials
    spec = WindowSpec.of({**whole, "trial_start_offset_samples": -64})
    assert spec.trial_offsets_s(256.0) == (-0.25, None)
    assert spec.length_s(256.0) is None
    assert WindowSpec.of({**whole, "trial_stop_offset_s": 2}).trial_offsets_s(256.0) == (0.0, 2.0)
