"""Prefixes in buckets as a storage, on a real S3 server, directly and through a proxy that breaks requests."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from storage_conformance import StorageConformance

from aggrade.errors import BadInput, Damaged, Unavailable
from aggrade.storage import ConditionFailed, open_storage
from aggrade.storage.s3 import S3Storage
from aggrade.storage.s3_connection import connect

pytestmark = pytest.mark.e2e


class TestConformance(StorageConformance):
    """S3 keeps the contract of every storage."""

    rounds = 2  # a client that loses waits for seconds

    @pytest.fixture
    def storage(self, s3_prefix):
        """Return the storage of an empty prefix."""
        return S3Storage(*s3_prefix)


@pytest.fixture
def storage(s3_prefix):
    """Return a storage that reaches the server directly."""
    return S3Storage(*s3_prefix)


@pytest.fixture
def proxied(s3_prefix, s3_proxy):
    """Return the same storage through the proxy."""
    return S3Storage(s3_prefix.url, s3_proxy.storage_options)


@pytest.fixture
def bare_environment(monkeypatch, tmp_path):
    """Leave no credentials and no endpoint in the environment."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def calls(storage):
    """Return one call of every method that sends a request."""
    return {
        "read": lambda: storage.read("k"),
        "stat": lambda: storage.stat("k"),
        "create": lambda: storage.write("new", b"x"),
        "replace": lambda: storage.write("k", b"x", replacing='"0123"'),
        "copy": lambda: storage.copy("k", "copy"),
        "delete": lambda: storage.delete(["k"]),
        "list": lambda: list(storage.list()),
        "folders": storage.folders,
    }


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        ("s3://b/a b/c%20#/", "s3://b/a b/c%20#"),
        ("s3://b//a", "s3://b/a"),
    ],
)
def test_urls(url, normal):
    """A URL's prefix is a name; slashes at its ends mean nothing."""
    assert open_storage(url) == S3Storage(normal)
    assert open_storage(url).url == normal
    assert hash(open_storage(url)) == hash(S3Storage(normal))
    assert repr(open_storage(url)) == f"S3Storage('{normal}')"


@pytest.mark.parametrize("url", ["s3://", "s3:///a", "s3://b/../c", "s3://b/a//c", "gs://b"])
def test_refuses_other_urls(url):
    """A URL without a bucket, or whose prefix is no key, is refused."""
    with pytest.raises(BadInput):
        S3Storage(url)


def test_a_bucket_has_nothing_above():
    """A whole bucket is in no folder."""
    with pytest.raises(BadInput):
        S3Storage("s3://bucket").above()


def test_a_whole_bucket_is_a_storage(s3_bucket):
    """Without a prefix the bucket's own names are the keys."""
    storage = S3Storage(*s3_bucket)
    storage.write("a/k", b"x")
    assert [info.key for info in storage.list()] == ["a/k"]
    assert storage.within("a").read("k").data == b"x"


def test_opening_sends_nothing(s3_prefix, s3_proxy):
    """Opening a storage and views of it sends no request."""
    S3Storage(s3_prefix.url, s3_proxy.storage_options).within("a").above()
    assert s3_proxy.requests == []


def test_one_request_each(proxied, s3_proxy):
    """Reading, looking, writing, copying, listing and deleting take one request each."""
    info = proxied.write("k", b"0123")
    proxied.write("k", b"4567", replacing=info.etag)
    proxied.read("k")
    proxied.read("k", start=-2)
    proxied.read("k", start=1, stop=3)
    proxied.stat("k")
    list(proxied.list())
    proxied.folders()
    proxied.copy("k", "copy")
    proxied.delete([f"k{number}" for number in range(1001)])
    assert s3_proxy.count() == {"PUT": 2, "GET": 3, "HEAD": 1, "LIST": 2, "COPY": 1, "DELETE": 2}


def test_every_write_names_its_condition(proxied, s3_proxy):
    """Creating sends If-None-Match, replacing sends If-Match, and both send the MD5 of what they write."""
    info = proxied.write("k", b"")
    proxied.write("k", b"x", replacing=info.etag)
    proxied.copy("k", "copy")
    assert [one.condition for one in s3_proxy.writes()] == ["*", info.etag, "*"]
    assert [one.headers.get("content-md5") for one in s3_proxy.writes()] == [
        "1B2M2Y8AsgTpgAmY7PhCfg==",
        "ndTkYSaMgDT1yFZOFVxnpg==",
        None,
    ]


