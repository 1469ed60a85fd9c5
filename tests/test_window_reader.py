"""A window reader yields each window once an epoch, the same batches again for the same seed, from any step on."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_windows import EEG, FNIRS, numbered, write_windows

from aggrade import WindowReader, append, remove
from aggrade.errors import BadInput, Refused

SESSIONS, COUNTS = ["a b", "ü/1", "c", "d"], [7, 1, 10, 4]
ALL = {(session, window) for session, count in zip(SESSIONS, COUNTS, strict=True) for window in range(count)}
SMALL = 1000
"""Bytes of memory that hold two windows at once, so that groups are many."""
CHUNKS = {"eeg": (1, 1, 3, 8), "fnirs": (1, 1, 2, 4)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a dataset root with two partitions: two sessions in each, and one row that was replaced."""
    path = tmp_path_factory.mktemp("windows")
    write_windows(numbered(SESSIONS[:2], COUNTS[:2]), path / "windows" / "2026-10.zarr")
    later = numbered(["c", *SESSIONS[2:]], [3, *COUNTS[2:]], first=1)
    write_windows(later, path / "windows" / "2026-11.zarr", superseded=[0])
    return str(path)


def read(reader):
    """Return the windows of an epoch in their order, having seen that each sample is the right one."""
    seen = []
    for batch in reader:
        for row, (session, window) in enumerate(zip(batch["session"], batch["window"], strict=True)):
            number = 10_000 * SESSIONS.index(session) + 10 * window
            for name, channels in (("eeg", EEG), ("fnirs", FNIRS)):
                expected = np.broadcast_to(number + np.arange(len(channels))[:, None], batch[name][row].shape)
                np.testing.assert_array_equal(batch[name][row], expected)
            assert batch["label"][row] == window % 3
            assert batch["eeg_coverage"][row] == np.float32(1 - window / 100)
            seen.append((session, int(window)))
    return seen


@pytest.mark.parametrize("memory", [SMALL, "1 GiB"])
def test_in_order_it_yields_what_open_windows_shows(root, memory):
    """Without shuffling, windows come in the order of stores, sessions and windows; replaced ones don't."""
    reader = WindowReader(root, 3, shuffle=False, memory=memory)
    expected = [(s, w) for s, count in zip(SESSIONS, COUNTS, strict=True) for w in range(count)]
    assert read(reader) == expected
    assert (len(reader), reader.windows, reader.sessions) == (8, 22, SESSIONS)
    assert (reader.epoch, reader.step) == (1, 0)


def test_batches_have_the_types_that_are_told(root):
    """Samples are float32, labels and windows int64, and the last batch is shorter."""
    batches = list(WindowReader(root, 5, seed=1))
    assert [len(batch["window"]) for batch in batches] == [5, 5, 5, 5, 2]
    first = batches[0]
    assert set(first) == {"eeg", "fnirs", "label", "eeg_coverage", "fnirs_coverage", "session", "window"}
    assert first["eeg"].shape == (5, 3, 8)
    assert {name: str(first[name].dtype) for name in ("eeg", "fnirs", "label", "window", "session")} == {
        "eeg": "float32",
        "fnirs": "float32",
        "label": "int64",
        "window": "int64",
        "session": "object",
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_window_comes_once_over_all_ranks(root, data):
    """Whatever batch size, memory and number of ranks, an epoch shows each window once, shares are within one."""
    ranks, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 25))
    memory, shuffle = data.draw(st.sampled_from([SMALL, 4000, "1 GiB"])), data.draw(st.booleans())
    readers = [
        WindowReader(root, size, shuffle=shuffle, seed=3, rank=rank, world_size=ranks, memory=memory)
        for rank in range(ranks)
    ]
    shares = [read(reader) for reader in readers]
    assert sorted(window for share in shares for window in share) == sorted(ALL)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_drop_last_gives_every_rank_as_many_full_batches(root):
    """Of 22 windows on 3 ranks in batches of 3, each rank gets 2 batches; none twice."""
    readers = [WindowReader(root, 3, seed=3, rank=rank, world_size=3, drop_last=True) for rank in range(3)]
    batches = [list(reader) for reader in readers]
    assert [[len(batch["window"]) for batch in share] for share in batches] == [[3, 3]] * 3
    seen = [
        (s, w) for share in batches for b in share for s, w in zip(b["session"], b["window"], strict=True)
    ]
    assert len(set(seen)) == len(seen) == 18


