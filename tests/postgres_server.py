"""A PostgreSQL server of one's own on this machine, where PostgreSQL is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.server_running import HOST, Recipe, running

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "postgres"
"""Who runs it where root, whom it refuses, runs the tests."""


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; without it, skip."""
    debian = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))
    found = shutil.which(name, path=os.pathsep.join([*debian, os.environ.get("PATH", os.defpath)]))
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    return found


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run it for the length of a ``with`` block, and give its URL as SQLAlchemy takes it."""
    home = Path(tempfile.mkdtemp(prefix="aggrade-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(home, USER)
        make = [program("initdb"), "--pgdata", "data", "--username", USER, "--auth", "trust"]
        subprocess.run(as_no_root(make), cwd=home, check=True, capture_output=True)
        recipe = Recipe(
            ports=1,
            seconds=120.0,
            command=lambda port, _: as_no_root([program("postgres"), *options(home / "data", port)]),
            environment=lambda _: dict(os.environ),
            ready=is_ready,
        )
        with running(home, recipe) as port:
            yield f"postgresql+asyncpg://{USER}@{HOST}:{port}/postgres"
    finally:
        shutil.rmtree(home)


def options(data: Path, port: int) -> list[str]:
    """Return what makes the server listen on this machine only."""
    return ["-D", str(data), "-h", HOST, "-p", str(port), "-k", ""]


def is_ready(port: int) -> bool:
    """Tell whether the server takes connections."""
    asked = [program("pg_isready"), "--host", HOST, "--port", str(port)]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def as_no_root(command: list[str]) -> list[str]:
    """Return a command as one that runs as somebody else if root is who asks."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
