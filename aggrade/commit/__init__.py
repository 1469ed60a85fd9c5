"""The guarded commit: intent, backup, conditional writes, one switch, recovery (DESIGN §4)."""

from aggrade.commit.backup import Manifest, backups_beside, manifests
from aggrade.commit.documents import Document, describe, resized
from aggrade.commit.intent import Intent, read_intent
from aggrade.commit.layers import LayerRecord, find_layer, find_receipt, layers_of
from aggrade.commit.looking import Look, look
from aggrade.commit.pieces import PieceReceipt, forget_pieces, write_pieces
from aggrade.commit.plan import Base, CommitPlan, Layer, Region, Target
from aggrade.commit.recovery import recover_store
from aggrade.commit.snapshot import Snapshot, read_snapshot
from aggrade.commit.transaction import Transaction
from aggrade.commit.writer import Writer, WrittenObject

__all__ = [
    "Base",
    "CommitPlan",
    "Document",
    "Intent",
    "Layer",
    "LayerRecord",
    "Look",
    "Manifest",
    "PieceReceipt",
    "Region",
    "Snapshot",
    "Target",
    "Transaction",
    "Writer",
    "WrittenObject",
    "backups_beside",
    "describe",
    "find_layer",
    "find_receipt",
    "forget_pieces",
    "layers_of",
    "look",
    "manifests",
    "read_intent",
    "read_snapshot",
    "recover_store",
    "resized",
    "write_pieces",
]
