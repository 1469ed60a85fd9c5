"""Requests to S3 through s3fs's client: configured as s3fs is, repeated here and nowhere else.

s3fs and botocore each repeat what failed, and a conditional request that is repeated after its reply was lost
fails on its own success. Both are told to send once; `Connection.call` repeats, and says how often it did.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem
from aggrade.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from s3fs import S3FileSystem

__all__ = ["CallFailed", "Connection", "Failure", "connect"]

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = (0.1, 5.0)
_SLOWEST_BYTES_PER_SECOND = 1 << 20
_CONTENDED = 409
_TRANSIENT_CODES = {
    "BadDigest",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request did not succeed.

    Parameters
    ----------
    status
        The HTTP status, 0 if no reply came.
    code
        What S3 calls the error, or the name of the exception.
    text
        What S3 or the exception says.
    transient
        Whether the same request may succeed later.
    """

    status: int
    code: str
    text: str
    transient: bool


class CallFailed(Exception):  # noqa: N818 - it says what happened
    """A request that did not succeed, for the `failure` of the last of so many `attempts`.

    After the first attempt an earlier one, whose reply was lost, may have taken effect.
    """

    def __init__(self, failure: Failure, attempts: int) -> None:
        super().__init__(failure, attempts)
        self.failure = failure
        self.attempts = attempts


class Connection:
    """What all storages with the same options in one process share.

    Parameters
    ----------
    options
        What `s3fs.S3FileSystem` takes.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._lock = threading.Lock()
        self._opened: S3FileSystem | None = None
        self._seen: set[str] = set()

    @property
    def endpoint(self) -> str:
        """Where requests go, as a URL."""
        return str(self._system().s3.meta.endpoint_url)

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Send one request until it is answered, at most as often as the settings say.

        Parameters
        ----------
        operation
            The client's method, such as ``"put_object"``.
        **request
            Its arguments.

        Returns
        -------
        dict
            The response; its body, if any, has been read and is bytes.

        Raises
        ------
        CallFailed
            If the answer is an error, or if there was none to the last attempt either.
        BadInput
            If no client can be made from the options.
        """
        attempt, most = 1, settings().request_attempts
        while True:
            try:
                return self._send(operation, request)
            except Exception as error:
                failure = _failure(error)
                if failure is None:
                    raise
                if not failure.transient or attempt >= most:
                    raise CallFailed(failure, attempt) from (_reply(error) or error)
            logger.info(
                "%s: %s %s in attempt %d of %d", operation, failure.status, failure.code, attempt, most
            )
            longest = min(_PAUSE_SECONDS[0] * 2**attempt, _PAUSE_SECONDS[1])
            time.sleep(random.uniform(longest / 4, longest))  # noqa: S311 - jitter
            attempt += 1

    def call_once(self, operation: str, **request: Any) -> dict[str, Any]:
        """Send one request as `call` does, and never again. Raises as `call`."""
        try:
            return self._send(operation, request)
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            raise CallFailed(failure, 1) from (_reply(error) or error)

    def has_seen(self, bucket: str) -> bool:
        """Tell whether a request to this bucket has succeeded."""
        return bucket in self._seen

    def _send(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        from fsspec.asyn import sync

        system = self._system()
        response: dict[str, Any] = sync(system.loop, _exchange, system, operation, request)
        self._seen.add(request["Bucket"])
        return response

    def _system(self) -> S3FileSystem:
        with self._lock:
            if self._opened is None:
                self._opened = _open(self._options)
            return self._opened


def connect(options: Mapping[str, Any]) -> Connection:
    """Return this process's connection with these options, as the environment is now; sends nothing."""
    from fsspec.utils import tokenize

    environment = {name: value for name, value in os.environ.items() if name.startswith(_READ_BY_S3FS)}
    key = (os.getpid(), tokenize(dict(options), environment))
    return _CONNECTIONS.get(key) or _CONNECTIONS.setdefault(key, Connection(options))


_CONNECTIONS: dict[tuple[int, str], Connection] = {}
_READ_BY_S3FS = ("AWS_", "FSSPEC_", "AGGRADE_")


def _open(options: Mapping[str, Any]) -> S3FileSystem:
    from s3fs import S3FileSystem

    now = settings()
    chosen = {
        "connect_timeout": now.request_seconds,
        "read_timeout": now.request_seconds,
        "max_pool_connections": now.parallel_requests,
        **(options.get("config_kwargs") or {}),
        "retries": {"total_max_attempts": 1},
    }
    try:
        system = S3FileSystem(
            **{**options, "config_kwargs": chosen, "use_listings_cache": False}, skip_instance_cache=True
        )
        system.retries = 1
        system.connect()
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        expected = "what s3fs.S3FileSystem takes"
        fix = "correct storage_options or the AWS_ variables and files"
        raise BadInput(Problem("storage_options", found, expected, fix, "storage-options")) from error
    return system


async def _exchange(system: S3FileSystem, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    allowed = settings().request_seconds + len(request.get("Body", b"")) / _SLOWEST_BYTES_PER_SECOND
    async with asyncio.timeout(None if operation == "get_object" else allowed):
        response: dict[str, Any] = await system._call_s3(operation, **request)  # noqa: SLF001 - call_s3's coroutine
        if operation == "get_object":
            async with response["Body"] as body:
                response["Body"] = await body.read()
    return response


def _reply(error: BaseException) -> Any:
    """Return S3's own error behind what s3fs makes of it, if it is one."""
    from botocore.exceptions import ClientError

    return next((one for one in (error, error.__cause__) if isinstance(one, ClientError)), None)


def _failure(error: Exception) -> Failure | None:
    """Return what went wrong with a request; None if it is no request that went wrong."""
    from botocore.exceptions import BotoCoreError, HTTPClientError
    from botocore.exceptions import ConnectionError as NotConnectedError
    from s3fs.core import S3_RETRYABLE_ERRORS

    if reply := _reply(error):
        status = int(reply.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = str(reply.response.get("Error", {}).get("Code", status))
        transient = status >= 500 and status != 501
        transient = transient or status in {_CONTENDED, 429} or code in _TRANSIENT_CODES
        return Failure(status, code, str(reply.response.get("Error", {}).get("Message", reply)), transient)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(
        error, (*S3_RETRYABLE_ERRORS, HTTPClientError, NotConnectedError, ConnectionError, TimeoutError)
    ):
        return Failure(0, type(error).__name__, text, True)
    if isinstance(error, BotoCoreError):
        return Failure(0, type(error).__name__, text, False)
    return None
