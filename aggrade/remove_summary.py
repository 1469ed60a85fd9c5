"""One receipt of a removal from all stores of a dataset. It does not name what was removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrade.commit.naming import masked
from aggrade.receipt import Receipt

if TYPE_CHECKING:
    from aggrade.removals_under_way import Finished
    from aggrade.remove_plan import RemovePlan

__all__ = ["summary_of"]


def summary_of(
    plan: RemovePlan, done: list[Receipt], finished: list[Finished], remains: list[str]
) -> Receipt:
    """Return one receipt for all stores; it names no store that is named after what was removed.

    Parameters
    ----------
    plan
        What was to be done.
    done
        What was done, store by store.
    finished
        What others had begun and was completed before that.
    remains
        Sentences of what could not be removed.
    """
    every = [*(one.receipt for one in finished), *done]
    first = every[0] if every else Receipt(kind="remove", store=plan.root, write_id="", generation=0)
    erased = [*(one.erases for one in plan.stores), *(one.erases for one in finished)]
    whole = any(one.whole for one in erased)
    lists = {
        "copies": [one.store for one in plan.stores if one.copied],
        "completed": [one.receipt.write_id for one in finished],
        "attributes": _joined(every, "attributes"),
        "torn": _joined(every, "torn"),
        "remains": [masked(sentence, plan.label) for sentence in (*remains, *_staying(plan))],
    }
    details = {
        "stores": len(every),
        "rows": sum(receipt.details.get("rows", 0) for receipt in every),
        "rewritten": sum(receipt.details.get("rewritten", 0) for receipt in every),
        "staging": len(plan.staging),
        "purged": _joined(every, "purged"),
        **{name: told for name, told in lists.items() if told},
    }
    hidden: dict[str, Any] = {"store": plan.root} if whole else {}
    if whole or any(one.final for one in plan.stores):
        hidden["undo"] = None
    return first.model_copy(update={"details": details, **hidden})


def _joined(receipts: list[Receipt], name: str) -> list[str]:
    return list(dict.fromkeys(item for receipt in receipts for item in receipt.details.get(name, [])))


def _staying(plan: RemovePlan) -> list[str]:
    """Return a sentence for each attribute that names what was removed, and stays."""
    why = "its id stands there as a word, which may mean another thing: the attribute is left as it is"
    return [f"{one.store}: {name}: {why}" for one in plan.stores for name in one.stays]
