"""A Dask cluster whose scheduler and workers are processes that can be killed, each started again when it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from waiting import wait_until

ROOT = Path(__file__).parents[1]
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__COMM__RETRY__COUNT": "0",
}


def start(*arguments: Any, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start Python with some arguments, so that it finds the project and the tests' helpers."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.DEVNULL, stderr=stderr)


class Cluster:
    """A scheduler and two workers, each a process that can be killed and is started again when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def file(self) -> Path:
        """Where the scheduler says how it is reached."""
        return self.folder / f"scheduler-{self.number}.json"

    def ready(self) -> str:
        """Start whatever does not run; return the scheduler's address."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.end()
            self.number += 1
            options: list[Any] = [
                "--scheduler-file",
                self.file,
                "--port",
                0,
                "--no-dashboard",
                "--host",
                "127.0.0.1",
            ]
            self.scheduler = start("-m", "distributed.cli.dask_scheduler", *options)
            wait_until(self._is_told, "a scheduler", seconds=600)
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < 2:
            options = ["--scheduler-file", self.file, "--nthreads", 1, "--no-nanny", "--no-dashboard"]
            place = ["--local-directory", self.folder, "--death-timeout", 20]
            self.workers.append(start("-m", "distributed.cli.dask_worker", *options, *place))
        return str(json.loads(self.file.read_text())["address"])

    def _is_told(self) -> bool:
        return self.file.exists() and self.file.read_text().endswith("}")

    def end(self) -> None:
        """Kill what still runs."""
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                process.kill()
                process.wait()
        self.scheduler, self.workers = None, []


def finish(process: subprocess.Popen[bytes]) -> tuple[bool, str]:
    """Wait for the end of a process; return whether it succeeded, and what it said."""
    _, said = process.communicate(timeout=1200)
    return process.returncode == 0, said.decode()[-3000:]
