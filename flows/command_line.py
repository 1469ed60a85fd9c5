"""The command `aggrade`: every flow as a subcommand, and what needs no Prefect beside them.

Only the subcommand that is asked for is imported, so that help is quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from aggrade import __version__
from aggrade.errors import AggradeError
from flows.given_json import text_of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["FLOWS", "flow_main", "main", "make_app", "with_files"]

FLOWS = {
    "ingest": "Cut recordings into windows and append them to a dataset.",
    "populate": "Bring catalogues into a light-curve store.",
    "rechunk": "Copy a store into the layout that is good to read.",
    "pipeline": "Ingest, populate and rechunk, in this order.",
    "maintain": "Recover, verify, and prune backups.",
    "resume": "Schedule crashed runs of aggrade's deployments again.",
}
"""Subcommand → what its flow does."""

DIRECT = {
    "status": ("flows.inspecting:status", "Say what lies in a dataset and whether somebody is writing."),
    "verify": ("flows.inspecting:verify", "Prove that a store holds what its receipts say."),
    "recover": ("flows.inspecting:recover", "Finish what a dead writer left behind."),
    "suggest": ("flows.inspecting:suggest", "Compare layouts of a store by what one read costs in each."),
    "drill": ("flows.inspecting:drill", "Prove on your own bucket that what aggrade stands on holds."),
    "backups": ("flows.inspecting:backups", "List the backups of a store."),
    "restore": ("flows.undoing:restore", "Bring a store back to the state of a backup."),
    "remove": ("flows.undoing:remove", "Remove a session, so that nothing of it is left."),
    "catalogue": ("flows.inspecting:catalogue", "List the sessions of a dataset, or make that list anew."),
    "plot": ("flows.inspecting:plot", "Draw the quality of a store or a session, or one window."),
    "inspect": ("flows.drafting:inspect", "Guess the specification of a catalogue from one file."),
    "lightcurve": ("flows.inspecting:lightcurve", "Show the light curve of one object."),
    "epochs": ("flows.inspecting:epochs", "List the epochs of light curves, and what each holds."),
    "sky": ("flows.inspecting:sky", "Draw where objects lie, and how often each was observed."),
    "matches": ("flows.inspecting:matches", "List the rows of catalogues that gave no cell, and why."),
    "export": ("flows.exporting:export", "Write light curves as a HATS catalogue that LSDB opens."),
    "demo": ("flows.demo:demo", "Run everything once, on made-up recordings and catalogues."),
}
"""Subcommand → a function that starts no Prefect by itself."""

_EPILOGUE = """\
`--debug` anywhere shows Prefect's own output and tracebacks. `@FILE` stands for the text of a file: `--spec @spec.json`.
"""


def make_app() -> App:
    """Return the command with all subcommands, none of them imported yet."""
    app = App(
        name="aggrade",
        help="Grow Zarr stores, layer upon layer, and never damage what lies there.",
        help_epilogue=_EPILOGUE,
        help_format="plaintext",
        version=__version__,
    )
    for name, summary in FLOWS.items():
        app.command(f"flows.commands:{name}", name=name, help=summary)
    for name, (place, summary) in DIRECT.items():
        app.command(place, name=name, help=summary)
    return app


def with_files(tokens: Iterable[str]) -> list[str]:
    """Replace each ``@FILE`` by the text of the file, where there is one.

    Parameters
    ----------
    tokens
        Arguments as the shell gave them.

    Raises
    ------
    BadInput
        If a file is there and can't be read.
    """
    return [_text_of(token) for token in tokens]


def _text_of(token: str) -> str:
    file = Path(token.removeprefix("@"))
    return text_of_file(file) if token.startswith("@") and file.is_file() else token


def _respelt(tokens: list[str]) -> list[str]:
    """Take ``catalogue inspect FILE`` for ``inspect FILE``, and ``rechunk --suggest`` for ``suggest``.

    A dataset's catalogue takes no second name, and what is suggested needs no target.
    """
    if tokens[:1] == ["rechunk"] and "--suggest" in tokens:
        return ["suggest", *(word for word in tokens[1:] if word != "--suggest")]
    return tokens[1:] if tokens[:2] == ["catalogue", "inspect"] and len(tokens) > 2 else tokens


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 when it was done, 1 when it was not, 2 when it was mistyped, 130 when it was interrupted.

    Parameters
    ----------
    arguments
        What follows the command's name; by default what the shell gave.
    """
    sys.exit(_run(make_app(), sys.argv[1:] if arguments is None else arguments))


def flow_main(name: str) -> None:
    """Run one flow from its own file: ``python -m flows.<file> …``.

    Parameters
    ----------
    name
        The subcommand that stands for the flow.
    """
    from flows import commands

    module = commands.PLACES[name].partition(":")[0]
    app = App(name=f"python -m {module}", help_format="plaintext", version=__version__)
    app.default(getattr(commands, name))
    sys.exit(_run(app, sys.argv[1:]))


def _run(app: App, arguments: Sequence[str]) -> int:
    debug = "--debug" in arguments
    try:
        told = with_files(token for token in arguments if token != "--debug")  # noqa: S105 - an argument, not a secret
        tokens = _respelt(told)
        explains = {"--help", "-h", "--version"} & set(tokens)
        if app.name[0] == "aggrade" and tokens[:1] and tokens[0] in FLOWS and not explains:
            _say("loading Prefect …")
        command, bound, _ = app.parse_args(tokens)
        quiet = "prefect" in sys.modules and not explains
        _show(_call(command, bound.args, bound.kwargs, debug=debug, quiet=quiet))
    except AggradeError as error:
        if debug:
            raise
        _say(f"{type(error).__name__}: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; the same command again goes on where this one stopped")
        return 130
    return 0


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _call(
    command: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], *, debug: bool, quiet: bool
) -> Any:
    if not quiet:
        return command(*args, **kwargs)
    from flows.terminal import at_terminal
    from tasks.progress import terminal

    with at_terminal(terminal(), debug=debug):
        return command(*args, **kwargs)


def _show(result: Any) -> None:
    """Print text and receipts; of all else a flow has told while it ran."""
    for item in result if isinstance(result, list) else [result]:
        if isinstance(item, str) or hasattr(item, "undo"):
            print(item)
