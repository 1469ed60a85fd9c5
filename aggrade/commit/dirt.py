"""Left-overs of dead writers: where they may lie, and how they are kept from showing up.

Rolling back deletes nothing. What a dead writer left, or a paused one may still write, lies beyond the
published shape, where no reader looks, be it in objects of its own or in chunks that hold published rows too.
Its regions stay on record in the free intent as *dirty* until a later commit has covered them: that commit
writes every object of them that its own shape brings to light, built from published rows, its own and fill,
replacing what lies there by compare-and-swap and creating the rest. A late create then fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrade.commit.documents import Bounds, Document, grid_of, in_grid, index_of, key_of, shape_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aggrade.commit.plan import Target
    from aggrade.storage import ObjectInfo, Storage

__all__ = [
    "found_in",
    "joined",
    "left_dirty",
    "left_overs",
    "lies_in",
    "still_dirty",
    "twins",
    "uncovered",
    "within",
]


def left_overs(storage: Storage, dirty: Iterable[Target]) -> dict[str, str]:
    """Return key and mark of every object that lies in a dirty region."""
    found = {}
    for target in dirty:
        for info in storage.list(_common_prefix(target)):
            index = index_of(target.variable, target.document, info.key)
            if index is not None and _holds(target, index):
                found[info.key] = info.etag
    return found


def twins(keys: Iterable[str], dirty: Iterable[Target], content: str) -> frozenset[str]:
    """Return those keys at which nobody ever meant to write anything else than `content`.

    What lies there may stay if it is what would be written: whoever comes late brings the same.
    """
    others = [target for target in dirty if not content or target.content != content]
    return frozenset(key for key in keys if not any(_holds_key(target, key) for target in others))


def lies_in(targets: Iterable[Target], key: str) -> bool:
    """Tell whether an object lies in one of several regions, by its key alone."""
    return any(_holds_key(target, key) for target in targets)


def found_in(objects: Iterable[ObjectInfo], targets: Iterable[Target]) -> dict[str, str]:
    """Return key and mark of those objects of a listing that lie in one of several regions."""
    by_name: dict[str, list[Target]] = {}
    for target in targets:
        by_name.setdefault(target.variable, []).append(target)
    return {
        info.key: info.etag
        for info in objects
        if lies_in(by_name.get(info.key.partition("/")[0], ()), info.key)
    }


def _holds_key(target: Target, key: str) -> bool:
    index = index_of(target.variable, target.document, key)
    return index is not None and _holds(target, index)


def _common_prefix(target: Target) -> str:
    """Return the longest folder-like prefix that all keys of a region share, so that listing is cheap."""
    first = tuple(start // unit for (start, _), unit in zip(target.bounds, target.unit, strict=True))
    ends = [key_of(target.variable, target.document, index) for index in (first, _last(target))]
    shared = _shared_start(*ends)
    return shared if ends == [shared] * 2 else shared[: max(shared.rfind("/"), shared.rfind(".")) + 1]


def _shared_start(one: str, other: str) -> str:
    count = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return one[:count]


def _holds(target: Target, index: tuple[int, ...]) -> bool:
    return all(
        start // unit <= i < -(-stop // unit)
        for i, (start, stop), unit in zip(index, target.bounds, target.unit, strict=True)
    )


def uncovered(
    dirty: Iterable[Target],
    published: Mapping[str, Document],
    documents: Mapping[str, Document],
    written: set[str],
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield variable and index of every object that a commit must rebuild although it writes nothing there.

    These are the dirty ones that show more of themselves in the new shape than in the published one: left-overs
    in them would come to light.
    """
    seen = set(written)
    for target in dirty:
        document = documents.get(target.variable)
        if document is None:
            continue
        for key, _ in target.objects():
            index = index_of(target.variable, document, key)
            if key in seen or index is None or not in_grid(document, index):
                continue
            if _shows_more(published.get(target.variable), document, index):
                seen.add(key)
                yield target.variable, index


def _shows_more(before: Document | None, after: Document, index: tuple[int, ...]) -> bool:
    if before is None or before["chunk_key_encoding"] != after["chunk_key_encoding"]:
        return True
    return any(
        min((i + 1) * unit, new) > old
        for i, unit, new, old in zip(index, unit_of(after), shape_of(after), shape_of(before), strict=True)
    )


def left_dirty(targets: Iterable[Target], published: Mapping[str, Document]) -> tuple[Target, ...]:
    """Return those regions of a commit that never showed which reach beyond the published shape."""
    return tuple(target for target in targets if not _is_inside(target, published.get(target.variable)))


def _is_inside(target: Target, document: Document | None) -> bool:
    if document is None or document["chunk_key_encoding"] != target.key_encoding:
        return False
    return all(stop <= size for (_, stop), size in zip(target.bounds, shape_of(document), strict=True))


def within(dirty: Iterable[Target], documents: Mapping[str, Document]) -> tuple[Target, ...]:
    """Return what of the dirty regions a commit can write: their objects within its grid.

    Parameters
    ----------
    dirty
        Regions on record.
    documents
        The commit's array documents.
    """
    cuts = (_cut(target, documents.get(target.variable)) for target in dirty)
    return tuple(inside for inside, _ in cuts if inside is not None)


def still_dirty(dirty: Iterable[Target], documents: Mapping[str, Document]) -> tuple[Target, ...]:
    """Return what of the dirty regions a commit has not covered: their objects beyond its grid."""
    return joined(part for target in dirty for part in _cut(target, documents.get(target.variable))[1])


def joined(regions: Iterable[Target]) -> tuple[Target, ...]:
    """Return the same regions as fewer ones: those that make one box together are one.

    Without it a region that lies beyond two dimensions would fall into one more box with each layer.

    Parameters
    ----------
    regions
        Regions that may be neighbours, overlap or be the same.
    """
    boxes: list[Target] = []
    for region in regions:
        one = region
        while (other := next((box for box in boxes if _union(box, one)), None)) is not None:
            boxes.remove(other)
            one = one.model_copy(update={"bounds": _union(other, one)})
        boxes.append(one)
    return tuple(boxes)


def _union(one: Target, other: Target) -> Bounds | None:
    """Return the bounds of two regions that were to hold the same, if both together are one box."""
    if one.model_copy(update={"bounds": other.bounds}) != other:
        return None
    pairs = list(zip(one.bounds, other.bounds, strict=True))
    hull = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in pairs)
    if hull in (one.bounds, other.bounds):
        return hull
    touch = all(max(a, c) <= min(b, d) for (a, b), (c, d) in pairs)
    return hull if touch and sum(mine != yours for mine, yours in pairs) == 1 else None


def _cut(target: Target, document: Document | None) -> tuple[Target | None, list[Target]]:
    """Cut a region at the edges of a grid: what lies within it, and the rest in one box per dimension at most."""
    if document is None or document["chunk_key_encoding"] != target.key_encoding:
        return None, [target]
    bounds, outside = list(target.bounds), []
    for axis, (count, unit) in enumerate(zip(grid_of(document), target.unit, strict=True)):
        start, stop = bounds[axis]
        edge = count * unit
        if stop > edge:
            beyond = [*bounds[:axis], (max(start, edge), stop), *bounds[axis + 1 :]]
            outside.append(target.model_copy(update={"bounds": tuple(beyond)}))
        bounds[axis] = (start, min(stop, edge))
        if bounds[axis][1] <= start:
            return None, outside
    return target.model_copy(update={"bounds": tuple(bounds)}), outside


def _last(target: Target) -> tuple[int, ...]:
    return tuple(-(-stop // unit) - 1 for (_, stop), unit in zip(target.bounds, target.unit, strict=True))
