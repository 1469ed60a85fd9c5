"""Finding out which conditions a store keeps, on stores that keep and that ignore them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from make_datasets import make_session

from aggrade import append, recover
from aggrade.commit import read_intent
from aggrade.commit.intent import INTENT
from aggrade.errors import BadInput, Problem, Refused, Unavailable, raise_all
from aggrade.storage import StoredObject
from aggrade.storage.counting import Counted
from aggrade.storage.local import LocalStorage
from aggrade.storage.probe import Probe, conditions, probe
from aggrade.storage.s3 import S3Storage


class Careless(LocalStorage):
    """A store that ignores some of the conditions, as some servers do."""

    def __init__(self, url, ignored):
        super().__init__(url)
        self.ignored = ignored
        self.first = {}

    def read(self, key, **span):
        """Return what was written first where reading lags behind."""
        found = super().read(key, **span)
        return self.first.get(key, found) if "stale-read" in self.ignored else found

    def list(self, prefix=""):
        """List nothing where listing lags behind."""
        return iter(()) if "stale-list" in self.ignored else super().list(prefix)

    def discard(self, key, etag):
        """Delete blindly where that is ignored."""
        found = self.stat(key)
        return super().discard(key, found.etag if "delete" in self.ignored and found else etag)

    def write(self, key, data, *, replacing=None):
        """Write blindly where the condition is one of those ignored."""
        found = self.stat(key)
        if replacing is None:
            ignored = "create" in self.ignored
        elif found is None:
            ignored = "swap-of-nothing" in self.ignored
        else:
            ignored = "swap" in self.ignored
        info = super().write(key, data, replacing=(found.etag if found else None) if ignored else replacing)
        self.first.setdefault(key, StoredObject(data, info.etag))
        return info

    def copy(self, source, target, *, unchanged=None):
        """Overwrite the target where that is ignored."""
        if "copy" not in self.ignored:
            return super().copy(source, target, unchanged=unchanged)
        found = self.stat(target)
        return super().write(target, self.read(source).data, replacing=found.etag if found else None)


class Stubborn(LocalStorage):
    """A store on which no compare-and-swap ever succeeds."""

    def write(self, key, data, *, replacing=None):
        """Refuse every replacement."""
        return super().write(key, data, replacing="other" if replacing else None)


def left(folder):
    """Return the files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_local_folders_are_safe(tmp_path):
    """A local folder keeps every condition, and the probe leaves nothing in it."""
    assert probe(LocalStorage(str(tmp_path))) == Probe("", str(tmp_path), True, True, True, True, True)
    assert left(tmp_path) == []


@pytest.mark.e2e
def test_the_s3_server_is_safe(s3_bucket, s3_proxy):
    """SeaweedFS keeps every condition and checks every digest; the probe costs thirty requests and leaves nothing."""
    found = probe(S3Storage(s3_bucket.url, s3_proxy.storage_options))
    assert found == Probe(s3_proxy.endpoint, s3_bucket.url, *[True] * 7)
    assert len(s3_proxy.requests) <= 30
    assert list(S3Storage(*s3_bucket).list()) == []


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("ignored", "missing"),
    [
        ("if-match", {"compare_and_swap", "conditional_delete"}),
        ("if-none-match", {"create_only", "conditional_copy"}),
        ("content-md5", {"content_md5"}),
        ("x-amz-checksum-sha256", {"checksums"}),
    ],
)
def test_a_server_that_ignores_headers(s3_prefix, s3_proxy, ignored, missing):
    """What the server takes no notice of is found missing, and nothing else; nothing is left behind."""
    s3_proxy.ignored_headers = {ignored}
    found = asdict(probe(S3Storage(s3_prefix.url, s3_proxy.storage_options)))
    assert {name for name, kept in found.items() if kept is False} == missing
    assert list(S3Storage(*s3_prefix).list()) == []


@pytest.mark.e2e
def test_a_server_that_knows_no_conditions(s3_prefix, s3_proxy):
    """A server that answers that it has no such thing keeps nothing of what the commit needs."""
    s3_proxy.break_next("501", kind="PUT")
    found = probe(S3Storage(s3_prefix.url, s3_proxy.storage_options))
    assert not found.create_only
    assert not found.compare_and_swap
    assert found.conditional_delete is None


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ((), (True, True, True, True, True)),
        (("create",), (False, True, True, False, True)),  # a copy by hand creates
        (("swap",), (True, False, True, True, True)),
        (("swap-of-nothing",), (True, False, True, True, True)),
        (("copy",), (True, True, True, False, True)),
        (("delete",), (True, True, True, True, False)),
        (("stale-list",), (True, True, False, True, True)),
        (("stale-read",), (True, True, False, True, True)),
        (("create", "swap", "swap-of-nothing", "copy"), (False, False, True, False, True)),
    ],
)
def test_careless_stores_are_found_out(tmp_path, ignored, expected):
    """Every condition that a store ignores is named, and no other; nothing is left behind."""
    found = probe(Careless(str(tmp_path), ignored))
    assert found == Probe("", str(tmp_path), *expected)
    assert found.safe == all(expected[:3])
    assert len(found.problems()) == 3 - sum(expected[:3])
    assert left(tmp_path) == []


def test_a_condition_that_never_holds_is_none(tmp_path):
    """A store on which replacing always fails keeps no compare-and-swap that one could use."""
    found = probe(Stubborn(str(tmp_path)))
    assert found.create_only
    assert not found.compare_and_swap


