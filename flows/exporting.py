"""The command that hands light curves on to other tools, without Prefect, unless it keeps the credentials."""

from __future__ import annotations

__all__ = ["export"]


def export(store: str, folder: str, *, name: str = "lightcurves", credentials: str | None = None) -> str:
    """Write light curves as a HATS catalogue, nested Parquet that LSDB opens, and count what lies there then.

    Parameters
    ----------
    store
        Dataset root, or one Zarr store of light curves: a folder or s3://bucket/prefix.
    folder
        Where the catalogue goes, in which nothing else may lie: a folder or s3://bucket/prefix.
    name
        The catalogue's name.
    credentials
        Name of an aws-credentials block for the bucket. Left out: the environment decides.
    """
    import aggrade

    options = None
    if credentials is not None:
        from tasks.credentials import storage_options

        options = storage_options(credentials)
    return str(aggrade.export_hats(store, folder, name=name, storage_options=options))
