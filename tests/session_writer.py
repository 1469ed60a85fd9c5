"""A process that appends sessions one after the other, for tests that start, kill and restart many of them.

Run as ``python tests/session_writer.py URL [--host NAME] [--hours N] LABEL…`` with storage options as JSON in the
variable ``STORAGE_OPTIONS``, with the project and its tests on ``PYTHONPATH``. It prints each label when it is in.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import socket
import sys
import time

from make_datasets import CHUNKS, make_session

import aggrade

KEPT = ["eeg", "label", "n_windows"]


def session(label):
    """Return the session of a label: always the same, and another one for every label."""
    seed = int.from_bytes(label.encode())
    return make_session(label, windows=1 + seed % 6, seed=seed)[KEPT]


def append(url, label, options):
    """Append one session."""
    return aggrade.append(session(label), url, grow=("window",), chunks=CHUNKS, storage_options=options)


def shift_clocks(hours):
    """Put every clock of this process off by so many hours, but for the one that signs requests."""
    seconds = hours * 3600.0
    for name in ("time", "monotonic", "perf_counter"):
        right = getattr(time, name)
        setattr(time, name, lambda right=right: right() + seconds)

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) + dt.timedelta(hours=hours)

    for name, module in list(sys.modules.items()):
        if name.startswith("aggrade") and getattr(module, "datetime", None) is dt.datetime:
            module.datetime = Shifted


def main():
    """Append what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("labels", nargs="+")
    parser.add_argument("--host", default=None)
    parser.add_argument("--hours", type=float, default=0.0)
    asked = parser.parse_args()
    options = json.loads(os.environ.get("STORAGE_OPTIONS", "null"))
    if asked.host is not None:
        socket.gethostname = lambda: asked.host
    if asked.hours:
        shift_clocks(asked.hours)
    for label in asked.labels:
        append(asked.url, label, options)
        sys.stdout.write(f"{label}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
