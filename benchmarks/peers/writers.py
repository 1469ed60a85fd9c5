"""How each peer makes a store, appends one row to it and reads it: run in the peer's own environment.

``python writers.py PEER create|append|read URL [LABEL]``. ``append`` says ``ready`` when everything is imported
and waits for a line on standard input; ``read`` prints a JSON list of ``[label, smallest value, largest value]``.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import xarray as xr

SHAPE, CHUNKS = (1, 64, 1000), (1, 8, 1000)


def row(label: int) -> xr.Dataset:
    """Return a row whose every value is its label."""
    values = np.full(SHAPE, float(label))
    return xr.Dataset({"x": (("epoch", "channel", "sample"), values)}, {"epoch": [label]})


class PlainXarray:
    """`Dataset.to_zarr(append_dim=…)`, as everybody does it."""

    def create(self, url: str) -> None:
        """Make a store of one row."""
        row(0).to_zarr(url, encoding={"x": {"chunks": CHUNKS}})

    def append(self, url: str, label: int) -> None:
        """Append a row."""
        row(label).to_zarr(url, append_dim="epoch")

    def read(self, url: str) -> xr.Dataset:
        """Open what is there."""
        return xr.open_zarr(url)


class Aggrade(PlainXarray):
    """The guarded append."""

    def create(self, url: str) -> None:
        """Make a store of one row."""
        import aggrade

        chunks = dict(zip(("epoch", "channel", "sample"), CHUNKS, strict=True))
        aggrade.append(row(0), url, dim="epoch", chunks=chunks)

    def append(self, url: str, label: int) -> None:
        """Append a row."""
        import aggrade

        aggrade.append(row(label), url, dim="epoch")


class Icechunk:
    """`to_icechunk` into a repository of its own, a commit a row."""

    def _session(self, url: str, how: str) -> Any:
        import icechunk

        repository = icechunk.Repository.open_or_create(icechunk.local_filesystem_storage(url))
        return getattr(repository, f"{how}_session")("main")

    def create(self, url: str) -> None:
        """Make a repository with a commit of one row."""
        session = self._session(url, "writable")
        row(0).to_zarr(session.store, consolidated=False, encoding={"x": {"chunks": CHUNKS}})
        session.commit("0")

    def append(self, url: str, label: int) -> None:
        """Append a row."""
        session = self._session(url, "writable")
        row(label).to_zarr(session.store, append_dim="epoch", consolidated=False)
        session.commit(str(label))

    def read(self, url: str) -> xr.Dataset:
        """Open what is there."""
        return xr.open_zarr(self._session(url, "readonly").store, consolidated=False)


class Zappend:
    """`zappend`, which needs Zarr 2."""

    def create(self, url: str) -> None:
        """Make a store of one row."""
        self.append(url, 0)

    def append(self, url: str, label: int) -> None:
        """Append a row."""
        from zappend.api import zappend

        encoding = {"x": {"encoding": {"chunks": list(CHUNKS)}}}
        zappend([row(label)], target_dir=url, append_dim="epoch", variables=encoding, force_new=False)

    def read(self, url: str) -> xr.Dataset:
        """Open what is there."""
        return xr.open_zarr(url)


PEERS = {"aggrade": Aggrade, "plain xarray": PlainXarray, "icechunk": Icechunk, "zappend": Zappend}


def prepare(peer: str) -> None:
    """Import what the peer needs, so that the trial measures its append alone."""
    module = {"aggrade": "aggrade", "icechunk": "icechunk", "zappend": "zappend.api"}.get(peer)
    if module:
        __import__(module)
    xr.backends.list_engines()


def main() -> None:
    """Do what the command line says."""
    warnings.simplefilter("ignore")
    peer, action, url, *labels = sys.argv[1:]
    writer = PEERS[peer]()
    prepare(peer)
    if action == "create":
        writer.create(url)
    elif action == "append":
        print("ready", flush=True)
        sys.stdin.readline()
        writer.append(url, int(labels[0]))
    else:
        with writer.read(url) as found:
            rows = zip(found["epoch"].values, found["x"].values, strict=True)
            print(json.dumps([[int(label), float(x.min()), float(x.max())] for label, x in rows]))


if __name__ == "__main__":
    main()
