"""`drill`: prove on the user's own bucket or folder that what aggrade stands on holds there.

Everything happens in a folder of its own, which has to be empty before and is gone afterwards: conditions are asked
for, appends are killed for real (a process of its own gets SIGKILL), a reply is lost, two writers meet, a backup is
restored. After each of them a bare reader has to see every layer once, value by value, and `verify` has to agree.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

import aggrade
from aggrade.commit.snapshot import ROOT
from aggrade.drill_ground import Ground, drill_ground
from aggrade.errors import AggradeError, Damaged, Problem
from aggrade.price import Price, human_bytes
from aggrade.storage.probe import conditions, probe
from aggrade.storage.zarr_store import ReadStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrade.receipt import Receipt

__all__ = ["DrillReport", "Line", "drill"]

_log = logging.getLogger(__name__)
_DIM = "layer"
_SAMPLES = 1000
_SIGNS = {"held": "✓", "failed": "✗", "absent": "-"}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Value):
    """One thing that was tried."""

    name: str = Field(description="What was tried.")
    state: Literal["held", "failed", "absent"] = Field(
        description="absent: it is not there, or was not tried, and nothing stands on it."
    )
    detail: str = Field(default="", description="What was seen.")

    def __str__(self) -> str:
        return f"{_SIGNS[self.state]} {self.name}" + (f": {self.detail}" if self.detail else "")


class DrillReport(_Value):
    """What a drill found."""

    place: str = Field(description="Where it took place.")
    lines: tuple[Line, ...] = Field(description="What was tried, in order.")
    price: Price = Field(description="What it took.")
    seconds: float = Field(description="How long it took.")

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(line.state != "failed" for line in self.lines)

    @property
    def summary(self) -> str:
        """The result and the price, in a sentence."""
        failed = sum(line.state == "failed" for line in self.lines)
        result = "all held" if self.ok else f"{failed} of {len(self.lines)} failed"
        requests = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.price.requests.items()))
        moved = f"{human_bytes(self.price.bytes_written)} written, {human_bytes(self.price.bytes_read)} read"
        return (
            f"{result} at {self.place}: {requests} (${self.price.dollars:.4f}), {moved}, {self.seconds:.0f} s"
        )

    def __str__(self) -> str:
        return "\n".join([*map(str, self.lines), self.summary])


def drill(
    url: str,
    *,
    say: Callable[[Line], None] = lambda _: None,
    storage_options: Mapping[str, Any] | None = None,
) -> DrillReport:
    """Try out what aggrade stands on, in the folder ``aggrade-drill`` below a URL; leave nothing behind.

    Parameters
    ----------
    url
        A bucket, a prefix in one, or a folder; what lies there is not touched.
    say
        Is told each line as soon as it is known.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Returns
    -------
    DrillReport
        ``.ok``, ``.lines``, ``.price``.

    Raises
    ------
    Refused
        If the URL is a Zarr store, or something lies in the folder that the drill wants for itself.
    BadInput
        If the bucket does not exist or the credentials are refused.
    Unavailable
        If the store does not answer.
    """
    started = time.monotonic()
    lines: list[Line] = []
    with drill_ground(url, dict(storage_options or {})) as ground:
        for line in _lines(ground):
            lines.append(line)
            say(line)
    lines.append(_left_behind(ground))
    say(lines[-1])
    seconds = time.monotonic() - started
    return DrillReport(place=ground.url, lines=tuple(lines), price=_price(ground), seconds=seconds)


def _price(ground: Ground) -> Price:
    counts = ground.counts
    requests = {kind: count for kind, count in counts.items() if kind.isupper()}
    return Price(requests=requests, bytes_read=counts["bytes_read"], bytes_written=counts["bytes_written"])


def _left_behind(ground: Ground) -> Line:
    left = ground.what_is_left()
    state: Literal["held", "failed"] = "failed" if left else "held"
    return Line(
        name="nothing is left behind", state=state, detail=f"{len(left)} objects stay" if left else ""
    )


def _lines(ground: Ground) -> Iterator[Line]:
    safe = True
    for line in _conditions(ground):
        safe = safe and line.state != "failed"
        yield line
    for name, trial in _TRIALS.items():
        if safe:
            yield _tried(name, trial, ground)
        else:
            yield Line(name=name, state="absent", detail="not tried: aggrade refuses this place")


def _conditions(ground: Ground) -> Iterator[Line]:
    seen = conditions(ground.storage) or probe(ground.storage)
    for name, (words, without) in _CONDITIONS.items():
        kept = getattr(seen, name)
        if kept:
            yield Line(name=words, state="held")
        elif without:
            yield Line(name=words, state="absent", detail=without if kept is False else "no server is asked")
        else:
            yield Line(name=words, state="failed", detail=f"not enforced by {seen.where}")


_CONDITIONS = {
    "create_only": ("an object is created only where there is none", ""),
    "compare_and_swap": ("an object is replaced only by who knows it", ""),
    "read_after_write": ("what was written is read and listed at once", ""),
    "conditional_copy": ("a copy overwrites nothing", "not enforced; the commit does without"),
    "conditional_delete": (
        "an object is deleted only by who knows it",
        "not enforced; a repair empties objects instead",
    ),
    "content_md5": (
        "an object that is torn on its way is refused (Content-MD5)",
        "not checked; verify finds it",
    ),
    "checksums": (
        "an object that is torn on its way is refused (x-amz-checksum)",
        "not checked; verify finds it",
    ),
}


def _tried(name: str, trial: Callable[[Ground], str | None], ground: Ground) -> Line:
    try:
        detail = trial(ground)
    except AggradeError as error:
        _log.info("%s", name, exc_info=error)
        return Line(name=name, state="failed", detail=str(error))
    if detail is None:
        return Line(name=name, state="absent", detail="not in this version")
    return Line(name=name, state="held", detail=detail)


def _layer(label: str) -> xr.Dataset:
    """Return a layer whose values follow from its label."""
    return xr.Dataset({"x": ((_DIM, "sample"), _values(label)[None])}, {_DIM: [label]})


def _values(label: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(zlib.crc32(label.encode())).standard_normal(_SAMPLES)


def _append(ground: Ground, store: str, label: str, **broken: str) -> Receipt:
    url, options = ground.address(store, **broken)
    chunks = {"x": (1, _SAMPLES // 4)}
    return aggrade.append(_layer(label), url, dim=_DIM, chunks=chunks, storage_options=options)


def _made(ground: Ground, store: str) -> None:
    for label in ("a", "b"):
        _append(ground, store, label)
    _demand(ground, store, "a", "b")


def _shown(ground: Ground, store: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return what a bare reader sees: label → values."""
    try:
        return _read(ground, store)
    except (RuntimeError, ValueError) as error:
        raise _other(ground, store, f"what can't be decoded ({error})", "what was appended") from error


