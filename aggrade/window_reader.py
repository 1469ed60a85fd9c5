"""Windows for training: batches at the speed of the store, each window once an epoch, resumed at any step."""

from __future__ import annotations

import copy
import logging
import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aggrade.errors import BadInput, Problem, raise_all
from aggrade.rechunking.guards import memory_bound
from aggrade.storage import url_of
from aggrade.uniting import unite
from aggrade.window_choices import check_numbers, choose_columns, choose_samples
from aggrade.window_loading import Loader
from aggrade.window_order import Sharing, order_epoch, taken_in_turn
from aggrade.window_parts import open_parts
from aggrade.window_selection import check_conditions
from aggrade.window_table import list_windows
from aggrade.window_tensors import as_tensors, import_torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from aggrade.window_order import EpochOrder

__all__ = ["Framework", "WindowReader"]

Framework = Literal["numpy", "torch"]

logger = logging.getLogger(__name__)

_IN_MEMORY = 4
"""Groups of windows that memory has room for: in use, read ahead, encoded, and in batches."""


class WindowReader:
    """The windows of a dataset in batches, as they are at the time of opening.

    Iterating yields the batches of one epoch, from the step that was reached; then the next epoch begins. Windows are
    read by whole shards, ahead of their use. Each window comes once an epoch on one of the ranks. The order follows
    from seed, epoch and what the store holds, not from the number of threads. Sessions that were replaced or removed
    are left out; if one is removed, or an earlier state restored, while the reader is in use, reading it is refused.

    Parameters
    ----------
    store
        A dataset root, or one Zarr store of windows. A local path or URL.
    batch_size
        Windows of a batch; the last of an epoch may have fewer.
    shuffle
        Shards in random order, and windows in random order among those that `memory` holds at once.
    seed
        Of the random order.
    where
        Which windows: variable → value, list of values or ``(low, high)``; see `aggrade.window_selection.selected`.
    modalities
        ``("eeg", "fnirs")``, or one of them. Left out: those that the dataset has.
    channels
        Modality → names or patterns (``"O*"``), in the order in which they are wanted. Left out: all.
    quality
        Variables with one number per window that come with each batch. Left out: the coverage of each modality.
    rank, world_size
        Which of how many readers this is. Their shares differ by at most one window.
    drop_last
        Leave out what doesn't fill a batch on every rank, so that all ranks have as many batches.
    framework
        ``"numpy"`` arrays, or ``"torch"`` tensors (text is a list).
    start
        ``(epoch, step)`` to begin with: `step` batches of that epoch have been used.
    memory
        What the reader may take, as bytes or ``"1 GiB"``; never less than four shards.
    threads
        How many shards are read and decoded at once.
    storage_options
        As `s3fs.S3FileSystem` takes them.

    Attributes
    ----------
    epoch, step : int
        How far the reader is: batches of this epoch that were yielded.
    channels : dict
        Modality → names of its channels, in the order of the batches.
    sessions : list of str
        Ids of all sessions, in the order of `aggrade.open_windows`.
    windows : int
        Windows that were chosen, on all ranks.

    Raises
    ------
    BadInput
        If there are no windows, none is chosen, stores don't fit together, torch is missing, or a parameter is wrong.
    Damaged
        If a store's metadata cannot be read.
    """

    def __init__(
        self,
        store: str | PathLike[str],
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        where: Mapping[str, Any] | None = None,
        modalities: Sequence[str] | None = None,
        channels: Mapping[str, str | Sequence[str]] | None = None,
        quality: Sequence[str] | None = None,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        framework: Framework = "numpy",
        start: tuple[int, int] = (0, 0),
        memory: int | str = "1 GiB",
        threads: int = 4,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        store = url_of(store)
        numbers = {"batch_size": batch_size, "threads": threads, "world_size": world_size}
        check_numbers({**numbers, "seed": seed, "rank": rank, "framework": framework})
        bound = memory_bound(memory, "memory")
        if framework == "torch":
            import_torch()
        parts = open_parts(store, storage_options)
        shown = {part.name: part.dataset.isel(session=part.rows) for part in parts}
        united = unite(shown, dim="session", ragged=("window",), below=store.rstrip("/"))
        check_conditions(united, where or {})
        samples, self.channels = choose_samples(united, parts, modalities, channels or {})
        self._columns = choose_columns(united, list(self.channels), quality)
        each = {one.name: one.nbytes for one in samples}
        table = list_windows(parts, each, self._columns, where)
        if not len(table):
            raise BadInput(_none_chosen(store, where))
        self._loader = Loader(parts, table, samples, threads)
        self._framework = framework
        group = max(1, bound // _IN_MEMORY // sum(each.values()))
        self._sharing = Sharing(batch_size, shuffle, seed, drop_last, rank, world_size, group)
        self.sessions = [str(label) for label in table.sessions.labels]
        self.windows = len(table)
        self._digest = table.digest
        self._session_at = {label: at for at, label in enumerate(self.sessions)}
        self.epoch, self.step = 0, 0
        self.set_epoch(*start)
        logger.info("%d windows of %d sessions of %s", len(table), len(self.sessions), store)

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return self._sharing.batches(self.windows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches that are left of this epoch: what `window` returns, with a window in each row."""
        order = order_epoch(self._loader.windows.units, self._sharing, self.epoch)
        for batch in self._batches(order, self.step):
            self.step += 1
            yield self._converted(batch)
        self.epoch, self.step = self.epoch + 1, 0

    def _batches(self, order: EpochOrder, step: int) -> Iterator[dict[str, NDArray[Any]]]:
        size, total = self._sharing.batch_size, int(order.starts[-1])
        at = step * size
        if at >= total:
            return
        group = int(np.searchsorted(order.starts, at, side="right")) - 1
        room, filled = self._room(min(size, total - at)), 0
        for values in self._loader.groups(order, group):
            which, rows = order.within(group), order.rows(group)
            done = at - int(order.starts[group])
            while done < len(which):
                taken = which[done : done + len(room["window"]) - filled]
                self._fill(room, filled, rows[taken], values, taken)
                done, at, filled = done + len(taken), at + len(taken), filled + len(taken)
                if filled == len(room["window"]):
                    yield room
                    room, filled = self._room(min(size, total - at)), 0
            group += 1

    def _room(self, count: int) -> dict[str, NDArray[Any]]:
        table = self._loader.windows
        columns = {name: np.empty(count, table.columns[name].dtype) for name in self._columns}
        return {
            **{one.name: one.empty(count) for one in self._loader.samples},
            **columns,
            "session": np.empty(count, object),
            "window": np.empty(count, np.int64),
        }

    def _fill(
        self,
        room: Mapping[str, NDArray[Any]],
        start: int,
        rows: NDArray[np.int64],
        values: Mapping[str, NDArray[Any]],
        taken: NDArray[np.int64],
    ) -> None:
        """Put windows into a batch: `rows` of the table, `taken` of the group's samples."""
        into, table = slice(start, start + len(taken)), self._loader.windows
        for name, array in values.items():
            np.take(array, taken, axis=0, out=room[name][into], mode="clip")
        for name, column in table.columns.items():
            room[name][into] = column[rows]
        room["session"][into] = table.sessions.labels[table.session[rows]]
        room["window"][into] = table.window[rows]

    def _converted(self, batch: dict[str, NDArray[Any]]) -> dict[str, Any]:
        if "label" in batch:
            batch["label"] = batch["label"].astype(np.int64)
        return as_tensors(batch) if self._framework == "torch" else batch

    def window(self, session: str, index: int) -> dict[str, Any]:
        """Return one window, chosen by `where` or not. One request per modality, and one more for a new shard.

        Parameters
        ----------
        session
            The session's id.
        index
            Which window of it, from 0.

        Returns
        -------
        dict
            ``eeg``, ``fnirs`` (channel, sample) in the store's units, missing: NaN; ``session``, ``window``.

        Raises
        ------
        BadInput
            If there is no such window, or `index` is no whole number.
        Refused
            If the session has been removed since the reader was opened.
        """
        index = _whole_number(index, session)
        at = self._session_at.get(session)
        count = 0 if at is None else int(self._loader.windows.sessions.windows[at])
        if at is None or not 0 <= index < count:
            raise BadInput(_no_such_window(session, index, count if at is not None else None))
        found: dict[str, Any] = self._loader.read_one(at, index)
        if self._framework == "torch":
            found = as_tensors(found)
        return {**found, "session": session, "window": index}

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Go to a step of an epoch.

        Parameters
        ----------
        epoch, step
            Both from 0. A step behind the last means the beginning of the next epoch.

        Raises
        ------
        BadInput
            If either is below 0, or there is no such step.
        """
        if min(epoch, step) < 0 or step > len(self):
            expected = f"an epoch from 0 and a step from 0 to {len(self)}"
            problem = Problem("start", f"({epoch}, {step})", expected, "give a state of this reader", "start")
            raise BadInput(problem)
        self.epoch, self.step = (epoch + 1, 0) if step == len(self) > 0 else (epoch, step)

    def state_dict(self) -> dict[str, Any]:
        """Return how far the reader is, and what has to be the same for it to go on; JSON."""
        sharing = {name: getattr(self._sharing, name) for name in Sharing.__dataclass_fields__}
        return {"epoch": self.epoch, "step": self.step, **sharing, "windows": self._digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another reader of the same windows was: the same batches follow as would have there.

        Raises
        ------
        BadInput
            With every difference, if the state is that of a reader of other windows or parameters.
        """
        mine = self.state_dict()
        problems = [
            _differs(name, state.get(name), value)
            for name, value in mine.items()
            if name not in ("epoch", "step") and state.get(name) != value
        ]
        raise_all(problems, BadInput)
        self.set_epoch(int(state["epoch"]), int(state["step"]))

    def split(self, part: int, parts: int) -> WindowReader:
        """Return a reader of a share of this reader's windows.

        A data loader takes batches from its workers in turn. The shares begin where they are after as many batches
        as this reader is at, and are numbered from the one whose turn it is then.

        Parameters
        ----------
        part, parts
            Which share of how many.
        """
        given = {name: getattr(self._sharing, name) for name in Sharing.__dataclass_fields__}
        shares = [
            Sharing(
                **given | {"rank": given["rank"] * parts + each, "world_size": given["world_size"] * parts}
            )
            for each in range(parts)
        ]
        used, following = taken_in_turn([share.batches(self.windows) for share in shares], self.step)
        mine = (following + part) % parts
        shared = copy.copy(self)
        vars(shared).update(_sharing=shares[mine], step=used[mine])
        return shared

    def torch_dataset(self) -> Any:
        """Return this reader as a `torch.utils.data.IterableDataset`, for ``DataLoader(…, batch_size=None)``.

        Raises
        ------
        BadInput
            If torch is not installed.
        """
        import_torch()
        from aggrade.window_batches import WindowBatches

        return WindowBatches(self)


def _none_chosen(store: str, where: Mapping[str, Any] | None) -> Problem:
    found = f"no window that fulfils {dict(where)}" if where else "sessions without windows"
    return Problem(store, found, "at least one window", "relax the conditions", "no-window-chosen")


def _whole_number(index: Any, session: str) -> int:
    try:
        return operator.index(index)
    except TypeError as error:
        where, fix = f"session {session!r}", "name one that is there"
        problem = Problem(where, f"window {index!r}", "a whole number from 0", fix, "no-such-window")
        raise BadInput(problem) from error


def _no_such_window(session: str, index: int, count: int | None) -> Problem:
    found = "no such session" if count is None else f"window {index}"
    expected = "one of the reader's sessions" if count is None else f"0 to {count - 1}"
    return Problem(f"session {session!r}", found, expected, "name one that is there", "no-such-window")


def _differs(name: str, theirs: Any, mine: Any) -> Problem:
    if name == "windows":
        fix = "open the state that it was made of, or begin a new epoch with start="
        return Problem("state", "other windows than this reader's", "the same windows", fix, "state-windows")
    fix = "make the reader with the parameters that the state was made with"
    return Problem(f"state[{name!r}]", repr(theirs), repr(mine), fix, "state-differs")