class TestOnce:
    """A server is asked once."""

    @pytest.mark.e2e
    def test_per_endpoint_and_bucket(self, s3_bucket, s3_proxy):
        """A second store of the bucket asks nothing; whoever comes by another endpoint asks."""
        stores = [S3Storage(f"{s3_bucket.url}/{name}", s3_proxy.storage_options) for name in "ab"]
        first = conditions(Counted(stores[0]))
        s3_proxy.clear()
        assert conditions(stores[1]) is first
        assert s3_proxy.requests == []
        assert conditions(S3Storage(*s3_bucket)).endpoint != first.endpoint

    @pytest.mark.e2e
    def test_what_was_recorded_counts_where_it_was_seen(self, s3_bucket, s3_proxy):
        """What another process saw spares the question, unless it was seen elsewhere."""
        storage = S3Storage(s3_bucket.url, s3_proxy.storage_options)
        seen = Probe(s3_proxy.endpoint, s3_bucket.url, *[True] * 7)
        assert conditions(storage, seen) is seen
        assert s3_proxy.requests == []
        assert conditions(storage, replace(seen, endpoint="http://elsewhere")).endpoint == s3_proxy.endpoint
        assert s3_proxy.requests

    @pytest.mark.e2e
    def test_a_refusal_is_not_remembered(self, s3_bucket, s3_proxy):
        """A server that was refused is asked again: somebody may have mended it."""
        storage = S3Storage(s3_bucket.url, s3_proxy.storage_options)
        s3_proxy.ignored_headers = {"if-match"}
        assert not conditions(storage).safe
        s3_proxy.ignored_headers = set()
        assert conditions(storage).safe

    def test_a_disk_is_not_asked(self, tmp_path):
        """On a disk the conditions are our own code."""
        assert conditions(LocalStorage(str(tmp_path))) is None


@pytest.mark.e2e
class TestRefused:
    """An append by way of an endpoint that ignores a condition."""

    @pytest.mark.parametrize(
        ("header", "words"),
        [("if-match", r"compare-and-swap \(PUT with If-Match\)"), ("if-none-match", "create-only writes")],
    )
    @pytest.mark.parametrize("there", [False, True], ids=["new store", "store that is there"])
    def test_names_endpoint_and_condition(self, s3_bucket, s3_proxy, header, words, there):
        """It is refused before a byte is written, be the store new or made by way of another endpoint."""
        url, sessions = f"{s3_bucket.url}/windows.zarr", [make_session("a", 1, 1), make_session("b", 1, 2)]
        if there:
            append(sessions[0], url, storage_options=s3_bucket.storage_options)
        before = list(S3Storage(*s3_bucket).list())
        s3_proxy.ignored_headers = {header}
        with pytest.raises(Refused, match=words) as caught:
            append(sessions[1], url, storage_options=s3_proxy.storage_options)
        assert s3_proxy.endpoint in str(caught.value)
        assert s3_bucket.url in str(caught.value)
        assert list(S3Storage(*s3_bucket).list()) == before

    def test_a_dead_writers_intent_is_not_taken_over(self, s3_bucket, s3_proxy):
        """Recovery, too, is refused there: it stands on the same conditions."""
        storage = S3Storage(f"{s3_bucket.url}/a.zarr", s3_bucket.storage_options)
        append(make_session("a", 1, 1), storage.url, storage_options=s3_bucket.storage_options)
        intent, etag = read_intent(storage)
        gone = intent.owner.model_copy(update={"started": "0"})
        held = intent.model_copy(update={"state": "held", "owner": gone})
        storage.write(INTENT, held.model_dump_json().encode(), replacing=etag)
        s3_proxy.ignored_headers = {"if-match"}
        with pytest.raises(Refused, match="compare-and-swap"):
            recover(storage.url, storage_options=s3_proxy.storage_options)
        assert recover(storage.url, storage_options=s3_bucket.storage_options) is not None

    def test_an_append_to_a_store_asks_nothing(self, s3_bucket, s3_proxy):
        """What the first writer saw is kept in the intent: a later process pays nothing for it."""
        url = f"{s3_bucket.url}/windows.zarr"
        append(make_session("a", 1, 1), url, storage_options=s3_proxy.storage_options)
        seen = read_intent(S3Storage(url, s3_proxy.storage_options))[0].probe
        assert seen == Probe(s3_proxy.endpoint, s3_bucket.url, *[True] * 7)
        s3_proxy.clear()
        append(make_session("b", 1, 2), url, storage_options=s3_proxy.storage_options)
        assert not [one for one in s3_proxy.requests if "/probe/" in one.key]


def test_says_what_it_saw(tmp_path):
    """The probe prints what was seen, and its problems make a refusal."""
    found = probe(Careless(str(tmp_path), ("swap",)))
    assert str(found) == (
        f"{tmp_path}: create-only kept, compare-and-swap NOT kept, read-after-write kept, "
        "conditional-copy kept, conditional-delete kept"
    )
    with pytest.raises(Refused) as caught:
        raise_all(found.problems())
    assert caught.value.code == "no-conditional-writes"
    assert "compare-and-swap (PUT with If-Match) not enforced" in str(caught.value)


def test_passes_troubles_on(tmp_path):
    """Where nothing can be written the probe says why, and claims nothing."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput):
        probe(LocalStorage(str(tmp_path / "file")))


def test_cleans_up_after_trouble(tmp_path):
    """A store that fails in the middle is left without scratch objects."""

    class Failing(Careless):
        def copy(self, *_, **__):
            raise Unavailable(Problem("store", "nothing", "an answer", "retry", "no-answer"))

    with pytest.raises(Unavailable):
        probe(Failing(str(tmp_path), ()))
    assert left(tmp_path) == []
