"""Finding out which conditions a store keeps, on stores that keep and that ignore them."""

from __future__ import annotations

import pytest

from aggrade.errors import BadInput, Problem, Refused, Unavailable, raise_all
from aggrade.storage.local import LocalStorage
from aggrade.storage.probe import Probe, probe
from aggrade.storage.s3 import S3Storage


class Careless(LocalStorage):
    """A store that ignores some of the conditions, as some servers do."""

    def __init__(self, url, ignored):
        super().__init__(url)
        self.ignored = ignored

    def write(self, key, data, *, replacing=None):
        """Write blindly where the condition is one of those ignored."""
        found = self.stat(key)
        if replacing is None:
            ignored = "create" in self.ignored
        elif found is None:
            ignored = "swap-of-nothing" in self.ignored
        else:
            ignored = "swap" in self.ignored
        return super().write(key, data, replacing=(found.etag if found else None) if ignored else replacing)

    def copy(self, source, target):
        """Overwrite the target where that is ignored."""
        if "copy" not in self.ignored:
            return super().copy(source, target)
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
    assert probe(LocalStorage(str(tmp_path))) == Probe(str(tmp_path), True, True, True)
    assert left(tmp_path) == []


@pytest.mark.e2e
def test_the_s3_server_is_safe(s3_bucket, s3_proxy):
    """SeaweedFS keeps every condition; the probe costs at most twenty requests and leaves nothing."""
    assert probe(S3Storage(s3_bucket.url, s3_proxy.storage_options)) == Probe(s3_bucket.url, True, True, True)
    assert len(s3_proxy.requests) <= 20
    assert list(S3Storage(*s3_bucket).list()) == []


@pytest.mark.e2e
def test_a_server_that_ignores_headers(s3_prefix, s3_proxy):
    """Conditions of which the server takes no notice are found missing, each by itself."""
    s3_proxy.ignored_headers = {"if-match"}
    found = probe(S3Storage(s3_prefix.url, s3_proxy.storage_options))
    assert (found.create_only, found.compare_and_swap, found.conditional_copy) == (True, False, True)
    s3_proxy.ignored_headers = {"if-none-match"}
    found = probe(S3Storage(s3_prefix.url, s3_proxy.storage_options))
    assert (found.create_only, found.compare_and_swap, found.conditional_copy) == (False, True, False)
    assert list(S3Storage(*s3_prefix).list()) == []


@pytest.mark.parametrize(
    ("ignored", "expected"),
    [
        ((), (True, True, True)),
        (("create",), (False, True, False)),  # a copy by hand creates
        (("swap",), (True, False, True)),
        (("swap-of-nothing",), (True, False, True)),
        (("copy",), (True, True, False)),
        (("create", "swap", "swap-of-nothing", "copy"), (False, False, False)),
    ],
)
def test_careless_stores_are_found_out(tmp_path, ignored, expected):
    """Every condition that a store ignores is named, and no other; nothing is left behind."""
    found = probe(Careless(str(tmp_path), ignored))
    assert (found.create_only, found.compare_and_swap, found.conditional_copy) == expected
    assert found.safe == (expected[0] and expected[1])
    assert len(found.problems()) == 2 - expected[0] - expected[1]
    assert left(tmp_path) == []


def test_a_condition_that_never_holds_is_none(tmp_path):
    """A store on which replacing always fails keeps no compare-and-swap that one could use."""
    found = probe(Stubborn(str(tmp_path)))
    assert found.create_only
    assert not found.compare_and_swap


def test_says_what_it_saw(tmp_path):
    """The probe prints what was seen, and its problems make a refusal."""
    found = probe(Careless(str(tmp_path), ("swap",)))
    assert str(found) == f"{tmp_path}: create-only kept, compare-and-swap NOT kept, conditional-copy kept"
    with pytest.raises(Refused) as caught:
        raise_all(found.problems())
    assert caught.value.code == "no-conditional-writes"
    assert "compare-and-swap (If-Match) not enforced" in str(caught.value)


def test_passes_troubles_on(tmp_path):
    """Where nothing can be written the probe says why, and claims nothing."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput):
        probe(LocalStorage(str(tmp_path / "file")))


def test_cleans_up_after_trouble(tmp_path):
    """A store that fails in the middle is left without scratch objects."""

    class Failing(Careless):
        def copy(self, *_):
            raise Unavailable(Problem("store", "nothing", "an answer", "retry", "no-answer"))

    with pytest.raises(Unavailable):
        probe(Failing(str(tmp_path), ()))
    assert left(tmp_path) == []