def _read(ground: Ground, store: str) -> dict[str, np.ndarray[Any, Any]]:
    storage = ReadStore(ground.storage.within(store))
    with xr.open_zarr(storage, consolidated=True, zarr_format=3, chunks=None) as opened:
        labels = [str(label) for label in opened[_DIM].values]
        if len(set(labels)) != len(labels):
            raise _other(ground, store, f"labels {labels}", "each label once")
        return dict(zip(labels, opened["x"].values, strict=True))


def _demand(ground: Ground, store: str, *labels: str, verified: bool = True) -> None:
    """Raise unless a bare reader sees just these layers with their values, and `verify` agrees."""
    shown = _shown(ground, store)
    if set(shown) != set(labels):
        raise _other(ground, store, f"layers {sorted(shown)}", f"layers {sorted(labels)}")
    wrong = [label for label in labels if not np.array_equal(shown[label], _values(label))]
    if wrong:
        raise _other(ground, store, f"other values in layers {wrong}", "the values that were appended")
    if verified:
        url, options = ground.address(store)
        report = aggrade.verify(url, storage_options=options)
        if not report.ok:
            raise _other(ground, store, "; ".join(report.problems), "a store that verify finds whole")


def _other(ground: Ground, store: str, found: str, expected: str) -> Damaged:
    fix = "do not use this place; report it with the server's name and version"
    return Damaged(Problem(f"{ground.url}/{store}", found, expected, fix, "drill"))


