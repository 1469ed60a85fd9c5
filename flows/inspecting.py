"""Commands that look at a dataset or mend it, without Prefect, unless it keeps the credentials."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrade.errors import BadInput, Damaged, Problem

if TYPE_CHECKING:
    from aggrade.commit import Manifest
    from aggrade.receipt import Receipt

__all__ = [
    "backups",
    "catalogue",
    "drill",
    "epochs",
    "lightcurve",
    "matches",
    "plot",
    "recover",
    "sky",
    "status",
    "suggest",
    "verify",
]


def status(store: str, *, credentials: str | None = None) -> str:
    """Say what lies in a dataset, how it grew last, and whether somebody is writing.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store: a folder or s3://bucket/prefix.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.surveying import survey

    states = survey(store, storage_options=_options(credentials))
    if not states:
        fix = "check the URL; aggrade ingest and aggrade populate make stores"
        raise BadInput(Problem(store, "no Zarr store", "a dataset root or a Zarr store", fix, "no-store"))
    return "\n".join(str(state) for state in states)


def verify(store: str, *, repair: bool = False, credentials: str | None = None) -> str:
    """Prove that a store holds what its receipts say; read every object once.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store: a folder or s3://bucket/prefix.
    repair
        Mend what is safe to mend first, and say what was mended.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade
    from aggrade.damage import raise_damage

    options = _options(credentials)
    if repair:
        return _repaired(store, options)
    report = aggrade.verify(store, storage_options=options)
    raise_damage(report.damage())
    return str(report)


def _repaired(store: str, options: dict[str, Any] | None) -> str:
    from aggrade.damage import damage_of, raise_damage
    from aggrade.repairing import repair

    repairs = repair(store, storage_options=options)
    if not repairs.ok:
        print("\n".join(f"mended: {sentence}" for sentence in repairs.done) or "nothing is safe to mend")
    raise_damage(damage_of((*repairs.failed, *repairs.report.problems)))
    return str(repairs)


def recover(store: str, *, credentials: str | None = None) -> str:
    """Finish what a dead writer left behind; leave a writer alone that is alive.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store: a folder or s3://bucket/prefix.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade
    from aggrade.layout import demand_stores

    options = _options(credentials)
    receipt = aggrade.recover(store, storage_options=options)
    if receipt is None:
        demand_stores(store, options)
    return str(receipt) if receipt else f"nothing to recover in {store}"


def backups(store: str, *, credentials: str | None = None) -> list[str]:
    """List the backups of a dataset, oldest first: when and before what each was made, and how to restore it.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store: a folder or s3://bucket/prefix.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.backups import backups_with_receipts
    from aggrade.layout import demand_stores

    options = _options(credentials)
    found = backups_with_receipts(store, storage_options=options)
    if not found:
        demand_stores(store, options)
    return [_line(manifest, receipt) for manifest, receipt in found] or [f"no backups of {store}"]


def catalogue(store: str, *, rebuild: bool = False, credentials: str | None = None) -> str:
    """List the sessions of a dataset: in which store and row each lies, its length and its quality.

    Parameters
    ----------
    store
        Dataset root: a folder or s3://bucket/prefix.
    rebuild
        Make the catalogue anew from what the stores show, and say what was done.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade

    options = _options(credentials)
    if rebuild:
        return str(aggrade.rebuild_catalogue(store, storage_options=options))
    found = aggrade.read_catalogue(store, storage_options=options)
    if found.empty:
        return f"no catalogue of sessions in {store}; aggrade ingest keeps one, --rebuild makes one"
    columns = ["session", "store", "index", "windows", "duration_s", "eeg_coverage", "fnirs_coverage"]
    return str(found[columns].to_string(index=False, na_rep="-"))


def suggest(store: str, *, max_memory: str = "1 GiB", credentials: str | None = None) -> str:
    """Compare three layouts of a store by what one read costs in each, and by what it costs to make them.

    Parameters
    ----------
    store
        Zarr store of windows or of light curves: a folder or s3://bucket/prefix.
    max_memory
        What one piece of the rechunk may take, such as 500 MB or 2 GiB.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.rechunking.comparing import compare_layouts
    from aggrade.rechunking.guards import memory_bound
    from aggrade.rechunking.source import read_source
    from aggrade.storage import open_storage

    storage = open_storage(store.rstrip("/"), _options(credentials))
    documents = read_source(storage).documents
    return str(compare_layouts(storage.url, documents, memory_bound(max_memory)))


def drill(url: str, *, credentials: str | None = None) -> str:
    """Prove on your own bucket or folder that what aggrade stands on holds there; leave nothing behind.

    Parameters
    ----------
    url
        A folder, a bucket or a prefix in one: s3://bucket/prefix. Everything happens in aggrade-drill below it.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.drilling import drill as try_out

    report = try_out(url, say=lambda line: print(line, flush=True), storage_options=_options(credentials))
    if not report.ok:
        found, fix = report.summary, "see the lines with ✗ above; take another server, or a disk"
        raise Damaged(Problem(url, found, "a place where everything holds", fix, "drill"))
    return report.summary


def _options(credentials: str | None) -> dict[str, Any] | None:
    """Return what a block says of the bucket; Prefect, which keeps it, is imported for that only."""
    if credentials is None:
        return None
    from tasks.credentials import storage_options

    return storage_options(credentials)


