"""What other tools take in silence when they append (damage that was seen): refused here, or kept exactly.

Each store is made by plain xarray, as it would be with those tools, and then grown with aggrade. The cases are those
that were observed with zappend 0.8, xarray 2026.9 and zarr 3.1.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr

import aggrade
from aggrade.errors import AggradeError, BadInput, Refused

ROOT = Path(__file__).parents[2]


def block(label, values, *, dtype=None, units="V", channels="abcd", **more):
    """Return one layer: a row of values by channel, and what else is asked for."""
    data = np.asarray(values, dtype)
    return xr.Dataset(
        {"x": (("epoch", "channel"), data[None], {"units": units}), **more},
        {"epoch": [label], "channel": list(channels[: data.size])},
    )


@pytest.fixture
def store(tmp_path):
    """Return a function that writes a store by plain xarray."""

    def make(dataset, **encoding):
        path = tmp_path / "store.zarr"
        plain = dataset.assign_coords(channel=dataset["channel"].astype(object))
        with warnings.catch_warnings(action="ignore"):
            plain.to_zarr(path, zarr_format=3, consolidated=True, encoding=encoding)
        return str(path)

    return make


def grow(dataset, store, **options):
    """Append along the epochs."""
    return aggrade.append(dataset, store, dim="epoch", **options)


def files(store):
    """Return every file of a store."""
    return {path: path.read_bytes() for path in Path(store).rglob("*") if path.is_file()}


def assert_refused(store, *blocks, match, error=Refused):
    """Assert that each of these is refused and not a byte is changed."""
    before = files(store)
    for each in blocks:
        with pytest.raises(error, match=match):
            grow(each, store)
    assert files(store) == before


KEPT = {
    "float64 to float32, exact": ("f4", [0.5, 1.5, -2, 4], "f8"),
    "int16 to float32": ("f4", [1, -32768, 32767, 0], "i2"),
    "int64 to int16, small": ("i2", [1, -5, 300, 0], "i8"),
    "float to int, whole": ("i2", [1.0, -5.0, 300.0, 0.0], "f8"),
}


@pytest.mark.parametrize(("there", "values", "dtype"), KEPT.values(), ids=KEPT)
def test_a_cast_that_loses_nothing_is_kept_exactly(store, there, values, dtype):
    """Where every value fits, it is stored as the store stores, and comes back equal."""
    path = store(block(1, [0, 0, 0, 0], dtype=there))
    grow(block(2, values, dtype=dtype), path)
    found = xr.open_zarr(path)["x"]
    assert found.dtype == there
    assert found.values[1].tolist() == values


LOST = {
    "1.7 as int16": ("i2", [0, 1.7, 0, 0], "f8", "1.7"),
    "70000 as int16": ("i2", [70000, 0, 0, 0], "i8", "70000"),
    "300 as int8": ("i1", [300, 0, 0, 0], "i8", "300"),
    "NaN as int8": ("i1", [np.nan, 0, 0, 0], "f8", "nan"),
    "1e300 as float32": ("f4", [1e300, 0, 0, 0], "f8", "1e.300"),
    "0.1 as float32": ("f4", [0.1, 0, 0, 0], "f8", "0.1"),
}


@pytest.mark.parametrize(("there", "values", "dtype", "named"), LOST.values(), ids=LOST)
def test_a_value_that_would_change_is_refused(store, there, values, dtype, named):
    """Overflow, rounding and a lost NaN are named with the value."""
    path = store(block(1, [0, 0, 0, 0], dtype=there))
    assert_refused(path, block(2, values, dtype=dtype), match=named)


def test_a_packed_integer_that_overflows_is_refused(store):
    """1e6 in int16 with a scale of 0.1 would read back as -2700.8; 100.5 is kept."""
    path = store(block(1, [0.0, 0, 0, 0]), x={"dtype": "i2", "scale_factor": 0.1, "_FillValue": -32768})
    assert_refused(path, block(2, [1e6, 0, 0, 0]), match="1000000")
    grow(block(2, [100.5, 0, 0, 0]), path)
    assert xr.open_zarr(path)["x"].values[1].tolist() == [100.5, 0, 0, 0]


def test_longer_text_is_not_cut(store):
    """Text grows where the store's text may, whatever its length."""
    path = store(block(1, [0, 0, 0, 0], note=("epoch", np.array(["abc"], object))))
    grow(block(2, [0, 0, 0, 0], note=("epoch", np.array(["abcdefg"], object))), path)
    assert xr.open_zarr(path)["note"].values.tolist() == ["abc", "abcdefg"]


