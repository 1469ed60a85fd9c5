"""How many bytes the objects of an append will have: they are encoded, and not sent."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.append_covering import covering, read_to_cover
from aggrade.append_writing import Block, blocks_in
from aggrade.commit import Writer
from aggrade.commit.catalogue import decoded, encoded, merged
from aggrade.session_rows import empty_table
from aggrade.storage import ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa
    import xarray as xr

    from aggrade.commit import CommitPlan
    from aggrade.commit.catalogue import NewLines, Place
    from aggrade.commit.looking import Look

__all__ = ["WEIGHED", "weigh", "weigh_lines"]

WEIGHED = 48 << 20
"""Bytes of values of one variable that are encoded at most, more or less; of larger ones a sample is taken."""


class _Scale:
    """A storage that weighs what is written."""

    def __init__(self, url: str) -> None:
        self.url = url

    def write(self, key: str, data: bytes, *, replacing: str | None = None) -> ObjectInfo:  # noqa: ARG002
        """See `Storage.write`."""
        return ObjectInfo(key, len(data), "")


def weigh(
    commit: CommitPlan, seen: Look, variables: Mapping[str, xr.Variable], *, without: Collection[str] = ()
) -> dict[str, int]:
    """Return the bytes of the objects that a commit writes, by variable.

    Of a variable of more than 48 MB blocks at even distances are encoded, and the rest is taken to be like them.

    Parameters
    ----------
    commit
        What will be written.
    seen
        What was read of the store; chunks that it does not hold are taken to hold no published rows.
    variables
        Encoded variables; along the commit's dimension they have the new rows only.
    without
        Variables that are left out.
    """
    published = seen.snapshot.documents if seen.snapshot else {}
    held = {key: stored.data if stored else None for key, stored in seen.objects.items()}
    shared = commit.shared(published)
    known = {key: held.get(key) for key in (*shared, *read_to_cover(commit, seen))}
    marks = {key: "" for key in shared if known[key] is not None}
    generation = seen.snapshot.generation + 1 if seen.snapshot else 1
    scale: Any = _Scale(commit.store)
    writer = Writer(scale, commit.documents, published, marks, generation, held=known)
    blocks: dict[str, list[Block]] = defaultdict(list)
    for block in blocks_in(commit, variables, without=without):
        blocks[block.name].append(block)
    weights = Counter({name: _weigh(writer, found) for name, found in blocks.items()})
    for name, index in covering(commit, seen):
        weights[name] += sum(item.size for item in writer.rebuild(name, index))
    return weights


def weigh_lines(place: Place, lines: NewLines, seen: Look) -> int:
    """Return the bytes of the files of the catalogue that an append writes.

    Parameters
    ----------
    place, lines
        Where the catalogue tells of the store, and what it is to tell.
    seen
        What was read of the store; files that it does not hold are taken to tell of nobody.
    """
    generation = seen.snapshot.generation + 1 if seen.snapshot else 1
    held = {file: seen.catalogue.get(place.key(file)) for file in lines.files()}
    total = 0
    for file, stored in held.items():
        before = decoded(stored.data) if stored else None
        table = empty_table() if before is None else before
        size = len(encoded(merged(table, lines, file), generation))
        own = max(lines.table.num_rows, 1)
        total += size + (size - len(encoded(table, generation))) * _untold(seen, table) // own
    return total


def _untold(seen: Look, table: pa.Table) -> int:
    """Return how many lines whoever finishes the commit under way adds before ours are."""
    journal = seen.intent[0].journal if seen.intent and seen.is_held else None
    told = set(table.column("index").to_pylist())
    return sum(layer.index not in told for layer in journal.layers) if journal else 0


def _weigh(writer: Writer, blocks: list[Block]) -> int:
    whole = sum(block.size for block in blocks)
    taken = _sample(blocks, whole)
    totals: Counter[str] = Counter()
    for block in taken:
        done = writer.write(block.name, block.where, np.asarray(block.values.values))
        totals.update(encoded=sum(item.size for item in done), values=block.size)
    return round(totals["encoded"] * whole / totals["values"]) if totals["values"] else totals["encoded"]


def _sample(blocks: list[Block], whole: int) -> list[Block]:
    """Return blocks at even distances that make some `WEIGHED` bytes together."""
    wanted = max(3, len(blocks) * WEIGHED // max(whole, 1))
    if wanted >= len(blocks):
        return blocks
    return [blocks[round(i)] for i in np.linspace(0, len(blocks) - 1, wanted)]
