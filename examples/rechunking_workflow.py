"""From nightly catalogues to one star in one read: write layout, populate, rechunk, read; then one more night.

    python examples/rechunking_workflow.py FOLDER [--nights 8]

The nights are made up (`flows.demo_catalogues`): FITS and Parquet by turns, a field across right ascension 0. With your
own, `SPEC` says what their columns mean; ``aggrade inspect FILE`` drafts it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aggrade
from flows.demo_catalogues import file_names, write_catalogue
from flows.demo_inputs import CATALOGUE_SPEC as SPEC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrade import LightCurves


def observe(catalogues: Path, nights: Iterable[int]) -> None:
    """Write the catalogues of some nights, as a telescope would deliver them."""
    catalogues.mkdir(parents=True, exist_ok=True)
    for night in nights:
        write_catalogue(night, catalogues / file_names()[night])


def chunks_of_a_star(curves: LightCurves) -> int:
    """Return how many chunks of values the light curve of one object lies in."""
    cells = curves.dataset["lightcurves"]
    sizes = cells.encoding["chunks"]
    per_dim = dict(zip(cells.dims, zip(cells.shape, sizes, strict=True), strict=True))
    return math.prod(-(-size // chunk) for dim, (size, chunk) in per_dim.items() if dim != "object")


def refresh(catalogues: Path, store: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Bring what is new into the store, renew the copy for reading, and say what a light curve costs before and after.

    Epochs that are there already are not read again, and of the copy only that is made which is new.
    """
    receipt = aggrade.populate(catalogues, store, SPEC)
    before = aggrade.LightCurves(store)
    tell(
        f"{receipt.details['objects']} objects; a light curve lies in {chunks_of_a_star(before)} chunks of {before.layout}"
    )
    plan = aggrade.rechunk(store / "lightcurves.zarr", store / "lightcurves_by_object.zarr", dry_run=True)
    tell(f"rechunk: {plan.price}")
    aggrade.rechunk(store / "lightcurves.zarr", store / "lightcurves_by_object.zarr")
    after = aggrade.LightCurves(store)
    tell(f"now it lies in {chunks_of_a_star(after)} of {after.layout}")
    layouts = {"before": before.layout, "after": after.layout}
    return {**layouts, "chunks": (chunks_of_a_star(before), chunks_of_a_star(after)), "curves": after}


def main(folder: Path, nights: int, tell: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Populate with all nights but one, rechunk and read; then do the same again with the last night."""
    catalogues, store = folder / "catalogues", folder / "store"
    observe(catalogues, range(nights - 1))
    first = refresh(catalogues, store, tell)
    star = first["curves"].dataset["object"].values[0]
    tell(str(first["curves"].lightcurve(star).to_pandas().head()))
    observe(catalogues, [nights - 1])
    second = refresh(catalogues, store, tell)
    field = second["curves"].cone(ra=0.0, dec=0.0, radius=0.2)
    tell(
        f"{field.sizes['object']} stars within 0.2 degrees, {field.sizes['epoch']} nights, {field['lightcurves'].dtype}"
    )
    return [first, second]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nights", type=int, default=8)
    given = parser.parse_args()
    main(given.folder, given.nights)