def test_ragged_channels_are_refused(store):
    """Three channels are not four."""
    path = store(block(1, [1.0, 2, 3, 4]))
    assert_refused(path, block(2, [1.0, 2, 3]), match="channels along 'channel': found 3")


def test_a_missing_variable_is_refused(store):
    """It would be a block of NaN, or a store that no longer opens."""
    path = store(block(1, [1.0, 2, 3, 4], y=("epoch", [1])))
    assert_refused(path, block(2, [1.0, 2, 3, 4]), match="'y': found nothing")


def test_channels_in_another_order_are_refused(store):
    """They would be mislabelled, or relabel what is there."""
    path = store(block(1, [1.0, 2, 3, 4]))
    assert_refused(path, block(2, [1.0, 2, 3, 4], channels="dcba"), match="d, c, b, a")


def test_another_unit_is_refused(store):
    """Microvolts in a store of volts are wrong by a million."""
    path = store(block(1, [1.0, 2, 3, 4]))
    assert_refused(path, block(2, [1.0, 2, 3, 4], units="µV"), match="unit 'µV'")


def test_attributes_of_the_store_stay(store):
    """What the store says of itself is not replaced by what a layer says."""
    path = store(block(1, [1.0, 2, 3, 4]).assign_attrs(title="the store's"))
    grow(block(2, [1.0, 2, 3, 4]).assign_attrs(title="the layer's"), path)
    assert xr.open_zarr(path).attrs["title"] == "the store's"


def test_a_label_twice_is_refused(store):
    """Neither a label of xarray's row nor, with other content, one of ours comes in again."""
    path = store(block(1, [1.0, 2, 3, 4]))
    grow(block(2, [5.0, 6, 7, 8]), path)
    assert_refused(path, block(1, [1.0, 2, 3, 4]), match="label")
    assert_refused(path, block(2, [0.0, 6, 7, 8]), match="other content|another content|differs")
    grow(block(2, [5.0, 6, 7, 8]), path)
    assert xr.open_zarr(path)["epoch"].values.tolist() == [1, 2]


def test_hours_in_a_store_of_days_are_refused(store):
    """The first row made xarray count in whole days: an hour more can't be told."""

    def at(label, time):
        return block(label, [0.0, 0, 0, 0], when=("epoch", np.array([time], "M8[ns]")))

    path = store(at(1, "2024-01-01"))
    assert_refused(path, at(2, "2024-01-02T03"), match="2024-01-02T03")
    grow(at(2, "2024-01-03"), path)
    assert str(xr.open_zarr(path)["when"].values[1]).startswith("2024-01-03T00:00:00")


def test_onsets_are_not_read_as_days(store):
    """Onsets of [0, 0] and then [1 s, 2 s] were read back as 1 and 2 days."""

    def onset(label, seconds):
        return block(label, [0.0, 0, 0, 0], onset=("epoch", np.array([seconds], "m8[s]").astype("m8[ns]")))

    path = store(onset(1, 0))
    try:
        grow(onset(2, 1), path)
    except Refused:
        assert xr.open_zarr(path, decode_timedelta=True).sizes["epoch"] == 1
    else:
        found = xr.open_zarr(path, decode_timedelta=True)["onset"].values
        assert found.tolist() == [0, 1_000_000_000]


def test_blocks_of_dask_that_fit_no_chunk_are_kept(store):
    """Blocks that end within chunks are written whole, once."""
    path = store(block(1, [1.0, 2, 3, 4]), x={"chunks": (1, 3)})
    grow(block(2, [5.0, 6, 7, 8]).chunk(channel=2), path)
    assert xr.open_zarr(path)["x"].values.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_blocks_of_dask_fill_shards_whole(tmp_path):
    """Of a sharded array every value arrives, however the blocks lie to the shards."""
    path, values = str(tmp_path / "s.zarr"), np.arange(100.0)
    for label in (1, 2):
        lazy = xr.Dataset(
            {"x": (("epoch", "time"), dask.array.from_array((values + label)[None], chunks=(1, 7)))},
            {"epoch": [label]},
        )
        grow(lazy, path, chunks={"time": 5}, shards={"time": 20})
    assert np.array_equal(xr.open_zarr(path)["x"].values, [values + 1, values + 2])


