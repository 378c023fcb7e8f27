"""What a customer's own model costs beyond its base: an adapter on deployments of its own, or many on one base.

**Dedicated.** Whole deployments serve one adapter, merged into the base's weights, so that no token takes longer; what
they are not used for, nobody else uses. Its demand decides how many run and how busy they are::

    N = ⌈demand / (capacity · u_max)⌉        u = demand / (N · capacity)

**Shared.** Many low-rank adapters stand beside one base (Sheng et al., S-LoRA, 2023). What is not merged is read with
every step: a decode step moves the base's weights once, and each distinct adapter of its batch once, so that a step of
a memory-bound batch takes ``1 + n · A/W`` times as long, n being the distinct adapters in a batch, A an adapter's bytes
and W the base's. (Reading the cache is left out, which overstates the slowdown.) What an adapter costs by the hour,
kept at hand and swapped in, is spread over the tokens that it sells in one.

Both end in the same :class:`~pricing.assumptions.Adder`, which never makes a token faster or cheaper.
"""

import math
from dataclasses import dataclass

from pricing.assumptions import Adder, AssumptionError
from pricing.costs import S_PER_HOUR, TOKENS_PER_MTOK, TokenCosts

BYTES_PER_PARAMETER = 2.0
"""Adapters are kept in 16 bits, whatever the base is served at."""
RANK_MAX = 4_096
ADAPTERS_MAX = 100_000
REPLICAS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Adapter:
    """One low-rank adapter.

    Attributes:
        rank: r; each adapted matrix of d_in × d_out has r · (d_in + d_out) parameters.
        widths: Σ (d_in + d_out) over the adapted matrices of the base.
        tok_per_hour: input and output tokens that it sells in an hour.
        storage_usd_per_hour: of keeping it at hand, in memory and on disk.
        swaps_per_hour: how often a replica loads it anew.
        swap_s: how long that takes, the replica serving nobody.
    """

    rank: int
    widths: int
    tok_per_hour: float
    storage_usd_per_hour: float = 0.0
    swaps_per_hour: float = 0.0
    swap_s: float = 0.0

    def __post_init__(self) -> None:
        if not (1 <= self.rank <= RANK_MAX and self.widths >= 1):
            raise AssumptionError(f"an adapter has a rank of 1 to {RANK_MAX} and widths of at least 1, got {self}")
        if not (math.isfinite(self.tok_per_hour) and self.tok_per_hour > 0):
            raise AssumptionError(
                f"an adapter's hour is spread over the tokens it sells in one: tok_per_hour must be above 0, got "
                f"{self.tok_per_hour}"
            )
        spent = (self.storage_usd_per_hour, self.swaps_per_hour, self.swap_s)
        if not all(math.isfinite(value) and value >= 0 for value in spent):
            raise AssumptionError(f"storage and swaps must not be negative, got {spent}")
        if self.swaps_per_hour * self.swap_s > S_PER_HOUR:
            raise AssumptionError(
                f"{self.swaps_per_hour:g} swaps of {self.swap_s:g} s are more than an hour; is swap_s in milliseconds?"
            )

    @property
    def bytes(self) -> float:
        """What is read of it with every step, A.

        >>> Adapter(rank=16, widths=1_000_000, tok_per_hour=1).bytes
        32000000.0
        """
        return self.rank * self.widths * BYTES_PER_PARAMETER


@dataclass(frozen=True, slots=True)
class SharedBase:
    """The deployment that adapters share.

    Attributes:
        adapters: how many stand beside it.
        concurrency: requests in a batch; no more distinct adapters than that can be read in one step.
        weight_bytes: of the base, W; those that a step reads, where experts are chosen.
        usd_per_hour: of one accelerator; ``n_gpus`` of them make a replica.
        utilisation: that the base's cost will be divided by; what an hour of an adapter costs is not divided again.
    """

    adapters: int
    concurrency: int
    weight_bytes: float
    usd_per_hour: float
    n_gpus: int = 1
    utilisation: float = 1.0

    def __post_init__(self) -> None:
        if not (1 <= self.adapters <= ADAPTERS_MAX and self.concurrency >= 1 and self.n_gpus >= 1):
            raise AssumptionError(
                f"a shared base has 1 to {ADAPTERS_MAX} adapters, a concurrency and accelerators, got {self.adapters}, "
                f"{self.concurrency} and {self.n_gpus}"
            )
        positive = (self.weight_bytes, self.usd_per_hour, self.utilisation)
        if not (all(math.isfinite(value) and value > 0 for value in positive) and self.utilisation <= 1):
            raise AssumptionError(
                f"a shared base has weight_bytes and usd_per_hour above 0 and a utilisation in (0, 1], got {positive}"
            )


