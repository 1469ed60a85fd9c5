"""Commits in pieces: written in parallel, each once, also over the death of a run."""

from __future__ import annotations

import functools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from make_documents import make_document
from memory_storage import MemoryStorage, World

from aggrade.commit import (
    CommitPlan,
    PieceReceipt,
    Region,
    Transaction,
    forget_pieces,
    read_intent,
    read_snapshot,
    recover_store,
    write_pieces,
)
from aggrade.commit.pieces import LEDGER
from aggrade.commit.plan import Base
from aggrade.errors import Conflict
from aggrade.storage.local import LocalStorage

DOCUMENT = make_document((6, 4), (2, 4), dims=("object", "epoch"))


@dataclass(frozen=True)
class Block:
    """Two rows of a cube."""

    row: int
    value: float = 1.0

    @property
    def digest(self):
        """Name what decides the bytes."""
        return f"block-{self.row}-{self.value}"


BLOCKS = [Block(row) for row in (0, 2, 4)]


def write_block(writer, block, *, log=None, dies_at=None):
    """Write one block, and keep a note of it."""
    if block.row == dies_at:
        raise RuntimeError(f"died at {block.row}")
    if log is not None:
        log.append(block.row)
    values = np.full((2, 4), block.value + block.row, "f4")
    written = writer.write("x", (slice(block.row, block.row + 2), slice(0, 4)), values)
    return PieceReceipt(digest=block.digest, written=tuple(written), details={"cells": 8})


def plan(storage, **changes):
    """Return the plan of a new cube on what is there."""
    now = read_snapshot(storage)
    values = {
        "kind": "populate",
        "store": storage.url,
        "base": Base(etag=now.etag, generation=now.generation) if now else None,
        "documents": {"x": DOCUMENT},
        "regions": (Region(variable="x", bounds=((0, 6), (0, 4))),),
    }
    return CommitPlan(**{**values, **changes})


def populate(storage, blocks=BLOCKS, map=map, **how):  # noqa: A002
    """Write and publish a cube in pieces; return receipts and the commit's receipt."""
    with Transaction(storage, plan(storage)) as transaction:
        pieces = write_pieces(transaction, blocks, functools.partial(write_block, **how), map)
        receipt = transaction.publish([item for piece in pieces for item in piece.written])
        forget_pieces(transaction.storage, pieces)
    return pieces, receipt


@pytest.fixture
def storage():
    """Return the storage of a store that isn't there yet."""
    return MemoryStorage(World(), "data/s.zarr")


def assert_cube(storage, blocks=BLOCKS):
    """Assert that plain zarr reads every block."""
    found = read_snapshot(storage).open(storage)["x"][...]
    for block in blocks:
        assert (found[block.row : block.row + 2] == block.value + block.row).all()


def ledger(storage):
    """Return the digests that the ledger knows."""
    return sorted(info.key.removeprefix(LEDGER).removesuffix(".json") for info in storage.list(LEDGER))


class TestOnce:
    """Each piece is written once."""

    def test_all_pieces_in_order(self, storage):
        """Receipts come in the order of the pieces and name every object."""
        pieces, receipt = populate(storage)
        assert [piece.digest for piece in pieces] == [block.digest for block in BLOCKS]
        assert [item.key for piece in pieces for item in piece.written] == [f"x/c/{i}/0" for i in range(3)]
        assert receipt.kind == "populate"
        assert_cube(storage)

    def test_no_pieces(self, storage):
        """A plan without pieces writes none."""
        with Transaction(storage, plan(storage, regions=(), documents={})) as transaction:
            assert write_pieces(transaction, [], write_block) == []

    def test_the_ledger_is_there_until_it_is_forgotten(self, storage):
        """While the commit is under way every piece is on record; afterwards none is."""
        with Transaction(storage, plan(storage)) as transaction:
            pieces = write_pieces(transaction, BLOCKS, write_block)
            assert ledger(storage) == sorted(block.digest for block in BLOCKS)
            transaction.publish([item for piece in pieces for item in piece.written])
            forget_pieces(transaction.storage, pieces)
        assert ledger(storage) == []

    def test_the_same_pieces_twice_in_one_run(self, storage):
        """Asking again within one commit finds what is done."""
        log = []
        with Transaction(storage, plan(storage)) as transaction:
            work = functools.partial(write_block, log=log)
            first = write_pieces(transaction, BLOCKS, work)
            assert write_pieces(transaction, BLOCKS, work) == first
        assert log == [0, 2, 4]