def test_a_block_that_fails_leaves_the_old_state(store):
    """Where the second block can't be computed, the store is as it was, and the next try brings every row once."""
    path = store(block(1, [1.0, 2, 3, 4]), x={"chunks": (1, 2)})

    def fail(values):
        if values.size and values.flat[0] == 7:
            raise ArithmeticError("this block can't be computed")
        return values

    layer = block(2, [5.0, 6, 7, 8])
    broken = layer.assign(
        x=layer["x"]
        .chunk(channel=2)
        .copy(data=layer["x"].chunk(channel=2).data.map_blocks(fail, dtype="f8", meta=np.empty((0, 0))))
    )
    with pytest.raises(ArithmeticError):
        grow(broken, path)
    assert xr.open_zarr(path)["x"].values.tolist() == [[1, 2, 3, 4]]
    grow(layer, path)
    assert xr.open_zarr(path)["epoch"].values.tolist() == [1, 2]


SLOW = """
import sys
from concurrent.futures import ThreadPoolExecutor
import dask.array, numpy as np, xarray as xr, aggrade
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
dask.config.set(pool=pool)
def slowly(values):
    print("computing", flush=True)
    if values.size:
        sys.stdin.read()
    return values
data = dask.array.ones((1, 4), chunks=(1, 2)).map_blocks(slowly, dtype="f8", meta=np.empty((0, 0)))
x = xr.Dataset({"x": (("epoch", "channel"), data, {"units": "V"})}, {"epoch": [2], "channel": list("abcd")})
aggrade.append(x, sys.argv[1], dim="epoch")
"""
"""The pool has its thread before: Python waits at its end for a pool's thread whose start was interrupted."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_writer_that_is_ended_leaves_no_hole(store, number):
    """Ended in the middle, by whatever signal: the old state, and the same again brings every row once."""
    path = store(block(1, [1.0, 2, 3, 4]), x={"chunks": (1, 2)})
    command, pipe = [sys.executable, "-c", SLOW, path], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert "computing" in process.stdout.readline()
            process.send_signal(number)
            process.communicate()
        finally:
            process.kill()
    assert process.returncode == -number
    assert xr.open_zarr(path)["x"].values.tolist() == [[1, 2, 3, 4]]
    grow(block(2, [1.0, 1, 1, 1]), path)
    assert xr.open_zarr(path)["x"].values.tolist() == [[1, 2, 3, 4], [1, 1, 1, 1]]
    assert aggrade.verify(path).ok


def test_of_two_writers_none_is_lost(store):
    """Two that append at the same time both get in, each once."""
    path = store(block(1, [1.0, 2, 3, 4]))
    errors: list[AggradeError] = []

    def write(label):
        try:
            grow(block(label, [float(label)] * 4), path)
        except AggradeError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(label,)) for label in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = xr.open_zarr(path)
    assert sorted(found["epoch"].values.tolist()) == [1, 2, 3]
    for label in (2, 3):
        assert (found["x"].sel(epoch=label) == label).all()


def test_a_dry_run_knows_what_the_run_would_refuse(store):
    """The plan of a layer that doesn't fit is refused as the layer is."""
    path = store(block(1, [1.0, 2, 3, 4]))
    with pytest.raises(Refused, match="channels along 'channel': found 3"):
        grow(block(2, [1.0, 2, 3]), path, dry_run=True)


def test_a_layer_without_a_label_is_refused(store):
    """A label is never made up."""
    path = store(block(1, [1.0, 2, 3, 4]))
    assert_refused(path, block(2, [1.0, 2, 3, 4]).drop_vars("epoch"), match="label", error=BadInput)