def shared_slowdown(adapter: Adapter, base: SharedBase) -> float:
    """How much longer a step takes with the adapters of a batch beside the base: ``1 + n · A/W``.

    >>> base = SharedBase(adapters=100, concurrency=32, weight_bytes=64e9, usd_per_hour=2.0)
    >>> shared_slowdown(Adapter(rank=16, widths=1_000_000, tok_per_hour=1), base)  # 32 · 32 MB over 64 GB
    1.016
    """
    return 1 + min(base.adapters, base.concurrency) * adapter.bytes / base.weight_bytes


def adapter_usd_per_hour(adapter: Adapter, base: SharedBase) -> float:
    """What an adapter costs by the hour, used or not: storage, and the replica's time while it is swapped in."""
    lost_s = adapter.swaps_per_hour * adapter.swap_s
    return adapter.storage_usd_per_hour + lost_s / S_PER_HOUR * base.n_gpus * base.usd_per_hour


def shared(adapter: Adapter, base: SharedBase) -> Adder:
    """The adder of an adapter that stands beside others on one base; its hour is spread evenly over its tokens.

    >>> base = SharedBase(adapters=1, concurrency=1, weight_bytes=64e9, usd_per_hour=2.0, utilisation=0.5)
    >>> made = shared(Adapter(rank=16, widths=1_000_000, tok_per_hour=1e6, storage_usd_per_hour=0.04), base)
    >>> made.usd_per_mtok.input, made.slowdown  # 0.04 USD per M sold, at full use half of it
    (0.02, 1.0005)
    """
    sold = adapter_usd_per_hour(adapter, base) / adapter.tok_per_hour * TOKENS_PER_MTOK
    extra = sold * base.utilisation
    return Adder(TokenCosts(extra, extra, extra, extra), shared_slowdown(adapter, base))


def replicas_of_its_own(demand_tok_s: float, capacity_tok_s: float, utilisation_max: float) -> int:
    """How many deployments one adapter needs to itself, so that none is busier than the market's are.

    >>> replicas_of_its_own(1_000, 2_000, 0.6), replicas_of_its_own(1_300, 2_000, 0.6)
    (1, 2)
    """
    for name, value in (("demand", demand_tok_s), ("capacity", capacity_tok_s)):
        if not (math.isfinite(value) and value > 0):
            raise AssumptionError(f"a dedicated model's {name} must be above 0 tok/s, got {value}")
    if not 0 < utilisation_max <= 1:
        raise AssumptionError(f"the largest utilisation must lie in (0, 1], got {utilisation_max}")
    replicas = demand_tok_s / (capacity_tok_s * utilisation_max)
    if replicas > REPLICAS_MAX:
        raise AssumptionError(f"a demand of {demand_tok_s:g} tok/s needs {replicas:.3g} deployments, at most 1,000,000")
    return max(math.ceil(replicas - 1e-9), 1)


def dedicated(demand_tok_s: float, capacity_tok_s: float, utilisation_max: float) -> Adder:
    """The adder of an adapter that deployments of its own serve: their whole time is paid for by its tokens.

    Args:
        demand_tok_s: tokens a second that it sells on average, input and output.
        capacity_tok_s: of one deployment at its operating point.
        utilisation_max: of the market's deployments, which it is planned with too.

    >>> dedicated(300, 2_000, 0.6).utilisation
    0.15
    """
    replicas = replicas_of_its_own(demand_tok_s, capacity_tok_s, utilisation_max)
    return Adder(utilisation=demand_tok_s / (replicas * capacity_tok_s))
