"""Rechunking: from the layout that is good to write to the one that is good to read (DESIGN §7)."""

from aggrade.rechunking.plan import Compare, RechunkPlan, plan_rechunk
from aggrade.rechunking.publishing import rechunk, rechunk_storage

__all__ = ["Compare", "RechunkPlan", "plan_rechunk", "rechunk", "rechunk_storage"]
