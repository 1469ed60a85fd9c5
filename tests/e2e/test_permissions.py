"""The smallest policy of docs/operations.md, given to a real server that enforces it."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

import pytest
from make_datasets import CHUNKS, make_session

import aggrade
from aggrade.drilling import drill
from aggrade.errors import AggradeError, BadInput, Unavailable
from aggrade.repairing import repair
from aggrade.storage import open_storage
from flows.demo_servers import S3Server, s3_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

URL = "s3://my-bucket/my-prefix"
EVERYTHING = ["Admin", "Read", "List", "Tagging", "Write"]


def documented():
    """Return the policy that the operations card shows."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    examples = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (policy,) = (one for one in map(json.loads, examples) if "Statement" in one)
    return policy


def actions(policy):
    """Return every action of a policy."""
    return [action for statement in policy["Statement"] for action in statement["Action"]]


def without(policy, left_out):
    """Return a policy without one action."""
    statements = [
        {**one, "Action": [action for action in one["Action"] if action != left_out]}
        for one in policy["Statement"]
    ]
    return {**policy, "Statement": [one for one in statements if one["Action"]]}


ACTIONS = actions(documented())


def identity(name, **rights):
    """Return a user as SeaweedFS's configuration has it."""
    pair = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
    return {"name": name, "credentials": [pair], **rights}


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """Run a server; return name → storage options of one who may do all, of one who has the policy, of those with less."""
    home = tmp_path_factory.mktemp("s3")
    policies = {"policy": documented()} | {action: without(documented(), action) for action in ACTIONS}
    limited = [identity(name, actions=[], policyNames=[name]) for name in policies]
    identities = [identity("admin", actions=EVERYTHING), *limited]
    attached = [{"name": name, "content": json.dumps(policy)} for name, policy in policies.items()]
    (home / "s3.json").touch(mode=0o600)
    (home / "s3.json").write_text(json.dumps({"identities": identities, "policies": attached}))
    with s3_server(home, ["my-bucket", "other"]) as server:
        pairs = {one["name"]: one["credentials"][0] for one in identities}
        yield {
            name: S3Server(server.endpoint, pair["accessKey"], pair["secretKey"], server.log).storage_options
            for name, pair in pairs.items()
        }


@pytest.mark.long
def test_it_suffices_for_a_drill(users):
    """Conditions, killed appends, two writers and a restore hold with no other right."""
    report = drill(URL, storage_options=users["policy"])
    assert report.ok, str(report)


def test_it_suffices_for_everything_else(users):
    """So do appending, replacing, removing, verifying, repairing, and pruning backups."""
    options = users["policy"]
    for label, windows in (("a", 3), ("b", 5)):
        session = make_session(label, windows, windows)
        aggrade.append(session, URL, grow=("window",), chunks=CHUNKS, storage_options=options)
    aggrade.append(make_session("b", 2, 9), URL, on_conflict="replace", storage_options=options)
    aggrade.remove(URL, "a", storage_options=options)
    open_storage(f"{URL}/windows.zarr", options).write("eeg/c/9/0/0/0", b"left")
    assert repair(URL, storage_options=options).done
    assert aggrade.prune_backups(URL, keep=1, storage_options=options)
    assert aggrade.verify(URL, storage_options=options).ok
    assert list(aggrade.open_windows(URL, storage_options=options)["session"].values) == ["b"]


@pytest.mark.long
@pytest.mark.parametrize("action", ACTIONS)
def test_none_can_be_left_out(users, action):
    """Without any one of its actions the drill does not even begin, or fails."""
    with pytest.raises(AggradeError):
        drill(f"{URL}/without/{action.partition(':')[2]}", storage_options=users[action])
    if action == "s3:DeleteObject":
        left = open_storage(URL, users["admin"])
        left.delete([info.key for info in left.list("without/")])


def test_a_removal_that_may_not_delete(users):
    """Objects that a reply says to stay are a refused right: behind the switch the error names what completes it."""
    url, limited = f"{URL}/undeleted", users["s3:DeleteObject"]
    for label in ("a", "b", "c"):
        session = make_session(label, 2, ord(label))
        aggrade.append(session, url, grow=("window",), chunks=CHUNKS, storage_options=users["policy"])
    left = open_storage(url, limited)
    with pytest.raises(BadInput, match="credentials that") as refused:
        left.delete([info.key for info in left.list()])
    assert refused.value.code == "credentials-refused"
    with pytest.raises(Unavailable, match="the commit shows") as caught:
        aggrade.remove(url, "b", purge_backups=True, storage_options=limited)
    assert caught.value.code == "half-done"
    assert f"aggrade recover {url}/windows.zarr" in str(caught.value)
    receipt = aggrade.remove(url, "b", purge_backups=True, storage_options=users["policy"])
    assert len(receipt.details["completed"]) == 1
    assert receipt.details["purged"]
    assert list(aggrade.open_windows(url, storage_options=users["policy"])["session"].values) == ["a", "c"]
    assert aggrade.verify(url, storage_options=users["policy"]).ok


@pytest.mark.parametrize("url", ["s3://my-bucket/elsewhere", "s3://other/my-prefix"])
def test_it_opens_nothing_else(users, url):
    """Another prefix of the bucket and another bucket stay closed, and the error speaks of the credentials."""
    with pytest.raises(BadInput, match="credentials that"):
        aggrade.append(make_session("a", 1, 1), url, storage_options=users["policy"])
    assert list(open_storage(url, users["admin"]).list()) == []
