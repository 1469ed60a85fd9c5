"""Settings from the environment."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from aggrade.errors import BadInput
from aggrade.settings import Settings, settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """Leave no setting in the environment."""
    for field in fields(Settings):
        monkeypatch.delenv(f"AGGRADE_{field.name.upper()}", raising=False)


def test_defaults():
    """Without variables the defaults hold: a lease of half a minute, five attempts."""
    assert settings() == Settings()
    assert (settings().lease_seconds, settings().request_attempts) == (30.0, 5)


@pytest.mark.parametrize("field", fields(Settings), ids=lambda field: field.name)
def test_each_has_its_variable(monkeypatch, field):
    """Each setting is read from its own variable, and changes no other."""
    monkeypatch.setenv(f"AGGRADE_{field.name.upper()}", "7")
    changed = {other.name for other in fields(Settings) if getattr(settings(), other.name) != other.default}
    assert changed == {field.name}
    assert getattr(settings(), field.name) == 7
    assert type(getattr(settings(), field.name)) is type(field.default)


def test_seconds_may_be_fractions(monkeypatch):
    """Seconds are real numbers."""
    monkeypatch.setenv("AGGRADE_LEASE_SECONDS", "0.25")
    assert settings().lease_seconds == 0.25


@pytest.mark.parametrize("text", ["0", "-1", "", "many", "nan", "inf", "1e999", "30 s"])
@pytest.mark.parametrize("name", ["LEASE_SECONDS", "REQUEST_ATTEMPTS"])
def test_refuses_what_is_no_positive_number(monkeypatch, name, text):
    """A variable that holds no finite number above 0 is named with what it holds."""
    monkeypatch.setenv(f"AGGRADE_{name}", text)
    with pytest.raises(BadInput) as caught:
        settings()
    assert caught.value.code == "setting"
    assert f"AGGRADE_{name}" in str(caught.value)
    assert repr(text) in str(caught.value)


def test_counts_are_whole(monkeypatch):
    """Half an attempt is refused."""
    monkeypatch.setenv("AGGRADE_REQUEST_ATTEMPTS", "2.5")
    with pytest.raises(BadInput):
        settings()


def test_cannot_be_changed():
    """Settings are a value."""
    with pytest.raises(FrozenInstanceError):
        settings().lease_seconds = 1.0