def _line(manifest: Manifest, receipt: Receipt | None) -> str:
    """Say of a backup when and by what it was made, what it weighs, and how to bring its state back."""
    import shlex

    layers = textwrap.shorten(", ".join(receipt.layers), 60, placeholder=" …") if receipt else ""
    what = f"{manifest.commit or 'a commit'}{f' of {layers}' if layers else ''}"
    when = manifest.made.replace("T", " ").replace("+00:00", " UTC") or "at an unknown time"
    made = f"{when}  before {what}"
    if manifest.purged:
        return f"{made}  {manifest.store}  {manifest.id}  purged by a removal, can't be restored any more"
    if manifest.unreadable:
        why = "it can't be restored" + (" before you update aggrade" if manifest.newer else "")
        return f"{made}  {manifest.store}  {manifest.id}  {manifest.summary}: {why}"
    return f"{made}  ({manifest.summary})  {shlex.join(['aggrade', 'restore', manifest.store, manifest.id])}"


def lightcurve(
    store: str,
    id: str,  # noqa: A002 - the name users know
    *,
    plot: Path | None = None,
    period: float | None = None,
    credentials: str | None = None,
) -> str:
    """Print the light curve of one object as CSV; draw it if asked to.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store of light curves: a folder or s3://bucket/prefix.
    id
        The object's id.
    plot
        PNG file to draw it to.
    period
        Days to fold the picture with.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.lightcurves import LightCurves

    if period is not None and plot is None:
        fix = "add --plot FILE.png, or leave --period out"
        raise BadInput(Problem("period", "no picture to fold", "a file to draw to", fix, "period"))
    curves = LightCurves(store, storage_options=_options(credentials))
    numbered = curves.dataset["object"].dtype.kind in "iu" and id.lstrip("-").isdecimal()
    curve = curves.lightcurve(int(id) if numbered else id)
    if plot is not None:
        from aggrade.pictures import light_curve_picture

        plot.write_bytes(light_curve_picture(curve, period=period))
    text: str = curve.to_pandas().to_csv(index=False)
    return text.rstrip("\n")


def epochs(store: str, *, to: Path | None = None, credentials: str | None = None) -> str:
    """List the epochs of a store of light curves, by time: how many objects were observed in each, and how.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store of light curves: a folder or s3://bucket/prefix.
    to
        CSV file to write the list to. Left out: it is printed.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.lightcurves import LightCurves
    from aggrade.observations import count_observations

    table = count_observations(LightCurves(store, storage_options=_options(credentials))).epochs
    if to is None:
        return str(table.to_string(index=False)) if len(table) else f"no epochs in {store}"
    table.to_csv(to, index=False)
    return f"{len(table)} epochs: {to}"


def sky(store: str, *, to: Path | None = None, credentials: str | None = None) -> str:
    """Draw where the objects of a store of light curves lie, and in which part of the epochs each was observed.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store of light curves: a folder or s3://bucket/prefix.
    to
        PNG file to draw it to. Left out: sky.png.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.lightcurves import LightCurves
    from aggrade.observations import count_observations
    from aggrade.pictures import sky_picture

    counts = count_observations(LightCurves(store, storage_options=_options(credentials)))
    path = to or Path("sky.png")
    path.write_bytes(sky_picture(counts.objects, len(counts.epochs)))
    return f"{len(counts.objects)} objects, {len(counts.epochs)} epochs: {path}"


def matches(
    catalogues: str,
    store: str,
    *,
    spec: str,
    match: str | None = None,
    to: Path | None = None,
    credentials: str | None = None,
) -> str:
    """List the rows of catalogues that gave no cell of a store of light curves: unmatched, duplicates and losers.

    Parameters
    ----------
    catalogues
        Folder, prefix, glob or file, as for aggrade populate.
    store
        Dataset root, or one Zarr store of light curves: a folder or s3://bucket/prefix.
    spec
        The specification that they were populated with, as JSON or @FILE.
    match
        How rows find their objects, if that was said, as JSON or @FILE.
    to
        CSV file to write the list to. Left out: it is printed.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.match_report import match_report
    from flows.given_json import object_from

    given = {"match": object_from("--match", match)} if match else {}
    rows = match_report(
        catalogues, store, object_from("--spec", spec), **given, storage_options=_options(credentials)
    )
    if to is None:
        text: str = rows.to_csv(index=False)
        return text.rstrip("\n")
    rows.to_csv(to, index=False)
    counts: dict[Any, int] = rows["fate"].value_counts().to_dict() if len(rows) else {}
    told = ", ".join(f"{number} {fate}" for fate, number in counts.items()) or "every row gave a cell"
    return f"{told}: {to}"


def plot(
    store: str,
    session: str | None = None,
    window: int | None = None,
    *,
    to: Path | None = None,
    credentials: str | None = None,
) -> str:
    """Draw the quality of a store or of one of its sessions, or one window with its traces.

    Without a session: every window of every session. With one: every window of it, channel by channel. With a window,
    too: both modalities with their gaps, and the coverage of the session's windows.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store of windows: a folder or s3://bucket/prefix.
    session
        The session's id.
    window
        Which of its windows, counted from 0.
    to
        PNG file to draw it to. Left out: store.png, session.png or window.png.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    from aggrade.opening import open_session, open_stores
    from aggrade.pictures import session_picture, store_picture, window_picture

    options = _options(credentials)
    if session is None:
        stores, path = open_stores(store, storage_options=options), to or Path("store.png")
        path.write_bytes(store_picture(stores))
        return f"{sum(each.sizes['session'] for each in stores.values())} sessions: {path}"
    opened = open_session(store, session, storage_options=options)
    count = opened.sizes["window"]
    if window is None:
        path = to or Path("session.png")
        path.write_bytes(session_picture(opened))
        return f"the {count} windows of session {session!r}: {path}"
    if not 0 <= window < count:
        expected = f"0 to {count - 1}"
        raise BadInput(Problem(f"session {session!r}", f"window {window}", expected, "choose one", "window"))
    path = to or Path("window.png")
    path.write_bytes(window_picture(opened, window=window))
    return f"window {window} of the {count} of session {session!r}: {path}"
