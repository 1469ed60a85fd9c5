"""Credentials by the name of a block."""

from __future__ import annotations

import pytest
from prefect_aws import AwsCredentials
from prefect_aws.client_parameters import AwsClientParameters

from aggrade.errors import BadInput
from tasks.credentials import storage_options


def test_without_a_block_the_environment_decides():
    """No name, no options: s3fs and boto3 read the environment."""
    assert storage_options(None) is None


@pytest.mark.usefixtures("prefect_backend")
def test_a_block_becomes_what_s3fs_takes():
    """Key, secret, endpoint and region are handed on; what the block lacks isn't."""
    AwsCredentials(
        aws_access_key_id="key",
        aws_secret_access_key="geheim",
        region_name="eu-central-1",
        aws_client_parameters=AwsClientParameters(endpoint_url="http://127.0.0.1:9"),
    ).save("lab-full", overwrite=True)
    assert storage_options("lab-full") == {
        "key": "key",
        "secret": "geheim",
        "endpoint_url": "http://127.0.0.1:9",
        "client_kwargs": {"region_name": "eu-central-1"},
    }
    AwsCredentials(profile_name="lab").save("lab-profile", overwrite=True)
    assert storage_options("lab-profile") == {"profile": "lab"}


@pytest.mark.usefixtures("prefect_backend")
def test_a_block_that_is_not_there_is_bad_input():
    """A misspelt block is named, with how to make one."""
    with pytest.raises(BadInput, match=r"deployments\.setup"):
        storage_options("no-such-block")
