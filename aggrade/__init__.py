"""aggrade grows Zarr stores layer upon layer, and never damages what lies there."""

from aggrade.errors import AggradeError, BadInput, Conflict, Damaged, Refused, Unavailable
from aggrade.receipt import Receipt

__version__ = "0.1.0"

__all__ = ["AggradeError", "BadInput", "Conflict", "Damaged", "Receipt", "Refused", "Unavailable"]
