"""What a server says of many objects at once, in aggrade's classes."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput, Unavailable
from aggrade.storage.s3_errors import undeleted

DENIED = {"Key": "lab/a", "Code": "AccessDenied", "Message": "Access Denied."}
BUSY = {"Key": "lab/b", "Code": "InternalError", "Message": "We encountered an internal error."}
BARE = {"Key": "lab/c", "Code": "SlowDown"}


@pytest.mark.parametrize(
    "code", ["AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"]
)
def test_a_refused_right(code):
    """No repetition cures it: it is bad input that speaks of the credentials, and names each object."""
    error = undeleted([{**DENIED, "Code": code}, {**DENIED, "Key": "lab/d"}], "bucket", "http://here")
    assert isinstance(error, BadInput)
    assert {one.code for one in error.problems} == {"credentials-refused"}
    assert [one.where for one in error.problems] == ["s3://bucket/lab/a", "s3://bucket/lab/d"]
    assert f"Access Denied. ({code})" in str(error)
    assert "credentials that http://here accepts for bucket 'bucket'" in str(error)
    assert "what they are allowed to do" in str(error)


def test_what_may_pass():
    """Whatever else keeps an object may be over next time; what the server says is passed on."""
    error = undeleted([BUSY, BARE], "bucket", "http://here")
    assert isinstance(error, Unavailable)
    assert [(one.where, one.found, one.code) for one in error.problems] == [
        ("s3://bucket/lab/b", "We encountered an internal error.", "delete-failed"),
        ("s3://bucket/lab/c", "SlowDown", "delete-failed"),
    ]


def test_both():
    """A right that is missing is told first: deleting again would not do."""
    error = undeleted([BUSY, DENIED], "bucket", "http://here")
    assert isinstance(error, BadInput)
    assert [one.where for one in error.problems] == ["s3://bucket/lab/a"]
