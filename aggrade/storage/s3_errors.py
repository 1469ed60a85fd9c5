"""What S3 says, in aggrade's five classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.errors import AggradeError, BadInput, Problem, Unavailable
from aggrade.storage import ConditionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade.storage.s3_connection import Failure

__all__ = ["ABSENT", "CONTENDED", "FORBIDDEN", "MISMATCH", "OUT_OF_RANGE", "UNMET", "translate", "undeleted"]

MISMATCH, FORBIDDEN, ABSENT, CONTENDED, UNMET, OUT_OF_RANGE = 400, 403, 404, 409, 412, 416

_REFUSED = {
    "401",
    "403",
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "CredentialRetrievalError",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoCredentialsError",
    "PartialCredentialsError",
    "SSOTokenLoadError",
    "SignatureDoesNotMatch",
    "TokenRetrievalError",
    "TokenRefreshRequired",
    "UnauthorizedSSOTokenError",
}
_MISDIRECTED = {
    "301",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_NAMELESS = {"InvalidBucketName", "ParamValidationError"}


def translate(failure: Failure, where: str, bucket: str, endpoint: str) -> AggradeError:
    """Return the error to raise for a request that failed.

    Parameters
    ----------
    failure
        Why it failed.
    where
        URL of the object or folder that it was about.
    bucket, endpoint
        What it was sent to.
    """
    found = f"{failure.text} ({failure.code})" if failure.code not in failure.text else failure.text
    if failure.status == UNMET or (failure.status == CONTENDED and failure.transient):
        return ConditionFailed(
            Problem(
                where, found, "the object as it was read", "read it again and plan again", "condition-failed"
            )
        )
    if failure.transient:
        expected, fix = f"an answer from {endpoint}", "look at the server and the network, then retry"
        return Unavailable(Problem(where, found, expected, fix, "no-answer"))
    return BadInput(_bad(failure.code, where, found, bucket, endpoint))


def undeleted(errors: Sequence[Mapping[str, str]], bucket: str, endpoint: str) -> AggradeError:
    """Return the error to raise for a deletion of many objects of which the reply says that some stay.

    Parameters
    ----------
    errors
        As the reply has them: key, code and message of each.
    bucket, endpoint
        What it was sent to.
    """
    problems = [_staying(error, bucket, endpoint) for error in errors]
    refused = [one for one in problems if one.code == "credentials-refused"]
    return BadInput(*refused) if refused else Unavailable(*problems)


def _staying(error: Mapping[str, str], bucket: str, endpoint: str) -> Problem:
    where, code = f"s3://{bucket}/{error.get('Key')}", error.get("Code", "")
    text = error.get("Message") or code
    if code in _REFUSED:
        found = f"{text} ({code})" if code not in text else text
        return _bad(code, where, found, bucket, endpoint)
    return Problem(where, text, "a deleted object", "delete it again", "delete-failed")


def _bad(code: str, where: str, found: str, bucket: str, endpoint: str) -> Problem:
    if code == "NoSuchBucket":
        found = f"no such bucket at {endpoint}"
        return Problem(f"s3://{bucket}", found, "an existing bucket", _MAKE, "bucket-missing")
    if code in _REFUSED:
        expected = f"credentials that {endpoint} accepts for bucket {bucket!r}"
        return Problem(where, found, expected, _CREDENTIALS, "credentials-refused")
    if code in _CLOCK:
        return Problem(where, found, f"the same time as {endpoint}", "set this machine's clock", "clock")
    if code in _MISDIRECTED:
        expected = f"the region and endpoint of bucket {bucket!r}, not {endpoint}"
        return Problem(where, found, expected, "set AWS_DEFAULT_REGION or AWS_ENDPOINT_URL", "region")
    if code in _NAMELESS:
        return Problem(where, found, "a bucket's name", "correct the URL", "bucket-name")
    expected = f"a request that {endpoint} accepts"
    return Problem(
        where, found, expected, "see what the server's documentation says of this", "request-refused"
    )


_MAKE = "create the bucket, or correct the URL or AWS_ENDPOINT_URL"
_CREDENTIALS = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what they are allowed to do"
