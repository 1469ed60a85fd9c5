"""Credentials for a bucket: from the environment by default, or from a Prefect block that is named, never given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from prefect_aws import AwsCredentials

__all__ = ["storage_options"]


def storage_options(credentials: str | None) -> dict[str, Any] | None:
    """Return what s3fs needs beyond the environment, wherever this runs.

    Parameters
    ----------
    credentials
        Name of an ``aws-credentials`` block; None leaves everything to the environment.

    Raises
    ------
    BadInput
        If there is no such block.
    """
    if credentials is None:
        return None
    from prefect_aws import AwsCredentials

    try:
        block = AwsCredentials.load(credentials)
    except ValueError as error:
        fix = "make it with python -m deployments.setup, or name another"
        problem = Problem(f"block {credentials!r}", "no block", "an aws-credentials block", fix, "no-block")
        raise BadInput(problem) from error
    assert isinstance(block, AwsCredentials)
    return _options(block)


def _options(block: AwsCredentials) -> dict[str, Any]:
    secret = block.aws_secret_access_key
    given = {
        "key": block.aws_access_key_id,
        "secret": secret.get_secret_value() if secret else None,
        "token": block.aws_session_token,
        "profile": block.profile_name,
        "endpoint_url": block.aws_client_parameters.endpoint_url,
        "client_kwargs": {"region_name": block.region_name} if block.region_name else None,
    }
    return {name: value for name, value in given.items() if value}
