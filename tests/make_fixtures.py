"""What a released version has written, kept for the versions after it: ``python tests/make_fixtures.py``.

Run once for each release, by that release; `tests/test_recovering_upgrades.py` reads every archive. In each: the objects of a
dataset whose last append died before it was published (``back``) and behind that (``forward``), with their etags, and
results as Prefect kept them.
"""

from __future__ import annotations

import json
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from make_datasets import CHUNKS, make_session
from memory_storage import DiesAt, Killed, MemoryStorage, Numbered, World
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer

import aggrade
from aggrade.commit.pieces import PieceReceipt
from aggrade.commit.writer import WrittenObject
from aggrade.staging import Staged
from aggrade.storage import OPENERS

FOLDER = Path(__file__).parent / "fixtures"
STORE = "world://data/windows.zarr"
ROOT = "data/windows.zarr/zarr.json"
KEPT = ["eeg", "label", "n_windows"]
RESULTS = {
    "staged": Staged(
        session="s1", root="s3://b/d", name="s1-0", digest="0d", windows=3, start="2026-01-02T03:04:05Z"
    ),
    "piece": PieceReceipt(
        digest="0e",
        written=(WrittenObject(key="x/c/0", size=7, etag='"e"', sha256="ab"),),
        details={"epochs": {"1": {"rows": 6}}},
    ),
}


def session(number):
    """Return the session of a number: the same in every version."""
    return make_session(f"s{number}", 2 + number, number)[KEPT]


def append(world, number, hooks=None):
    """Append one session."""
    options = {"world": world, "hooks": hooks}
    aggrade.append(session(number), STORE, grow=("window",), chunks=CHUNKS, storage_options=options)


def kept_worlds():
    """Return worlds in which the third append died before and behind its switch."""
    OPENERS["world"] = lambda url, options: MemoryStorage(
        options["world"], url.removeprefix("world://"), options["hooks"]
    )
    start = World()
    for number in (1, 2):
        append(start, number)
    hooks = Numbered()
    append(start.copy(), 3, hooks)
    switch = 1 + hooks.kinds.index(f"PUT {ROOT}")
    return {name: dead(start.copy(), switch + late) for name, late in {"back": 0, "forward": 1}.items()}


def dead(world, place):
    """Return the world in which the third append died at a request."""
    try:
        append(world, 3, DiesAt(world, place, after=False))
    except Killed:
        return elsewhere(world)
    raise AssertionError(place)


def elsewhere(world):
    """Return a world whose intents say that their owner ran on a machine that nobody knows."""
    for key, (data, etag) in world.objects.items():
        if key.endswith("intent.json"):
            owner = {"host": "elsewhere", "boot": "0", "process": 1, "started": "0"}
            world.objects[key] = json.dumps({**json.loads(data), "owner": owner}).encode(), etag
    return world


def record_of(name, result):
    """Return the bytes of a result as Prefect keeps it."""
    metadata = ResultRecordMetadata(storage_key=name, serializer=JSONSerializer())
    return ResultRecord(result=result, metadata=metadata).serialize()


def main():
    """Write the archive of the version that is installed."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{version('aggrade')}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, world in kept_worlds().items():
            etags = {key: etag for key, (_, etag) in world.objects.items()}
            archive.writestr(f"{name}/etags.json", json.dumps(etags, indent=0))
            for key, (data, _) in world.objects.items():
                archive.writestr(f"{name}/{key}", data)
        for name, result in RESULTS.items():
            archive.writestr(f"results/{name}", record_of(name, result))
    sys.stdout.write(f"{path}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
