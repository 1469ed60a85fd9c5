"""What a person sees of a run in the Prefect UI: the plan before, the receipts after, pictures of the result.

Outside of a run these do nothing. A report that doesn't get through is logged and never ends the work.
"""

from __future__ import annotations

import base64
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from aggrade.price import Price
from tasks.logs import in_a_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from pydantic import BaseModel

    from aggrade.receipt import Receipt

__all__ = [
    "show_crashed",
    "show_epochs",
    "show_failures",
    "show_left",
    "show_picture",
    "show_plans",
    "show_receipts",
]

logger = logging.getLogger("aggrade.artifacts")
plan_logger = logging.getLogger("aggrade.plan")

_MOST_NAMES = 3
_MOST_STORES = 10
_MOST_ROWS = 1000


@contextmanager
def _reporting(what: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        logger.warning("%s could not be shown in the Prefect UI: %s", what, error)


def show_plans(plans: Sequence[BaseModel]) -> None:
    """Show what a run is going to do, and its price.

    Parameters
    ----------
    plans
        Plans of the core; their text is what is shown.
    """
    text = "\n\n".join([*map(str, plans), *_total(plans)]) or "nothing to do"
    plan_logger.info("%s", text)
    if in_a_run():
        with _reporting("the plan"):
            create_markdown_artifact(f"```text\n{text}\n```", key="plan", description="What this run will do")


def _total(plans: Sequence[BaseModel]) -> list[str]:
    prices = [price for plan in plans if isinstance(price := getattr(plan, "price", None), Price)]
    if len(prices) < 2:
        return []
    return [f"in all, each priced as the store lies there now:\n  {sum(prices[1:], prices[0])}"]


def show_receipts(receipts: Sequence[Receipt]) -> None:
    """Show what a run has done, a row per commit, with the command that undoes it; below, where the stores lie."""
    if in_a_run() and receipts:
        with _reporting("the receipts"):
            rows = [_row(receipt) for receipt in _commits(receipts)]
            create_table_artifact(
                rows, key="receipts", description=f"What this run has done{_places(receipts)}"
            )


def _commits(receipts: Sequence[Receipt]) -> list[Receipt]:
    """Return one receipt for each commit, with all its layers among those that are given."""
    commits: dict[tuple[str, str], Receipt] = {}
    for receipt in receipts:
        same = commits.setdefault((receipt.store, receipt.write_id), receipt)
        layers = {**same.layers, **receipt.layers}
        commits[receipt.store, receipt.write_id] = same.model_copy(update={"layers": layers})
    return list(commits.values())


def _row(receipt: Receipt) -> dict[str, Any]:
    return {
        "what": receipt.kind,
        "store": _name_of(receipt.store),
        "layers": _few(list(receipt.layers)),
        "undo": receipt.undo or "",
        "objects": receipt.objects,
        "bytes": receipt.bytes_written,
        "seconds": round(receipt.seconds, 1),
        "write id": receipt.write_id,
    }


def _name_of(store: str) -> str:
    return store.rstrip("/").rpartition("/")[2]


def _few(names: Sequence[str]) -> str:
    """Return names in a line that is not too long for a table."""
    rest = [f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else []
    return ", ".join([*names[:_MOST_NAMES], *rest])


def _places(receipts: Sequence[Receipt]) -> str:
    """Return where the stores lie, as Markdown: their URLs are too long for a table."""
    stores = list(dict.fromkeys(receipt.store for receipt in receipts))
    rest = [f"{len(stores) - _MOST_STORES} more stores"] if len(stores) > _MOST_STORES else []
    told = [f"`{_name_of(store)}` is `{store}`" for store in stores[:_MOST_STORES]]
    return "\n" + "".join(f"\n- {line}" for line in [*told, *rest])


def show_failures(failures: Mapping[str, Exception]) -> None:
    """Show what could not be done, and why.

    Parameters
    ----------
    failures
        Name of each part that failed → its error.
    """
    if in_a_run() and failures:
        with _reporting("the failures"):
            rows = [
                {"what": name, "error": type(error).__name__, "why": str(error)}
                for name, error in failures.items()
            ]
            create_table_artifact(rows, key="failures", description="What could not be done")


def show_crashed(runs: Sequence[BaseModel]) -> None:
    """Show what becomes of runs that crashed."""
    if in_a_run() and runs:
        with _reporting("the crashed runs"):
            rows = [run.model_dump(mode="json") for run in runs]
            create_table_artifact(rows, key="crashed-runs", description="What becomes of runs that crashed")


def show_left(left: Mapping[str, str]) -> None:
    """Show what the run leaves alone. `left` is name → why."""
    if in_a_run() and left:
        with _reporting("what is left alone"):
            rows = [{"what": name, "why": why} for name, why in left.items()]
            create_table_artifact(rows, key="left-alone", description="What this run leaves alone")


def show_epochs(epochs: pd.DataFrame) -> None:
    """Show epochs of light curves, a row each; of more than a thousand the last ones.

    Parameters
    ----------
    epochs
        As `aggrade.observations.count_observations` counts them, by time.
    """
    if in_a_run() and len(epochs):
        with _reporting("the epochs"):
            left = f"; of {len(epochs)} the last {_MOST_ROWS}" if len(epochs) > _MOST_ROWS else ""
            rows: list[dict[str, Any]] = json.loads(epochs.tail(_MOST_ROWS).to_json(orient="records"))
            description = f"The epochs that this run has brought{left}"
            create_table_artifact(rows, key="epochs", description=description)


def show_picture(png: bytes, key: str, description: str) -> None:
    """Show a picture.

    Parameters
    ----------
    png
        The file's bytes.
    key
        Lower-case letters, digits and dashes.
    description
        What it shows.
    """
    if in_a_run():
        with _reporting("the picture"):
            url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            create_image_artifact(url, key=key, description=description)
