"""Break the guarded commit on purpose, and see that the tests notice: ``make mutants``.

Each mutant is the project with one decision of the protocol taken back. A test that is named beside it has to fail
there, and to pass on the project as it is; otherwise nobody would notice if the decision were lost.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
COPIED = ("aggrade", "tasks", "flows", "deployments", "tests", "pyproject.toml")
DIES, COMMIT = "tests/faults/test_append_dies.py", "aggrade/commit"
_KNOWN = (
    '        demand_known(self.storage, self.plan.layers if self.plan.kind == "append" else (), self._base)\n'
)
FAILED = 1
"""What pytest returns when a test failed; anything else says that it could not be run."""


@dataclass(frozen=True)
class Edit:
    """A text that is replaced where it stands; it has to stand there once."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """What is broken, by which edits, and the tests of which one at least must fail."""

    name: str
    says: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _mutant(name: str, says: str, *edits: tuple[str, str, str], by: str | Sequence[str]) -> Mutant:
    tests = (by,) if isinstance(by, str) else tuple(by)
    return Mutant(name, says, tuple(Edit(*edit) for edit in edits), tests)


MUTANTS = (
    _mutant(
        "no-fence",
        "whoever takes over leaves the root as it is",
        (
            f"{COMMIT}/recovery.py",
            "root = _fence(storage, intent) if fence else before",
            "root = before",
        ),
        by=f"{DIES}::test_sleeper_wakes_after_a_recovery",
    ),
    _mutant(
        "blind-put",
        "a chunk is written over whatever lies there",
        (
            f"{COMMIT}/writer.py",
            "            raise Conflict(taken(storage, key)) from error\n",
            "            stored = storage.write(key, data, replacing=stored.etag if stored else None)\n",
        ),
        by=f"{DIES}::test_sleeper_wakes_after_take_over",
    ),
    _mutant(
        "blind-root",
        "the root is written over whatever lies there",
        (
            f"{COMMIT}/publishing.py",
            "        return storage.write(ROOT, data, replacing=replacing).etag\n",
            (
                "        there = storage.stat(ROOT)\n"
                "        return storage.write(ROOT, data, replacing=there.etag if there else None).etag\n"
            ),
        ),
        by=f"{DIES}::test_sleeper_wakes_after_take_over",
    ),
    _mutant(
        "root-first",
        "the root is switched before the chunks are written",
        (
            f"{COMMIT}/transaction.py",
            "            self._back_up(self._backup, self._base, touched)\n\n",
            "            self._back_up(self._backup, self._base, touched)\n        self._switch()\n\n",
        ),
        (
            f"{COMMIT}/transaction.py",
            "        try:\n            self._switch()\n",
            "        try:\n            pass\n",
        ),
        by=f"{DIES}::test_killed_at_every_request",
    ),
    _mutant(
        "backup-last",
        "what is overwritten is kept once it has been overwritten",
        (
            f"{COMMIT}/transaction.py",
            (
                "        if self._backup and self._base:\n"
                "            self._back_up(self._backup, self._base, touched)\n"
            ),
            "        self._late = touched\n",
        ),
        (
            f"{COMMIT}/transaction.py",
            "        plan, stamp = self.plan, (self.write_id, self.generation)\n",
            (
                "        plan, stamp = self.plan, (self.write_id, self.generation)\n"
                "        if self._backup and self._base:\n"
                "            self._back_up(self._backup, self._base, self._late)\n"
            ),
        ),
        by="tests/test_commit_transaction.py",
    ),
    _mutant(
        "no-lease",
        "a held intent is taken over without watching whether its holder lives",
        (
            f"{COMMIT}/intent.py",
            "    if intent.owner.is_known_dead():\n        return True\n    lease =",
            "    if intent:\n        return True\n    lease =",
        ),
        by="tests/test_commit_intent.py",
    ),
    _mutant(
        "wall-clock",
        "a lease ends by the clock on the wall",
        (
            "aggrade/clock.py",
            "        return time.monotonic()\n",
            "        return time.time()\n",
        ),
        by="tests/test_commit_intent.py::TestAbandoned",
    ),
    _mutant(
        "no-heartbeat",
        "a holder's intent never moves",
        (f"{COMMIT}/intent.py", "            if not self._done.is_set():\n", "            if False:\n"),
        by="tests/test_commit_intent.py",
    ),
    _mutant(
        "blind-release",
        "a release overwrites an intent that is somebody else's by now",
        (
            f"{COMMIT}/intent.py",
            "            try:\n                self._write(self._intent.model_copy(update=free))",
            (
                "            try:\n                now = self._storage.stat(INTENT)\n"
                "                self._etag = now.etag if now else None\n"
                "                self._write(self._intent.model_copy(update=free))"
            ),
        ),
        by=("tests/test_commit_intent.py", f"{DIES}::test_sleeper_wakes_after_take_over"),
    ),
    _mutant(
        "lost-reply-is-failure",
        "an intent whose reply was lost is not looked for",
        (
            f"{COMMIT}/intent.py",
            "        if stored is None or stored.data != data:\n            raise\n        return stored.etag",
            "        if stored is None or stored.data != data or stored:\n            raise\n        return stored.etag",
        ),
        by=("tests/test_commit_intent.py", f"{DIES}::test_lost_reply_at_every_request"),
    ),
    _mutant(
        "ambiguous-is-failure",
        "a switch whose reply was lost is rolled back unseen",
        (
            f"{COMMIT}/recovery.py",
            (
                "    if root is not None and root.write_id == intent.write_id:\n        return _roll_forward(storage, lease, root)\n"
                "    targets"
            ),
            "    targets",
        ),
        by=(f"{DIES}::test_lost_reply_at_every_request", f"{DIES}::test_killed_at_every_request"),
    ),
    _mutant(
        "stale-plan",
        "what was planned on another state is carried out",
        (
            f"{COMMIT}/transaction.py",
            "            raise Conflict(moved_on(self.storage.url))\n        if not self.plan.restores:\n",
            "            pass\n        if not self.plan.restores:\n",
        ),
        by="tests/test_commit_transaction.py",
    ),
    _mutant(
        "late-record",
        "a layer whose record came after the root is appended again",
        (f"{COMMIT}/transaction.py", _KNOWN, ""),
        by=DIES,
    ),
    _mutant(
        "no-confirm",
        "marks that were read are trusted without asking whether the intent is still ours",
        (
            f"{COMMIT}/transaction.py",
            "        self.lease.confirm()\n        raise_all(disagreements",
            "        raise_all(disagreements",
        ),
        by="tests/faults/test_schedules.py::test_woken_amid_its_successors_commit",
    ),
    _mutant(
        "missing-backup",
        "a state is put together without a backup that holds what was taken away since",
        ("aggrade/restoring.py", "    demand_backups(state, now)\n", ""),
        by="tests/test_restore_checking.py",
    ),
    _mutant(
        "incomplete",
        "a commit is published whose objects were not all written",
        (f"{COMMIT}/transaction.py", "        self._demand_complete(done)\n", ""),
        by="tests/test_commit_transaction.py",
    ),
    _mutant(
        "forgotten-dirt",
        "where a dead writer left objects is not put on record",
        (
            f"{COMMIT}/recovery.py",
            "    dirty = joined((*intent.dirty, *left_dirty(targets, root.documents if root else {})))\n",
            "    dirty = intent.dirty\n    del targets\n",
        ),
        by=(DIES, "tests/test_commit_dirt.py"),
    ),
    _mutant(
        "uncovered-dirt",
        "left-overs that a commit does not write on come to light",
        (
            f"{COMMIT}/transaction.py",
            "            done.extend(writer.rebuild(name, index))\n",
            "            del name, index\n",
        ),
        by=(DIES, "tests/test_commit_transaction.py", "tests/test_commit_dirt.py"),
    ),
    _mutant(
        "leaking-rows",
        "a shared chunk is built from all that lies in it, not from its published rows",
        (
            f"{COMMIT}/writer.py",
            "            (start, min(stop, size)) for (start, stop), size in zip(box, shape_of(before), strict=True)\n",
            "            (start, stop) for (start, stop), size in zip(box, shape_of(before), strict=True)\n",
        ),
        (
            f"{COMMIT}/writer.py",
            "        store = self._published_store(name, before, published)\n",
            (
                "        before = {**before, 'shape': [stop for _, stop in published]}\n"
                "        store = self._published_store(name, before, published)\n"
            ),
        ),
        by=(f"{DIES}::test_killed_at_every_request", "tests/test_commit_writer.py"),
    ),
    _mutant(
        "equal-bytes",
        "a chunk that is replaced carries nothing of its commit",
        (
            f"{COMMIT}/writer.py",
            "salted(self.documents[name], data, self.generation), etag)",
            "data, etag)",
        ),
        by=(f"{DIES}::test_sleeper_wakes_after_take_over", "tests/test_commit_writer.py"),
    ),
    _mutant(
        "equal-documents",
        "array documents of two commits may be equal, byte for byte",
        (
            f"{COMMIT}/publishing.py",
            '    stamp = format(generation % (1 << _STAMP_BITS), f"0{_STAMP_BITS}b").translate(_WHITE)\n',
            '    stamp = " " * _STAMP_BITS + "" * generation\n',
        ),
        by=(f"{DIES}::test_sleeper_wakes_after_take_over", "tests/test_commit_publishing.py"),
    ),
    _mutant(
        "any-content",
        "a layer with other content is taken for the one that is there",
        ("aggrade/append_plan.py", "if record.digest == digests[label]\n", "if record.digest\n"),
        by="tests/test_appending.py",
    ),
    _mutant(
        "trusting",
        "a server that ignores conditions is written to",
        (
            f"{COMMIT}/recovery.py",
            "    raise_all(seen.problems() if seen else ())\n    return seen\n",
            "    return seen\n",
        ),
        by="tests/test_storage_probe.py",
    ),
    _mutant(
        "unlocked-files",
        "two processes may replace a file at the same time",
        (
            "aggrade/storage/local.py",
            (
                "    with files.locked(path.parent):\n        check_condition(_info(path, key), key, replacing)\n"
                "        temporary.rename(path)\n"
            ),
            "    check_condition(_info(path, key), key, replacing)\n    temporary.rename(path)\n",
        ),
        by="tests/test_storage_local.py",
    ),
)


class Unfit(Exception):  # noqa: N818 - says what the mutant is
    """An edit whose text stands nowhere, or twice, in the project as it is."""


def mutate(mutant: Mutant, folder: Path) -> None:
    """Make the edits below a folder that holds the project.

    Raises
    ------
    Unfit
        If a text doesn't stand there just once.
    """
    for edit in mutant.edits:
        path = folder / edit.path
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise Unfit(f"{mutant.name}: {text.count(edit.old)} times in {edit.path}: {edit.old!r}")
        path.write_text(text.replace(edit.old, edit.new))


def copy_project(folder: Path) -> None:
    """Put what is needed to run the tests below a folder."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests below a folder until one fails; return pytest's exit code and what it ended with."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def outcome(mutant: Mutant | None, tests: Sequence[str]) -> tuple[int, str]:
    """Run tests on a mutant, or on the project as it is, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_project(folder)
        if mutant is not None:
            mutate(mutant, folder)
        return run_tests(folder, tests)


def first_failure(output: str) -> str:
    """Return the name of the test that failed."""
    lines = [line for line in output.splitlines() if line.startswith("FAILED ")]
    return lines[0].removeprefix("FAILED ").split(" - ")[0] if lines else output.strip()[-300:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run mutants; return 1 if one of them is not noticed, or if a test fails on the project as it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help="which mutants; all of them by default")
    parser.add_argument(
        "--no-control", action="store_true", help="don't run the tests on the project as it is"
    )
    asked = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    if unknown := set(asked.names) - {mutant.name for mutant in chosen}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    bad = 0
    if not asked.no_control:
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        code, output = outcome(None, tests)
        print(f"{'the project as it is':24} {'passes' if code == 0 else first_failure(output)}", flush=True)
        bad += code != 0
    for mutant in chosen:
        code, output = outcome(mutant, mutant.tests)
        noticed = code == FAILED
        bad += not noticed
        said = f"noticed by {first_failure(output)}" if noticed else f"NOT NOTICED (pytest ended with {code})"
        print(f"{mutant.name:24} {said}", flush=True)
    print(f"{len(chosen)} mutants, {bad} problems")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
