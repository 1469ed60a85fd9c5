"""What became of every row of a set of catalogues that is in a store of light curves, or would be: row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aggrade.catalogues.finding import find_catalogues
from aggrade.catalogues.inspecting import discover
from aggrade.catalogues.knowing import Known
from aggrade.catalogues.loading import How, load_epoch
from aggrade.catalogues.matching import FATES, match_epoch
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec, specification
from aggrade.errors import BadInput, Problem
from aggrade.layout import store_for

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Mapping

    from aggrade.catalogues.loading import EpochSources
    from aggrade.catalogues.objects import ObjectTable

__all__ = ["match_report"]

_NOT_TAKEN = ("unmatched", "duplicates", "losers")


def match_report(
    catalogues: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    store: str,
    spec: CatalogueSpec | Mapping[str, Any],
    *,
    match: MatchSpec | Mapping[str, Any] | None = None,
    fates: Collection[str] = _NOT_TAKEN,
    storage_options: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Return the rows of catalogues that gave no cell, and why; nothing is written.

    Catalogues are read and matched again as `aggrade.populate` does, one epoch at a time, against the objects of the
    store. What is wrong with a catalogue is not told here: `populate` does.

    Parameters
    ----------
    catalogues, spec, match, storage_options
        As `aggrade.populate` takes them.
    store
        A dataset root, or its store of light curves.
    fates
        Which rows to list: ``"unmatched"``, ``"duplicates"``, ``"losers"``, ``"blank"``, ``"matched"``.

    Returns
    -------
    pandas.DataFrame
        ``epoch``; ``files``; ``row``, counted from 0 across the files of the epoch; ``fate``; ``id`` or ``ra`` and
        ``dec`` (degrees), as the catalogue has them; ``object``, the id of the object that the row belongs to, None if
        it has none; ``distance_arcsec`` from it, NaN if it has none, 0 by id.

    Raises
    ------
    BadInput
        If there is no store of light curves, or a specification or a fate is wrong.
    Unavailable
        If a store does not answer.
    """
    how = How(spec=specification(CatalogueSpec, spec), match=specification(MatchSpec, match))
    if unknown := sorted(set(fates) - set(FATES)):
        fix = "correct the name"
        raise BadInput(
            Problem("fates", ", ".join(map(repr, unknown)), f"some of {', '.join(FATES)}", fix, "fate")
        )
    known = Known.of(store_for(store, "epoch", storage_options))
    if known.shape is None:
        fix = "populate it first, or name another"
        raise BadInput(
            Problem(known.storage.url, "no light curves", "a store of them", fix, "no-lightcurves")
        )
    objects = known.objects()
    found = discover(find_catalogues(catalogues, storage_options), how, storage_options, map)
    looked = (_of_epoch(epoch, objects, how, set(fates), storage_options) for epoch in found.epochs)
    parts = [part for part in looked if part is not None]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["epoch", "row", "fate"])


def _of_epoch(
    epoch: EpochSources,
    objects: ObjectTable,
    how: How,
    fates: set[str],
    storage_options: Mapping[str, Any] | None,
) -> pd.DataFrame | None:
    """Return the rows of one epoch; None if it can't be read."""
    try:
        catalogue = load_epoch(epoch, how, storage_options).catalogue
    except BadInput:
        return None
    matched = match_epoch(catalogue, objects, how.spec, how.match, by_id=how.by_id)
    names = np.array(FATES)[matched.fates]
    rows = np.flatnonzero(np.isin(names, sorted(fates)))
    claimed = matched.claims.objects[rows]
    columns: dict[str, Any] = {
        "epoch": epoch.key,
        "files": ", ".join(source.key for source in epoch.sources),
        "row": rows,
        "fate": names[rows],
    }
    own = {"id": catalogue.ids, "ra": catalogue.ra, "dec": catalogue.dec}
    columns |= {name: values[rows] for name, values in own.items() if values is not None}
    owners = [objects.ids[index].item() if index >= 0 else None for index in claimed]
    columns["object"] = pd.Series(owners, dtype=object)
    columns["distance_arcsec"] = np.where(claimed >= 0, matched.claims.distance[rows], np.nan)
    return pd.DataFrame(columns)