def test_epochs_and_seeds_differ_and_repeat(root):
    """Another epoch or seed gives another order, the same ones the same order on any number of threads."""
    orders = {
        (seed, epoch): read(WindowReader(root, 4, seed=seed, start=(epoch, 0), threads=1, memory=2000))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    running = WindowReader(root, 4, seed=1, threads=7, memory=2000)
    assert [read(running), read(running)] == [orders[1, 0], orders[1, 1]]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("memory", [SMALL, 4000])
def test_it_goes_on_from_any_step(root, ranks, memory):
    """A reader that loads a state, or starts at a step, yields the batches that the first would have yielded."""
    given = {"seed": 5, "rank": ranks - 1, "world_size": ranks, "memory": memory}
    whole = read(WindowReader(root, 3, **given))
    for step in range(-(-len(whole) // 3) + 1):
        first = WindowReader(root, 3, **given)
        for _, _batch in zip(range(step), first, strict=False):
            pass
        state = json.loads(json.dumps(first.state_dict()))
        resumed = WindowReader(root, 3, **given)
        resumed.load_state_dict(state)
        following = read(resumed)
        if step * 3 >= len(whole):
            assert following == read(WindowReader(root, 3, **given, start=(1, 0)))
        else:
            assert following == whole[3 * step :]
            assert read(WindowReader(root, 3, **given, start=(0, step))) == following


def test_a_state_of_another_reader_is_refused(root):
    """Other parameters and other windows are named, all at once."""
    state = WindowReader(root, 3, seed=5).state_dict()
    with pytest.raises(BadInput, match=r"state\['batch_size'\]: found 3, expected 4") as caught:
        WindowReader(root, 4, seed=6, where={"label": 0}).load_state_dict(state)
    assert {problem.code for problem in caught.value.problems} == {"state-differs", "state-windows"}
    assert any("seed" in problem.where for problem in caught.value.problems)


def test_conditions_choose_windows(root):
    """Only windows that fulfil every condition come, by label's name and range of quality."""
    reader = WindowReader(root, 4, where={"label": ["left", 2], "eeg_coverage": (0.95, None)})
    assert sorted(read(reader)) == sorted((s, w) for s, w in ALL if w % 3 in (1, 2) and w <= 5)


def test_channels_and_modalities_can_be_chosen(root):
    """Channels come in the order in which they are named; the other modality is left out."""
    reader = WindowReader(
        root, 4, shuffle=False, modalities=["eeg"], channels={"eeg": ["O1", "Fp*"]}, quality=[]
    )
    batch = next(iter(reader))
    assert reader.channels == {"eeg": ["O1", "Fp1", "Fp2"]}
    np.testing.assert_array_equal(batch["eeg"][0, :, 0], [2, 0, 1])
    assert set(batch) == {"eeg", "label", "session", "window"}


def test_stores_with_other_channels_and_modalities_are_aligned(tmp_path):
    """What a store lacks is NaN: a channel, a modality, its coverage."""
    write_windows(numbered(["a b"], [3]), tmp_path / "windows" / "a.zarr")
    other = numbered(["ü/1"], [5], first=1, fnirs=False, eeg=("O1", "Cz"))
    write_windows(other, tmp_path / "windows" / "b.zarr")
    reader = WindowReader(str(tmp_path), 8, shuffle=False)
    (batch,) = reader
    assert reader.channels["eeg"] == ["Fp1", "Fp2", "O1", "Cz"]
    np.testing.assert_array_equal(batch["eeg"][1, :, 0], [10, 11, 12, np.nan])
    np.testing.assert_array_equal(batch["eeg"][3, :, 0], [np.nan, np.nan, 10_000, 10_001])
    assert np.isnan(batch["fnirs"][3:]).all()
    assert np.isnan(batch["fnirs_coverage"][3:]).all()
    assert not np.isnan(batch["fnirs"][:3]).any()


@pytest.mark.parametrize("rows", [2, 3])
def test_objects_of_several_sessions_are_read_once(tmp_path, rows):
    """Where an object holds windows of several sessions, they are a unit; each window still comes once."""
    write_windows(numbered(SESSIONS, COUNTS), tmp_path / "windows.zarr", rows=rows)
    reader = WindowReader(str(tmp_path), 4, memory=SMALL)
    assert sorted(read(reader)) == sorted(ALL)


def test_one_window_is_read_by_its_session(root):
    """A window comes by session and number; one that isn't there is refused with what is there."""
    reader = WindowReader(root, 4, where={"label": 0})
    found = reader.window("ü/1", 0)
    np.testing.assert_array_equal(found["eeg"][:, 0], [10_000, 10_001, 10_002])
    assert (found["session"], found["window"], found["fnirs"].shape) == ("ü/1", 0, (2, 4))
    with pytest.raises(BadInput, match=r"session 'c': found window 10, expected 0 to 9"):
        reader.window("c", 10)
    with pytest.raises(BadInput, match="no such session"):
        reader.window("x", 0)
    with pytest.raises(BadInput, match=r"session 'c': found window 1\.5, expected a whole number"):
        reader.window("c", 1.5)
    assert reader.window("ü/1", np.int64(0))["window"] == 0


def test_a_pickled_reader_goes_on_where_it_was(root):
    """A copy in another process yields the batches that are left."""
    reader = WindowReader(root, 3, seed=2)
    whole = read(WindowReader(root, 3, seed=2))
    next(iter(reader))
    assert read(pickle.loads(pickle.dumps(reader))) == whole[3:]


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_shares_taken_in_turn_go_on_where_the_reader_is(root, parts):
    """Workers of a data loader, asked in turn, yield the same batches after a restart at any step."""

    def in_turn(step):
        shares = [
            iter(WindowReader(root, 2, seed=2, start=(0, step)).split(part, parts)) for part in range(parts)
        ]
        while shares:
            for share in list(shares):
                batch = next(share, None)
                if batch is None:
                    shares.remove(share)
                else:
                    yield list(zip(batch["session"], batch["window"], strict=True))

    whole = list(in_turn(0))
    assert sorted(window for batch in whole for window in batch) == sorted(ALL)
    for step in range(1, min(len(whole), 11)):
        assert list(in_turn(step)) == whole[step:]


def test_what_grows_meanwhile_does_not_show(tmp_path):
    """Sessions that are appended or replaced while an epoch runs change nothing for a reader that is open."""
    for number, (session, count) in enumerate(zip(SESSIONS, COUNTS, strict=True)):
        append(numbered([session], [count], first=number), str(tmp_path), grow=("window",))
    reader = WindowReader(str(tmp_path), 4, memory=SMALL)
    batches = iter(reader)
    next(batches)
    append(numbered(["new"], [12], first=9), str(tmp_path), grow=("window",))
    append(numbered(["c"], [2], first=7), str(tmp_path), grow=("window",), on_conflict="replace")
    assert sum(1 for _ in batches) == 5
    assert sorted(read(reader)) == sorted(ALL)
    assert "new" in WindowReader(str(tmp_path), 4).sessions


def test_a_session_that_is_removed_meanwhile_ends_the_epoch(tmp_path):
    """Reading goes no further once a session has been removed, and says so; a new reader doesn't show it."""
    for number, (session, count) in enumerate(zip(SESSIONS, COUNTS, strict=True)):
        append(numbered([session], [count], first=number), str(tmp_path), grow=("window",), chunks=CHUNKS)
    reader = WindowReader(str(tmp_path), 4, shuffle=False, memory=SMALL)
    batches = iter(reader)
    next(batches)
    remove(str(tmp_path), "c")
    with pytest.raises(Refused, match=r"that c was removed") as caught:
        list(batches)
    assert caught.value.code == "windows-changed"
    with pytest.raises(Refused, match=r"that c was removed"):
        reader.window("c", 0)
    assert "c" not in WindowReader(str(tmp_path), 4).sessions


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"batch_size": 2.5}, "batch_size: found 2.5"),
        ({"seed": -1}, "seed: found -1"),
        ({"rank": 2, "world_size": 2}, "rank: found 2, expected less than world_size, 2"),
        ({"threads": 0}, "threads"),
        ({"framework": "jax"}, "framework: found 'jax'"),
        ({"modalities": ["meg"]}, "modalities: found 'meg', expected one of eeg, fnirs"),
        ({"modalities": []}, "modalities"),
        ({"channels": {"eeg": ["Pz"]}}, r"channels\['eeg'\]: found 'Pz', expected some of Fp1, Fp2, O1"),
        ({"channels": {"meg": ["Pz"]}}, "channels: found 'meg'"),
        ({"quality": ["n_windows"]}, "quality: found 'n_windows'"),
        ({"where": {"eeg_coverage": (1.1, None)}}, "no window that fulfils"),
        ({"where": {"nothing": 1}}, r"where\['nothing'\]: found no such variable"),
        ({"start": (0, 9)}, "a step from 0 to 6"),
        ({"start": (-1, 0)}, "an epoch from 0"),
        ({"memory": "much"}, "^memory: found"),
    ],
)
def test_wrong_parameters_are_refused(root, wrong, said):
    """Each is named with what was expected, before a sample is read."""
    with pytest.raises(BadInput, match=said):
        WindowReader(root, **{"batch_size": 4, **wrong})


def test_no_windows_are_refused(tmp_path):
    """A place without windows says what lies there."""
    with pytest.raises(BadInput, match=r"expected windows.zarr"):
        WindowReader(str(tmp_path), 4)