def _appended(ground: Ground) -> str:
    _made(ground, "appended.zarr")
    return "two layers, read back value by value"


def _killed_before(ground: Ground) -> str:
    store = "before.zarr"
    _made(ground, store)
    _kill(ground, store, "die-before")
    _demand(ground, store, "a", "b", verified=False)
    _recover(ground, store, "back")
    _demand(ground, store, "a", "b")
    _append(ground, store, "c")
    _demand(ground, store, "a", "b", "c")
    return "the old state showed, it was rolled back, and the next append succeeded"


def _killed_behind(ground: Ground) -> str:
    store = "behind.zarr"
    _made(ground, store)
    _kill(ground, store, "die-after")
    _demand(ground, store, "a", "b", "c", verified=False)
    _recover(ground, store, "forward")
    _append(ground, store, "c")
    _demand(ground, store, "a", "b", "c")
    return "the new state showed, it was rolled forward, and the same append again did nothing"


def _kill(ground: Ground, store: str, how: str) -> None:
    if not ground.killed(append_broken, store, "c", how):
        raise _other(ground, store, "a process that ended by itself", "one that was killed at the switch")


def append_broken(ground: Ground, store: str, label: str, how: str) -> None:
    """Append a layer, breaking the write of the root: what the process that will be killed does.

    Parameters
    ----------
    ground
        Where.
    store, label
        Name of the store and of the layer.
    how
        As `aggrade.drill_ground.Breaking` takes it.
    """
    _append(ground, store, label, key=ROOT, how=how)


def _recover(ground: Ground, store: str, direction: str) -> None:
    url, options = ground.address(store)
    receipt = aggrade.recover(url, storage_options=options)
    rolled = receipt.details["rolled"] if receipt else "nowhere"
    if rolled != direction:
        raise _other(ground, store, f"a commit that was rolled {rolled}", f"one rolled {direction}")


def _lost_reply(ground: Ground) -> str:
    store = "lost.zarr"
    _made(ground, store)
    first = _append(ground, store, "c", key=ROOT, how="lose-reply")
    if _append(ground, store, "c").write_id != first.write_id:
        raise _other(ground, store, "two commits of one layer", "one")
    _demand(ground, store, "a", "b", "c")
    return "the append found out that it had succeeded"


def _two_writers(ground: Ground) -> str:
    store, barrier = "both.zarr", threading.Barrier(2)
    _made(ground, store)

    def write(labels: tuple[str, ...]) -> None:
        barrier.wait()
        for label in labels:
            _append(ground, store, label)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [("c", "d"), ("e", "f", "c")]))
    _demand(ground, store, *"abcdef")
    return "every layer is there once, the one that both brought, too"


def _restored(ground: Ground) -> str | None:
    if "restore" not in aggrade.__all__:
        return None
    store = "restored.zarr"
    _made(ground, store)
    _append(ground, store, "c")
    url, options = ground.address(store)
    restore: Any = aggrade.restore  # type: ignore[attr-defined, unused-ignore]
    restore(url, aggrade.list_backups(url, storage_options=options)[-1].id, storage_options=options)
    _demand(ground, store, "a", "b")
    return "the state before the last append is back"


_TRIALS: dict[str, Callable[[Ground], str | None]] = {
    "an append": _appended,
    "an append killed before its switch": _killed_before,
    "an append killed behind its switch": _killed_behind,
    "an append whose last reply is lost": _lost_reply,
    "two writers at once": _two_writers,
    "a restore": _restored,
}
