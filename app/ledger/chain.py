"""Digests over the journal: the chain that makes tampering show, and the one number that compares two ledgers.

Both are pure, and are computed alike when booking and when verifying.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.ledger.journal import Leg

GENESIS_SHA256 = "0" * 64
"""What the first batch is chained to."""


@dataclass(frozen=True, slots=True)
class ChainedTxn:
    """One transaction with everything about it that the chain protects."""

    txn_id: int
    idem: str
    kind: str
    subject: str
    booked_at_us: int
    effective_at_us: int
    price_book_id: str | None
    memo: str
    legs: Sequence[Leg]


def batch_sha256(prev_sha256: str, txns: Iterable[ChainedTxn]) -> str:
    """Chains one batch to the one before it: SHA-256 over the previous digest and the batch's canonical JSON."""
    digest = hashlib.sha256(prev_sha256.encode())
    digest.update(_canonical([_txn_document(txn, with_number=True) for txn in txns]))
    return digest.hexdigest()


def journal_sha256(txns: Iterable[ChainedTxn]) -> str:
    """One digest of a whole journal, whatever the order and batches in which it was booked.

    Transactions are sorted by ``idem``; their numbers are left out.
    """
    ordered = sorted(txns, key=lambda txn: txn.idem)
    return hashlib.sha256(_canonical([_txn_document(txn, with_number=False) for txn in ordered])).hexdigest()


def _txn_document(txn: ChainedTxn, *, with_number: bool) -> list[object]:
    return [
        txn.txn_id if with_number else 0,
        txn.idem,
        txn.kind,
        txn.subject,
        txn.booked_at_us,
        txn.effective_at_us,
        txn.price_book_id,
        txn.memo,
        [[leg.account_id, leg.amount] for leg in txn.legs],
    ]


def _canonical(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