def test_lists_page_by_page(s3_prefix, s3_proxy, storage):
    """A listing of many pages misses nothing and repeats nothing, folders included."""
    keys = [f"{folder}/{number}" for folder in ("a", "a-", "b", "c") for number in range(2)] + ["z"]
    for key in keys:
        storage.write(key, b"")
    options = {**s3_proxy.storage_options, "s3_additional_kwargs": {"MaxKeys": 2}}
    paged = S3Storage(s3_prefix.url, options)
    assert [info.key for info in paged.list()] == sorted(keys)
    assert s3_proxy.count()["LIST"] >= 5
    assert paged.folders() == ["a", "a-", "b", "c"]


def test_foreign_names_are_passed_over(s3_server, s3_bucket):
    """A folder marker that a console made is not an object, since no store of another kind could hold it."""
    client = s3_server._client()
    client.put_object(Bucket=s3_bucket.url[5:], Key="folder/", Body=b"")
    client.close()
    assert list(S3Storage(*s3_bucket).list()) == []


class TestBrokenRequests:
    """What fails in transit is sent again, and never mistaken for what it is not."""

    @pytest.mark.parametrize("fault", ["503", "503-after", "lose-request", "lose-reply"])
    @pytest.mark.parametrize(
        "name", ["read", "stat", "create", "replace", "copy", "delete", "list", "folders"]
    )
    def test_every_request_survives(self, storage, proxied, s3_proxy, fault, name):
        """One fault before or after a request took effect changes no method's result."""
        etag = storage.write("k", b"data").etag
        expected = storage.stat("k")
        s3_proxy.break_next(fault)
        if name == "read":
            assert proxied.read("k").data == b"data"
        elif name == "stat":
            assert proxied.stat("k") == expected
        elif name == "create":
            assert proxied.write("new", b"data") == storage.stat("new")
        elif name == "replace":
            assert proxied.write("k", b"newer", replacing=etag) == storage.stat("k")
            assert storage.read("k").data == b"newer"
        elif name == "copy":
            assert proxied.copy("k", "copy") == storage.stat("copy").etag
        elif name == "delete":
            proxied.delete(["k"])
            assert storage.stat("k") is None
        elif name == "list":
            assert list(proxied.list()) == [expected]
        else:
            assert proxied.folders() == []

    def test_truncated_replies_are_read_again(self, storage, proxied, s3_proxy):
        """A reply that ends early is not taken for the object."""
        storage.write("k", b"x" * 100_000)
        s3_proxy.break_next("truncate", kind="GET")
        assert proxied.read("k").data == b"x" * 100_000
        assert s3_proxy.count()["GET"] == 2

    def test_corrupted_uploads_are_sent_again(self, storage, proxied, s3_proxy):
        """Bytes that change on their way are refused by the server and sent again."""
        s3_proxy.break_next("corrupt", kind="PUT")
        proxied.write("k", b"data")
        assert storage.read("k").data == b"data"
        assert [one.status for one in s3_proxy.writes()] == [400, 200]

    def test_slow_replies(self, s3_prefix, s3_proxy, monkeypatch):
        """A request that is not answered in time is given up, and said to be unknown."""
        monkeypatch.setenv("AGGRADE_REQUEST_SECONDS", "0.3")
        monkeypatch.setenv("AGGRADE_REQUEST_ATTEMPTS", "1")
        for kind, call in (("PUT", lambda it: it.write("k", b"x")), ("GET", lambda it: it.read("k"))):
            fault = s3_proxy.break_next("hold", kind=kind)
            with pytest.raises(Unavailable):
                call(S3Storage(s3_prefix.url, s3_proxy.storage_options))
            assert fault.reached.is_set()
            s3_proxy.heal()

    def test_another_write_after_a_lost_reply(self, storage, proxied, s3_proxy):
        """A write whose reply was lost and which somebody has replaced since is not called a success."""
        fault = s3_proxy.break_next("hold", kind="PUT", skip=1)
        s3_proxy.break_next("lose-reply", kind="PUT")
        with ThreadPoolExecutor(1) as pool:
            write = pool.submit(proxied.write, "k", b"one")
            assert fault.reached.wait(60)
            storage.write("k", b"two", replacing=storage.stat("k").etag)
            fault.release.set()
            with pytest.raises(ConditionFailed):
                write.result()
        assert storage.read("k").data == b"two"

    def test_equal_bytes_are_not_one_s_own(self, storage, proxied, s3_proxy):
        """Somebody else's object of the same bytes is a failed condition, after a lost request too."""
        storage.write("k", b"same")
        s3_proxy.break_next("503", kind="PUT")
        with pytest.raises(ConditionFailed):
            proxied.write("k", b"same")

    @pytest.mark.parametrize(
        "name", ["read", "stat", "create", "replace", "copy", "delete", "list", "folders"]
    )
    def test_lasting_trouble(self, proxied, s3_proxy, monkeypatch, name):
        """A server that goes on refusing is `Unavailable`, after as many attempts as the settings say."""
        monkeypatch.setenv("AGGRADE_REQUEST_ATTEMPTS", "3")
        s3_proxy.break_next("503", times=99)
        with pytest.raises(Unavailable) as caught:
            calls(proxied)[name]()
        assert caught.value.code == "no-answer"
        assert proxied.url in str(caught.value)
        assert s3_proxy.endpoint in str(caught.value)
        assert isinstance(caught.value.__cause__.__cause__, ClientError)
        assert len(s3_proxy.requests) == 3

    def test_contended_conditions(self, storage, proxied, s3_proxy, monkeypatch):
        """A conflict that the server could not decide is tried again; one that lasts is a failed condition."""
        monkeypatch.setenv("AGGRADE_REQUEST_ATTEMPTS", "2")
        s3_proxy.break_next("409", kind="PUT")
        assert proxied.write("k", b"x") == storage.stat("k")
        s3_proxy.break_next("409", kind="PUT", times=2)
        with pytest.raises(ConditionFailed):
            proxied.write("new", b"x")
        assert storage.stat("new") is None

    def test_nobody_listens(self, s3_prefix, monkeypatch):
        """An endpoint where no server is is `Unavailable`."""
        monkeypatch.setenv("AGGRADE_REQUEST_ATTEMPTS", "2")
        options = {**s3_prefix.storage_options, "endpoint_url": "http://127.0.0.1:9"}
        with pytest.raises(Unavailable) as caught:
            S3Storage(s3_prefix.url, options).read("k")
        assert caught.value.code == "no-answer"

    def test_servers_without_conditional_copy(self, storage, proxied, s3_proxy):
        """Where the server does not implement the condition of a copy, the copy is a read and a conditional write."""
        storage.write("k", b"data")
        s3_proxy.break_next("501", kind="COPY")
        assert proxied.copy("k", "copy") == storage.stat("copy").etag
        assert s3_proxy.count() == {"COPY": 1, "GET": 1, "PUT": 1}
        s3_proxy.break_next("501", kind="COPY")
        with pytest.raises(Damaged):
            proxied.copy("missing", "copy2")


