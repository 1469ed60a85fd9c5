"""What the demonstration shows on the terminal while it works: steps, and under each what the core reports."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Terminal"]

_CORE = "aggrade"
_WARNING = "yellow"
_ERROR = "red"


class _Lines(logging.Handler):
    """Prints each record as one dimmed line."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message."""
        style = "dim"
        if record.levelno >= logging.WARNING:
            style = _WARNING if record.levelno < logging.ERROR else _ERROR
        self._console.print(Text(f"    {record.getMessage()}", style=style))


class Terminal:
    """The demonstration's terminal.

    Parameters
    ----------
    console
        Where to print; standard output by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)

    def title(self, text: str) -> None:
        """Print a heading."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line as it is, without markup."""
        self.console.print(Text(text, style=style))

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print what begins, and how long it took when it ends. If it fails, say so and let the error through."""
        self.console.print(Text.assemble(("▸ ", "cyan"), what))
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.console.print(Text.assemble(("✗ ", _ERROR), what, (" did not end well", _ERROR)))
            raise
        self.console.print(
            Text.assemble(("✓ ", "green"), what, (f" ({time.monotonic() - started:.1f} s)", "dim"))
        )

    @contextmanager
    def logs(self, file: Path) -> Iterator[None]:
        """Show the core's records of level INFO and above, and keep them in a file."""
        logger = logging.getLogger(_CORE)
        level = logger.level
        kept = logging.FileHandler(file, encoding="utf-8")
        kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers = [_Lines(self.console), kept]
        logger.setLevel(logging.INFO)
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
            kept.close()
            logger.setLevel(level)