def layer(label, seed, **how):
    """Return one layer whose every variable shares chunks with rows to come, and encodings that make it so."""
    values = np.random.default_rng(seed).normal(size=3)
    return block(label, values, y=("epoch", [seed]), **how), {
        name: {"chunks": (4, 3)[:rank]} for name, rank in (("x", 2), ("y", 1), ("epoch", 1))
    }


def appended_without_consolidating(store):
    """Append a row as xarray does with ``consolidated=False``."""
    other = layer(2, 2)[0]
    with warnings.catch_warnings(action="ignore"):
        other.drop_vars("channel").to_zarr(store, append_dim="epoch", consolidated=False)
    return other


def resized_by_zarr(store):
    """Append a row as `zarr.Array.append` does, array by array."""
    other, group = layer(2, 2)[0], zarr.open_group(store, mode="r+", use_consolidated=False)
    for name in ("x", "y", "epoch"):
        group[name].append(other[name].values)
    return other


def of_xarray(path, version, shared):
    """Write a store by xarray, with shared chunks where said."""
    first, encoding = layer(1, 1)
    plain = first.assign_coords(channel=first["channel"].astype(object))
    chosen = {name: how if name in shared else {} for name, how in encoding.items()}
    with warnings.catch_warnings(action="ignore"):
        plain.to_zarr(path, zarr_format=version, consolidated=True, encoding=chosen)


def of_aggrade(path, _, shared):
    """Write a store by aggrade, with shared chunks where said."""
    first, encoding = layer(1, 1)
    chunks = {
        name: how["chunks"] if name in shared else (1, 3)[: first[name].ndim]
        for name, how in encoding.items()
    }
    grow(first, path, chunks=chunks)


@pytest.mark.parametrize(
    ("write", "version", "tool", "shared"),
    [
        (of_xarray, 2, appended_without_consolidating, ("x", "y", "epoch")),
        (of_xarray, 2, appended_without_consolidating, ("x",)),
        (of_xarray, 3, resized_by_zarr, ("y", "epoch")),
        (of_aggrade, 3, resized_by_zarr, ("x", "y", "epoch")),
    ],
    ids=["xarray, format 2", "xarray, some chunks shared", "zarr, format 3", "zarr, in a store of ours"],
)
def test_rows_that_the_root_does_not_show_are_not_overwritten(tmp_path, write, version, tool, shared):
    """Readers of consolidated metadata keep seeing the old rows: refused, in the dry run too, until they agree."""
    path = str(tmp_path / "store.zarr")
    write(path, version, shared)
    other, mine = tool(path), layer(3, 3)[0]
    assert_refused(path, mine, match="not consolidat|without consolidating")
    before = files(path)
    with pytest.raises(Refused, match=r"zarr\.consolidate_metadata") as caught:
        grow(mine, path, dry_run=True)
    assert files(path) == before
    assert {problem.code for problem in caught.value.problems} == {"not-consolidated"}
    assert {problem.where.rpartition("/")[2] for problem in caught.value.problems} == {"x", "y", "epoch"}
    assert any(
        "(2, 3)" in problem.found and "(1, 3)" in problem.expected for problem in caught.value.problems
    )
    with warnings.catch_warnings(action="ignore"):
        zarr.consolidate_metadata(path)
    grow(mine, path)
    found = xr.open_zarr(path).load()
    assert found["epoch"].values.tolist() == [1, 2, 3]
    for row, expected in enumerate((layer(1, 1)[0], other, mine)):
        assert np.array_equal(found["x"].values[row], expected["x"].values[0])
        assert found["y"].values[row] == expected["y"].values[0]


def test_rows_that_the_root_does_not_show_can_be_given_up(tmp_path):
    """Resized back, as the error says, the array takes rows again."""
    path = str(tmp_path / "store.zarr")
    of_xarray(path, 2, ("x", "y", "epoch"))
    resized_by_zarr(path)
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    for name in ("x", "y", "epoch"):
        group[name].resize((1, *group[name].shape[1:]))
    mine = layer(3, 3)[0]
    grow(mine, path)
    found = xr.open_zarr(path).load()
    assert found["epoch"].values.tolist() == [1, 3]
    assert np.array_equal(found["x"].values[1], mine["x"].values[0])
    assert aggrade.verify(path).ok