class TestRefusals:
    """What no repetition cures is `BadInput`, and says what to do."""

    @pytest.mark.parametrize(
        "name", ["read", "stat", "create", "replace", "copy", "delete", "list", "folders"]
    )
    def test_missing_bucket(self, s3_server, name):
        """Every method says that the bucket is not there, and where it was looked for."""
        storage = S3Storage("s3://no-such-bucket/prefix", s3_server.storage_options)
        with pytest.raises(BadInput) as caught:
            calls(storage)[name]()
        assert caught.value.code == "bucket-missing"
        assert f"s3://no-such-bucket: found no such bucket at {s3_server.endpoint}" in str(caught.value)

    @pytest.mark.parametrize(
        "wrong", [{"secret": "wrong"}, {"key": "nobody"}, {"anon": True, "key": None, "secret": None}]
    )
    @pytest.mark.parametrize(
        "name", ["read", "stat", "create", "replace", "copy", "delete", "list", "folders"]
    )
    def test_refused_credentials(self, s3_prefix, wrong, name):
        """Every method says that a wrong secret, an unknown key and none at all are refused."""
        storage = S3Storage(s3_prefix.url, {**s3_prefix.storage_options, **wrong})
        with pytest.raises(BadInput) as caught:
            calls(storage)[name]()
        assert caught.value.code == "credentials-refused"
        assert "bucket 'shared'" in str(caught.value)
        assert s3_prefix.storage_options["secret"] not in str(caught.value)

    @pytest.mark.usefixtures("bare_environment")
    def test_no_credentials(self, s3_prefix):
        """Without any credentials the error says that there are none."""
        storage = S3Storage(s3_prefix.url, {"endpoint_url": s3_prefix.storage_options["endpoint_url"]})
        with pytest.raises(BadInput) as caught:
            storage.read("k")
        assert caught.value.code == "credentials-refused"
        assert "Unable to locate credentials" in str(caught.value)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"nonsense": 1},
            {"endpoint_url": "nonsense"},
            {"profile": "nobody"},
            {"config_kwargs": {"nonsense": 1}},
        ],
    )
    def test_wrong_options(self, s3_prefix, wrong):
        """Options that s3fs does not take are named."""
        storage = S3Storage(s3_prefix.url, {**s3_prefix.storage_options, **wrong})
        with pytest.raises(BadInput) as caught:
            storage.read("k")
        assert caught.value.code == "storage-options"

    def test_wrong_bucket_name(self, s3_server):
        """A name that no bucket can have is refused without asking the server."""
        with pytest.raises(BadInput) as caught:
            S3Storage("s3://a b/c", s3_server.storage_options).read("k")
        assert caught.value.code == "bucket-name"

    def test_long_names(self, storage):
        """What the server refuses for a reason of its own is passed on with that reason."""
        with pytest.raises(BadInput) as caught:
            storage.write("x" * 300, b"")
        assert caught.value.code == "request-refused"
        assert "KeyTooLong" in str(caught.value)

    def test_objects_that_stay(self, storage, proxied, s3_proxy):
        """A deletion that the server answers with an error leaves nothing unsaid."""
        storage.write("k", b"x")
        s3_proxy.break_next("501", kind="DELETE")
        with pytest.raises(BadInput) as caught:
            proxied.delete(["k"])
        assert caught.value.code == "request-refused"
        assert storage.stat("k") is not None


