"""The authenticated customer behind a request, and what they may do at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a customer may ask for.

    Attributes:
        rpm: requests per minute.
        tpm: tokens per minute, input and the output asked for.
        concurrency: requests in flight.
    """

    rpm: int
    tpm: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who pays for a request.

    Attributes:
        customer_id: owns the wallet.
        key_id: the API key used; its secret is never kept.
        is_frozen: True when new holds are refused (a dispute, or an operator's decision).
    """

    customer_id: str
    key_id: str
    key_label: str
    limits: Limits
    is_frozen: bool = False