class TestResume:
    """A run that goes on where another one died."""

    def dead_run(self, storage, dies_at, blocks=BLOCKS):
        """Have a run die at one piece and recover the store."""
        log = []
        with pytest.raises(RuntimeError, match="died"):
            populate(storage, blocks, dies_at=dies_at, log=log)
        recover_store(storage)
        return log

    def test_what_is_done_is_not_done_again(self, storage):
        """Pieces of a dead run are found, confirmed and published by the next one."""
        assert self.dead_run(storage, dies_at=4) == [0, 2]
        log = []
        populate(storage, log=log)
        assert log == [4]
        assert_cube(storage)
        assert read_intent(storage)[0].dirty == ()

    def test_other_content_is_another_piece(self, storage):
        """A piece whose inputs changed has another digest and is written over what the dead run left."""
        self.dead_run(storage, dies_at=4)
        changed = [Block(0, 7.0), *BLOCKS[1:]]
        log = []
        populate(storage, changed, log=log)
        assert log == [0, 4]
        assert_cube(storage, changed)

    def test_an_object_that_is_gone_is_written_again(self, storage):
        """The ledger is believed only as far as the objects lie there."""
        self.dead_run(storage, dies_at=4)
        storage.delete(["x/c/0/0"])
        log = []
        populate(storage, log=log)
        assert log == [0, 4]
        assert_cube(storage)

    def test_an_object_that_was_replaced_is_written_again(self, storage):
        """Another object in the place of the one that was confirmed is not taken for it."""
        self.dead_run(storage, dies_at=4)
        storage.write("x/c/1/0", b"?" * 40, replacing=storage.stat("x/c/1/0").etag)
        log = []
        populate(storage, log=log)
        assert log == [2, 4]
        assert_cube(storage)

    def test_a_stale_receipt_is_noticed(self, storage):
        """A result that a cache kept longer than the store is done anew."""
        pieces, _ = populate(storage)
        fresh = MemoryStorage(World(), "data/s.zarr")
        log, rounds = [], []

        def remembering(function, blocks):
            rounds.append(len(blocks))
            return pieces if len(rounds) == 1 else map(function, blocks)

        again, _ = populate(fresh, map=remembering, log=log)
        assert (rounds, log) == ([3, 3], [0, 2, 4])
        assert [piece.digest for piece in again] == [block.digest for block in BLOCKS]
        assert_cube(fresh)

    def test_only_stale_receipts_are_done_anew(self, storage):
        """Receipts that still hold are kept."""
        log = []
        with Transaction(storage, plan(storage)) as transaction:
            work = functools.partial(write_block, log=log)
            first = write_pieces(transaction, BLOCKS, work)
            storage.delete(["x/c/2/0", f"{LEDGER}{BLOCKS[2].digest}.json"])
            again = write_pieces(transaction, BLOCKS, work, lambda f, b: first if len(b) == 3 else map(f, b))
        assert log == [0, 2, 4, 4]
        assert again[:2] == first[:2]

    @pytest.mark.parametrize(
        "entry", [b"", b"torn", b"{}", b'{"digest": "d", "written": [], "of": "a newer aggrade"}']
    )
    def test_an_entry_that_says_nothing(self, storage, entry):
        """An entry that can't be read costs the time to do the piece again, and nothing else."""
        storage.write(f"{LEDGER}{BLOCKS[0].digest}.json", entry)
        storage.write(f"{LEDGER}other.json", entry)
        log = []
        populate(storage, log=log)
        assert log == [0, 2, 4]
        assert_cube(storage)


class TestParallel:
    """Several workers."""

    def test_threads(self, storage):
        """A pool's map writes the same objects as the builtin one."""
        with ThreadPoolExecutor(3) as pool:
            pieces, _ = populate(storage, map=pool.map)
        assert [piece.digest for piece in pieces] == [block.digest for block in BLOCKS]
        assert_cube(storage)

    def test_two_processes(self, tmp_path):
        """Workers in other processes get writer and piece by pickle, and the result is the same, byte for byte."""
        alone, shared = (LocalStorage(str(tmp_path / name / "s.zarr")) for name in ("alone", "shared"))
        populate(alone)
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            populate(shared, map=pool.map)
        assert_cube(shared)
        for i in range(3):
            assert shared.read(f"x/c/{i}/0").data == alone.read(f"x/c/{i}/0").data

    def test_two_workers_at_one_piece(self, storage):
        """If a scheduler runs a piece twice, both give the same receipt and the object is written once."""

        def twice(function, blocks):
            with ThreadPoolExecutor(2) as pool:
                both = list(pool.map(function, [block for block in blocks for _ in range(2)]))
            assert both[::2] == both[1::2]
            return both[::2]

        populate(storage, map=twice)
        assert_cube(storage)

    def test_one_digest_is_one_piece(self, storage):
        """Whoever brings a digest that is done gets its receipt: the digest must decide the bytes."""

        class Nameless(Block):
            """A block whose digest hides what it writes."""

            @property
            def digest(self):
                return f"block-{self.row}"

        with Transaction(storage, plan(storage)) as transaction:
            first, second = write_pieces(transaction, [Nameless(0, 1.0), Nameless(0, 2.0)], write_block)
        assert first == second

    def test_another_writer_at_the_same_keys(self, storage):
        """Pieces whose keys somebody else has written end in a conflict."""
        storage.write("x/c/1/0", b"theirs")
        with pytest.raises(Conflict, match="somebody else"):
            populate(storage)
        assert storage.read("x/c/1/0").data == b"theirs"

    def test_an_entry_of_another_worker(self, storage):
        """A ledger entry that appears while a piece is written is compared, not overwritten."""
        key = f"{LEDGER}{BLOCKS[0].digest}.json"

        def interrupted(writer, block):
            receipt = write_block(writer, block)
            if storage.stat(key) is None and block.row == 0:
                storage.write(key, json.dumps({"digest": "another"}).encode())
            return receipt

        with pytest.raises(Conflict) as caught, Transaction(storage, plan(storage)) as transaction:
            write_pieces(transaction, BLOCKS, interrupted)
        assert caught.value.code == "ledger"


def test_a_piece_receipt_is_json():
    """What a worker returns is kilobytes and survives being sent as text."""
    receipt = PieceReceipt(digest="d", written=(), details={"cells": 3})
    assert PieceReceipt.model_validate_json(receipt.model_dump_json()) == receipt