class TestSharing:
    """One client per process and set of options, for all threads."""

    def test_same_options_share(self, s3_prefix):
        """Equal options mean one connection, other options another."""
        assert connect(dict(s3_prefix.storage_options)) is connect(dict(s3_prefix.storage_options))
        assert connect(s3_prefix.storage_options) is not connect(
            {**s3_prefix.storage_options, "key": "other"}
        )

    @pytest.mark.usefixtures("bare_environment")
    def test_another_environment_is_another_connection(self, s3_server, s3_prefix, monkeypatch):
        """Credentials that change while the process lives are used from the next storage on."""
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        open_storage(s3_prefix.url).write("k", b"x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(BadInput, match="credentials"):
            open_storage(s3_prefix.url).read("k")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret)
        assert open_storage(s3_prefix.url).read("k").data == b"x"

    @pytest.mark.usefixtures("bare_environment")
    def test_environment(self, s3_server, s3_prefix, monkeypatch):
        """Endpoint and credentials come from the environment where they aren't given."""
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        assert open_storage(s3_prefix.url, {"client_kwargs": {}}).write("k", b"x").size == 1
        assert S3Storage(*s3_prefix).read("k").data == b"x"

    def test_threads(self, storage):
        """Sixteen threads that read, write and list at once get what is theirs."""
        barrier = threading.Barrier(16)

        def work(number):
            barrier.wait()
            storage.write(f"k{number}", b"%d" % number)
            return storage.read(f"k{number}").data, storage.stat(f"k{number}").size

        with ThreadPoolExecutor(16) as pool:
            results = list(pool.map(work, range(16)))
        assert results == [(b"%d" % number, len(str(number))) for number in range(16)]

    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_processes(self, storage, method):
        """A copy in another process opens its own connections."""
        storage.write("k", b"x")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            assert pool.submit(storage.read, "k").result().data == b"x"

    def test_forks(self, storage):
        """A process forked after the first request opens its own connections."""
        storage.write("k", b"x")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            assert pool.submit(storage.read, "k").result().data == b"x"

    def test_pickles_no_connection(self, storage):
        """What is pickled is a URL and options."""
        storage.write("k", b"x")
        assert len(pickle.dumps(storage)) < 500
