"""Make what the deployments need on a Prefect server: ``python -m deployments.setup``.

Always this folder's ``prefect.yaml``, where there is none, the work pool that it names, and the automations of
``automations.yaml``. Blocks only if the environment asks for them: credentials from ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` (with
``AWS_ENDPOINT_URL`` and ``AWS_REGION``), result storage from ``AGGRADE_RESULTS`` (``s3://bucket/prefix``). Notifications are off until ``AGGRADE_NOTIFY_URL`` names a webhook. Run it as often as you like:
what is there as it should be is left alone. ``--check`` changes nothing and says what is missing; ``--deploy`` deploys every
flow, too.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import yaml
from cyclopts import App, Parameter
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.types import SecretDict
from prefect.workers.process import ProcessWorker
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from pydantic import SecretStr

from aggrade import __version__
from aggrade.errors import AggradeError, BadInput, Problem, Unavailable
from deployments.deploying import FILE, copy_file
from deployments.deploying import deploy as deploy_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from prefect.blocks.core import Block
    from prefect.events.schemas.automations import Automation

__all__ = ["BLOCK", "POOL", "Part", "automations", "parts", "setup"]

POOL = "aggrade"
BLOCK = "aggrade"
AUTOMATIONS = Path(__file__).with_name("automations.yaml")


@dataclass(frozen=True)
class Part:
    """One thing that a deployment needs.

    Parameters
    ----------
    name
        What it is, as a person would say it.
    is_there
        Whether it is there as it should be.
    make
        Makes it, or brings it to what it should be.
    """

    name: str
    is_there: Callable[[], bool]
    make: Callable[[], None]


def parts(environment: Mapping[str, str]) -> list[Part]:
    """Return what is needed, in the order in which it is made.

    Parameters
    ----------
    environment
        Variables as in `os.environ`.

    Raises
    ------
    BadInput
        If the environment asks for something that can't be made.
    """
    needed = [
        Part(f"work pool {POOL!r}", _has_pool, _make_pool),
        Part(f"{FILE} in this folder", FILE.is_file, copy_file),
        *map(_automation, automations()),
    ]
    needed += _notifications(environment.get("AGGRADE_NOTIFY_URL"))
    credentials = _credentials(environment)
    if credentials is not None:
        needed.append(_block(f"credentials aws-credentials/{BLOCK}", credentials))
    if environment.get("AGGRADE_RESULTS"):
        bucket = _results(environment["AGGRADE_RESULTS"], credentials)
        needed.append(_block(f"result storage s3-bucket/{BLOCK}", bucket))
    return needed


def automations() -> list[AutomationCore]:
    """Return the automations of ``automations.yaml`` that are always on."""
    return [AutomationCore.model_validate(one) for one in _told("automations")]


def _told(kind: str) -> list[dict[str, Any]]:
    told: dict[str, list[dict[str, Any]]] = yaml.safe_load(AUTOMATIONS.read_text())
    return told[kind]


def _automation(wanted: AutomationCore) -> Part:
    return _automation_named(wanted.name, lambda: wanted)


def _automation_named(name: str, wanted: Callable[[], AutomationCore | None]) -> Part:
    """Return the part that an automation is; `wanted` gives None as long as something that it needs is missing."""

    def there() -> list[Automation]:
        with get_client(sync_client=True) as client:
            return client.read_automations_by_name(name)

    def is_there() -> bool:
        asked = wanted()
        return asked is not None and [_said(one) for one in there()] == [_said(asked)]

    def make() -> None:
        asked = wanted()
        assert asked is not None, "what an automation needs is made before it"
        with get_client(sync_client=True) as client:
            for old in there():
                client.delete_automation(old.id)
            client.create_automation(asked)

    return Part(f"automation {name!r}", is_there, make)


def _notifications(url: str | None) -> list[Part]:
    """Return what sends notifications to a webhook: the block that knows it, then the automations that use the block."""
    if not url:
        return []
    if not url.startswith(("https://", "http://")):
        fix = "set it to the URL of a webhook, or unset it"
        raise BadInput(
            Problem("environment variable AGGRADE_NOTIFY_URL", "no URL", "https://…", fix, "notify")
        )
    webhook = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{url}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        secrets=SecretDict({"url": url}),
        headers=None,
        cookies=None,
    )
    slug = CustomWebhookNotificationBlock.get_block_type_slug()
    return [
        _block(f"webhook {slug}/{BLOCK}", webhook),
        *(_notification(one, slug) for one in _told("notifications")),
    ]


def _notification(told: dict[str, Any], slug: str) -> Part:
    def wanted() -> AutomationCore | None:
        with get_client(sync_client=True) as client:
            try:
                block = client.read_block_document_by_name(BLOCK, slug).id
            except ObjectNotFound:
                return None
        actions = [action | {"block_document_id": block} for action in told["actions"]]
        return AutomationCore.model_validate(told | {"actions": actions})

    return _automation_named(told["name"], wanted)


def _said(automation: AutomationCore) -> dict[str, Any]:
    """Return what an automation says, its sets in order, without the ids that the server gives it and its parts."""
    said: dict[str, Any] = automation.model_dump(mode="json", include={*AutomationCore.model_fields})
    trigger = {name: sorted(one) if isinstance(one, list) else one for name, one in said["trigger"].items()}
    trigger.pop("id", None)
    return said | {"trigger": trigger}


def _has_pool() -> bool:
    with get_client(sync_client=True) as client:
        try:
            return client.read_work_pool(POOL).type == ProcessWorker.type
        except ObjectNotFound:
            return False


def _make_pool() -> None:
    template = ProcessWorker.get_default_base_job_template()
    pool = WorkPoolCreate(
        name=POOL,
        type=ProcessWorker.type,
        base_job_template=template,
        description="Runs aggrade's flows as processes of the worker's machine.",
    )
    with get_client(sync_client=True) as client:
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists as error:
            found, fix = (
                f"one of type {client.read_work_pool(POOL).type!r}",
                f"delete it: prefect work-pool delete {POOL}",
            )
            raise BadInput(Problem(f"work pool {POOL!r}", found, "type 'process'", fix, "pool")) from error


def _credentials(environment: Mapping[str, str]) -> AwsCredentials | None:
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if bool(key) != bool(secret):
        found, fix = "one of them alone", "set both, or unset both where there is an instance role"
        both = "environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise BadInput(Problem(both, found, "both or neither", fix, "credentials"))
    if not key or not secret:
        return None
    if environment.get("AWS_SESSION_TOKEN"):
        found = (
            "credentials that expire; Prefect's block would show the token in clear, in its database as well"
        )
        fix = "give lasting ones, or unset all three here and leave them to the environment of the workers"
        raise BadInput(
            Problem("environment variable AWS_SESSION_TOKEN", found, "lasting credentials", fix, "token")
        )
    endpoint = environment.get("AWS_ENDPOINT_URL") or None
    if endpoint is not None and not endpoint.startswith(("https://", "http://")):
        fix = "set it to the URL of the server, or unset it for AWS"
        raise BadInput(
            Problem("environment variable AWS_ENDPOINT_URL", repr(endpoint), "https://…", fix, "endpoint")
        )
    return AwsCredentials(
        aws_access_key_id=key,
        aws_secret_access_key=SecretStr(secret),
        region_name=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"),
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint),
    )


def _results(url: str, credentials: AwsCredentials | None) -> S3Bucket:
    bucket, _, folder = url.removeprefix("s3://").rstrip("/").partition("/")
    if not url.startswith("s3://") or not bucket:
        fix = "set it to a bucket and a folder in it, or unset it"
        raise BadInput(
            Problem("environment variable AGGRADE_RESULTS", repr(url), "s3://bucket/prefix", fix, "results")
        )
    return S3Bucket(bucket_name=bucket, bucket_folder=folder, credentials=credentials or AwsCredentials())


def _block(name: str, block: Block) -> Part:
    def is_there() -> bool:
        try:
            return bool(_plain(type(block).load(BLOCK)) == _plain(block))  # type: ignore[arg-type]
        except ValueError:
            return False

    def make() -> None:
        block.save(BLOCK, overwrite=True)

    return Part(name, is_there, make)


def _plain(block: Block) -> Any:
    """Return what a block says, without where it is kept."""
    return _without_places(block.model_dump(mode="json", context={"include_secrets": True}))


def _without_places(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_places(inner) for name, inner in value.items() if not name.startswith("_")}


def setup(
    *,
    check: Annotated[bool, Parameter(negative=())] = False,
    deploy: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make what is missing on the Prefect server that PREFECT_API_URL names.

    Parameters
    ----------
    check
        Change nothing; say what is missing, and exit with 1 if anything is.
    deploy
        Then deploy every flow of this folder's prefect.yaml; schedules that were switched on stay on.

    Returns
    -------
    int
        0 if everything is there now.

    Raises
    ------
    BadInput
        If no server is named, or the environment asks for something that can't be made.
    Unavailable
        If the server can't be reached, or is none of Prefect's.
    """
    url = PREFECT_API_URL.value()
    if not url:
        fix = "export PREFECT_API_URL=http://127.0.0.1:4200/api, or where your server is"
        raise BadInput(Problem("PREFECT_API_URL", "nothing", "the API of a Prefect server", fix, "no-server"))
    try:
        missing = sum(not _is_there_now(part, check=check) for part in parts(os.environ))
    except httpx.TransportError as error:
        found, fix = f"no answer ({error})", "start it with `prefect server start`, or name another"
        raise Unavailable(Problem(url, found, "a Prefect server", fix, "no-server")) from error
    except PrefectHTTPStatusError as error:
        found = f"{error.response.status_code} {error.response.reason_phrase} for {error.request.url.path}"
        fix = "give the URL of its API, which usually ends with /api, and PREFECT_API_AUTH_STRING where it asks for one"
        raise Unavailable(Problem(url, found, "the API of a Prefect server", fix, "no-server")) from error
    if check:
        return int(missing > 0)
    if os.environ.get("AGGRADE_RESULTS"):
        print(
            f"results go there with: prefect config set PREFECT_DEFAULT_RESULT_STORAGE_BLOCK=s3-bucket/{BLOCK}"
        )
    if deploy:
        deploy_all()
    return 0


def _is_there_now(part: Part, *, check: bool) -> bool:
    """Make a part where it is missing and may be made; say what became of it."""
    there = part.is_there()
    if not there and not check:
        part.make()
    print(f"{part.name}: {'there' if there else 'missing' if check else 'made'}", flush=True)
    return there or not check


def main() -> None:
    """Run the set-up from the command line."""
    app = App(name="python -m deployments.setup", help_format="plaintext", version=__version__)
    app.default(setup)
    try:
        sys.exit(app(result_action="return_int_as_exit_code_else_zero"))
    except AggradeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
