"""What the demonstration says at its end: which stores there are, how they look, and pictures of what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from aggrade.layout import LIGHTCURVES, LIGHTCURVES_BY_OBJECT, WINDOWS, stores_in
from aggrade.storage import open_storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from flows.demo_terminal import Terminal

__all__ = ["StoreState", "draw_pictures", "show_stores", "states"]


@dataclass(frozen=True)
class StoreState:
    """What one Zarr store shows.

    Parameters
    ----------
    path
        Where it lies below the dataset root.
    generation
        How many commits and fences it has seen.
    write_id
        The commit that made this state.
    """

    path: str
    generation: int
    write_id: str


def states(store: str) -> dict[str, StoreState]:
    """Return what each published Zarr store of a dataset root shows, by path. One request for each.

    Parameters
    ----------
    store
        The dataset root.
    """
    from aggrade.commit import read_snapshot

    root = open_storage(store)
    found = {}
    for path in stores_in(root):
        snapshot = read_snapshot(root.within(path))
        if snapshot is not None:
            found[path] = StoreState(path, snapshot.generation, snapshot.write_id)
    return found


def show_stores(terminal: Terminal, store: str) -> None:
    """Print what lies where: each store's newest receipt and the view that xarray has of it.

    Parameters
    ----------
    terminal
        Where to print.
    store
        The dataset root.
    """
    from aggrade.commit import find_receipt
    from aggrade.opening import open_dataset

    root = open_storage(store)
    for state in states(store).values():
        storage = root.within(state.path)
        terminal.title(storage.url)
        if (receipt := find_receipt(storage, state.write_id)) is not None:
            terminal.say(f"newest receipt: {receipt}", style="green")
        if (dataset := open_dataset(storage)) is not None:
            terminal.say(_view(dataset))


def _view(dataset: xr.Dataset) -> str:
    import xarray as xr

    with xr.set_options(display_expand_attrs=False, display_width=110, display_max_rows=24):  # type: ignore[no-untyped-call]
        return repr(dataset)


def draw_pictures(store: str, folder: Path, periods: Mapping[int, float] | None = None) -> dict[Path, bool]:
    """Draw a window and a light curve, unless the pictures that are there show the stores as they are.

    Parameters
    ----------
    store
        The dataset root.
    folder
        Where the pictures lie or shall lie.
    periods
        Period in days of each object that has a known one; its light curve is folded.

    Returns
    -------
    dict
        Each picture → whether it was drawn now.
    """
    found = states(store)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, paths, draw in _PICTURES:
        sources = [found[path] for path in found if path.startswith(paths)]
        if sources:
            mark = " ".join(f"{store}/{source.path}@{source.write_id}" for source in sources)
            drawn[folder / name] = _draw(folder / name, mark, partial(draw, store, periods or {}))
    return drawn


def _draw(path: Path, mark: str, draw: Callable[[str], bytes]) -> bool:
    from aggrade.pictures import picture_mark

    if path.exists() and picture_mark(path.read_bytes()) == mark:
        return False
    unfinished = path.with_suffix(".partial")
    unfinished.write_bytes(draw(mark))
    unfinished.replace(path)
    return True


def _window(store: str, _: Mapping[int, float], mark: str) -> bytes:
    from aggrade.opening import open_windows
    from aggrade.pictures import window_picture

    windows = open_windows(store)
    shown = int(windows["n_windows"].values[0] * _SHOWN_WINDOW)
    return window_picture(windows, 0, shown, mark=mark)


def _light_curve(store: str, periods: Mapping[int, float], mark: str) -> bytes:
    from aggrade.lightcurves import LightCurves
    from aggrade.pictures import light_curve_picture

    curves = LightCurves(store)
    chosen = _most_variable(curves.dataset)
    period = periods.get(int(chosen)) if not isinstance(chosen, str) else None
    return light_curve_picture(curves.lightcurve(chosen), period=period, mark=mark)


def _most_variable(dataset: xr.Dataset) -> int | str:
    """Return the id of the object that varies most beyond its errors, among the first thousand."""
    cells = dataset[["lightcurves", "status"]].isel(object=slice(_MOST_LOOKED_AT)).compute()
    values, errors = (
        cells["lightcurves"].isel(value=index).where(cells["status"] == _DETECTED) for index in (0, 1)
    )
    excess = (((values - values.mean("epoch")) / errors) ** 2).sum(["measurement", "epoch"])
    best: int | str = dataset["object"].values[excess.argmax("object").item()]
    return best


_DETECTED = 1
_SHOWN_WINDOW = 0.35  # of the way through the first session
_MOST_LOOKED_AT = 1000
_PICTURES: tuple[tuple[str, tuple[str, ...], Callable[[str, Mapping[int, float], str], bytes]], ...] = (
    ("window.png", (WINDOWS, "windows/", "sessions/"), _window),
    ("light_curve.png", (LIGHTCURVES, LIGHTCURVES_BY_OBJECT), _light_curve),
)
