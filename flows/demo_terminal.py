"""What the demonstration shows on the terminal while it works: steps, and under each what the core reports."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Terminal"]

_ERROR = "red"


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
        self.console.print(Text(text, style=style), soft_wrap=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print what begins, and how long it took when it ends. If it fails, say so and let the error through."""
        self.console.print(Text.assemble(("▸ ", "cyan"), what), soft_wrap=True)
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.console.print(Text.assemble(("✗ ", _ERROR), what, (" did not end well", _ERROR)))
            raise
        self.console.print(
            Text.assemble(("✓ ", "green"), what, (f" ({time.monotonic() - started:.1f} s)", "dim"))
        )
