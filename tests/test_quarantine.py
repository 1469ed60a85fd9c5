"""Sessions that were set aside stay on record until they are released, and a removal takes the record too."""

from __future__ import annotations

import pytest
from make_datasets import make_session

import aggrade
from aggrade.errors import BadInput, Problem
from aggrade.quarantine import QUARANTINE, quarantine, quarantined, release

ERROR = BadInput(Problem("recording.xdf", "half a chunk", "a whole one", "copy it again", "truncated"))


def put(root, session="Sub 01/ä", inputs="one"):
    """Set a session aside."""
    return quarantine(str(root), session, inputs, ERROR)


def test_it_is_there_with_its_reason(tmp_path):
    """Whatever its id looks like, what was found and what to do is on record, with what it was to be cut from."""
    record = put(tmp_path)
    assert quarantined(str(tmp_path)) == {"Sub 01/ä": record}
    assert (record.error, record.inputs) == ("BadInput", "one")
    assert "found half a chunk, expected a whole one; copy it again." in str(record)


def test_once_more_replaces_it(tmp_path):
    """The last reason counts."""
    put(tmp_path)
    put(tmp_path, inputs="two")
    assert [record.inputs for record in quarantined(str(tmp_path)).values()] == ["two"]


def test_released(tmp_path):
    """Others stay."""
    put(tmp_path, "a")
    put(tmp_path, "b")
    release(str(tmp_path), ["a", "never there"])
    assert list(quarantined(str(tmp_path))) == ["b"]


def test_nothing_there(tmp_path):
    """A dataset that is not there yet has none, and is not made."""
    assert quarantined(str(tmp_path / "none")) == {}
    assert not (tmp_path / "none").exists()


def test_a_torn_record_counts_for_nothing(tmp_path, caplog):
    """The session is tried again, and its record can be written again."""
    put(tmp_path, "a")
    (path,) = (tmp_path / QUARANTINE).iterdir()
    path.write_bytes(b"{")
    assert quarantined(str(tmp_path)) == {}
    assert "counts for nothing" in caplog.text
    put(tmp_path, "a")
    assert list(quarantined(str(tmp_path))) == ["a"]


@pytest.mark.parametrize("landed", [True, False])
def test_a_removal_takes_the_record(tmp_path, landed):
    """Of a session that lies in the store, and of one that never came so far; its id is found nowhere then."""
    aggrade.append(make_session("other", 2, 1), tmp_path)
    if landed:
        aggrade.append(make_session("sub-secret", 2, 2), tmp_path)
    put(tmp_path, "sub-secret")
    plan = aggrade.remove(tmp_path, "sub-secret", dry_run=True)
    assert "could not be read: deleted" in str(plan)
    assert list(quarantined(str(tmp_path))) == ["sub-secret"]
    aggrade.remove(tmp_path, "sub-secret", purge_backups=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"sub-secret" in path.read_bytes() or "sub-secret" in str(path)]
    with pytest.raises(BadInput, match="nothing of 'sub-secret'"):
        aggrade.remove(tmp_path, "sub-secret")


def test_nobody_minds_the_records(tmp_path):
    """A dataset with sessions set aside is whole, and opens."""
    aggrade.append(make_session("a", 2, 1), tmp_path)
    put(tmp_path, "b")
    report = aggrade.verify(tmp_path)
    assert report.ok, report
    assert list(aggrade.open_windows(tmp_path)["session"].values) == ["a"]
