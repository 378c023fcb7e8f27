"""How many prefill GPUs to run for each decode GPU, for a mix of prompt and answer lengths.

Disaggregated pools are in balance when neither waits for the other:

    ``N_p · R_p = N_d · R_d``

with R_p the requests per second that one prefill GPU sustains, ``1 / (isl · a)``, and R_d likewise, ``1 / (osl · b)``,
a and b being GPU-seconds per input and output token. A measured deployment of known pools bounds both: at r requests
per second a prefill GPU has kept up with ``r / N_p``, a decode GPU with ``r / N_d``. One of the two was the bottleneck,
and across the ratios measured on one *family* (hardware, engine, precision, speculation) the best of each is what its
GPUs can do. For a mix, both sides are averaged over its requests: ``N_p : N_d = Σ w·isl·a : Σ w·osl·b``.

What a pool would do at a ratio nobody measured is **modelled**, and says so: the slower side decides,
``r = min(N_p / Σ w·isl·a, N_d / Σ w·osl·b)``.

**Source:** disaggregated serving and goodput: DistServe, OSDI 2024; the balance follows from flow conservation alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pricing.candidates import Candidate, FrontierError
from pricing.hardware import HardwareCost, usd_per_mtok
from pricing.profiles import LengthClass

SHARES_MAX = 64
GPUS_MAX = 100_000
SPEED_ROUNDING = 1e-6


class RatioError(FrontierError):
    """A mix that cannot be, or pools that nobody measured for it."""


@dataclass(frozen=True, slots=True)
class Family:
    """Deployments that differ in the sizes and layout of their pools alone."""

    hardware: str
    engine: str
    precision: str
    spec_decoding: str

    def __str__(self) -> str:
        return f"{self.hardware}-{self.engine}-{self.precision}-{self.spec_decoding}"


@dataclass(frozen=True, slots=True)
class PoolRate:
    """What one GPU of a pool was seen to do for one length class.

    Attributes:
        gpu_s: GPU-seconds that a request takes: ``isl · a`` of prefill, ``osl · b`` of decode.
        evidence: the measured point that shows it.
    """

    lengths: LengthClass
    gpu_s: float
    evidence: Candidate

    @property
    def requests_s_per_gpu(self) -> float:
        """Requests per second that one GPU sustains, R."""
        return 1 / self.gpu_s


@dataclass(frozen=True, slots=True)
class RatioRow:
    """One measured pair of pools: what it did at the speed, and what the balance says of its ratio.

    Attributes:
        best: the measured point with the largest yield at least as fast as asked.
        modelled_tok_s_per_gpu: of this ratio, from the best rates seen of either pool; never below what was measured.
        limited_by: ``prefill`` or ``decode``: the side that the model says decides at this ratio.
    """

    lengths: LengthClass
    prefill_gpus: int
    decode_gpus: int
    best: Candidate
    modelled_tok_s_per_gpu: float
    limited_by: str

    @property
    def prefill_share(self) -> float:
        """Prefill GPUs over all."""
        return self.prefill_gpus / (self.prefill_gpus + self.decode_gpus)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The ratio of one family for one mix at one speed.

    Attributes:
        tok_s_user: the least speed that the decode pool keeps.
        prefill: per length class of the mix.
        decode: likewise, at that speed.
        prefill_gpu_s: prefill GPU-seconds of a request of the mix, Σ w·isl·a.
        decode_gpu_s: decode GPU-seconds of one, Σ w·osl·b.
        tokens: input and output tokens of a request of the mix.
        cost: of the hardware.
        rows: the pairs of pools that were measured, by class and share of prefill.
        notes: what a reader must know.
    """

    family: Family
    mix: tuple[tuple[LengthClass, float], ...]
    tok_s_user: float
    prefill: tuple[PoolRate, ...]
    decode: tuple[PoolRate, ...]
    prefill_gpu_s: float
    decode_gpu_s: float
    tokens: float
    cost: HardwareCost
    rows: tuple[RatioRow, ...]
    notes: tuple[str, ...]

    @property
    def ratio(self) -> float:
        """Prefill GPUs per decode GPU, N_p / N_d."""
        return self.prefill_gpu_s / self.decode_gpu_s

    @property
    def prefill_share(self) -> float:
        """Prefill GPUs over all, at balance."""
        return self.prefill_gpu_s / (self.prefill_gpu_s + self.decode_gpu_s)

    @property
    def tok_s_per_gpu(self) -> float:
        """Input and output tokens per second per GPU at balance; modelled."""
        return self.tokens / (self.prefill_gpu_s + self.decode_gpu_s)

    @property
    def usd_per_mtok(self) -> float:
        """Dollars per million tokens, input and output alike, at balance; modelled."""
        return usd_per_mtok(self.cost.usd_per_hour, self.tok_s_per_gpu)

    def at_ratio(self, prefill_gpus: float, decode_gpus: float) -> float:
        """Tokens per second per GPU that the slower pool allows; modelled."""
        requests_s = min(prefill_gpus / self.prefill_gpu_s, decode_gpus / self.decode_gpu_s)
        return self.tokens * requests_s / (prefill_gpus + decode_gpus)

    def divided(self, gpus: int) -> tuple[int, int]:
        """The best division of so many GPUs into prefill and decode, at least one each.

        Raises:
            RatioError: fewer than two, or absurdly many.
        """
        if not 2 <= gpus <= GPUS_MAX:  # noqa: PLR2004 (one of each)
            raise RatioError(f"two pools need 2 to {GPUS_MAX} GPUs, got {gpus}")
        low = min(max(math.floor(gpus * self.prefill_share), 1), gpus - 1)
        pairs = [(prefill, gpus - prefill) for prefill in (low, min(low + 1, gpus - 1))]
        return max(pairs, key=lambda pair: self.at_ratio(*pair))


def checked_mix(mix: Mapping[LengthClass, float]) -> tuple[tuple[LengthClass, float], ...]:
    """A mix of requests, by class, largest share first.

    Raises:
        RatioError: no class, a share that is not above zero, or shares that do not sum to one.
    """
    shares = list(mix.values())
    if not 1 <= len(shares) <= SHARES_MAX or not all(math.isfinite(share) and share > 0 for share in shares):
        raise RatioError(f"a mix has 1 to {SHARES_MAX} classes, each with a share above 0, got {_text(mix)}")
    if not math.isclose(math.fsum(shares), 1, rel_tol=1e-6):
        raise RatioError(f"the shares of a mix sum to 1, got {math.fsum(shares):g} in {_text(mix)}")
    return tuple(sorted(mix.items(), key=lambda each: (-each[1], each[0])))


def _text(mix: Mapping[LengthClass, float]) -> str:
    return ", ".join(f"{lengths}={share:g}" for lengths, share in mix.items()) or "none"


def mix_from(text: str) -> dict[LengthClass, float]:
    """A mix from ``8192/1024=0.7,1024/1024=0.3``; one class alone may leave out its share.

    Raises:
        RatioError: a part that is no class and share, or a class named twice.

    >>> mix_from("8192/1024=0.75,1024/1024=0.25")[LengthClass(8192, 1024)]
    0.75
    """
    found: dict[LengthClass, float] = {}
    for part in text.split(","):
        lengths, _, share = part.strip().partition("=")
        isl, _, osl = lengths.partition("/")
        try:
            named = LengthClass(int(isl), int(osl))
            own = float(share) if share or "," in text else 1.0
        except ValueError as error:
            raise RatioError(f"{part.strip()!r}: expected ISL/OSL=SHARE, such as 8192/1024=0.7") from error
        if named in found:
            raise RatioError(f"{named} is named twice in the mix")
        found[named] = own
    return found


def recommend(
    points: Iterable[Candidate], mix: Mapping[LengthClass, float], tok_s_user: float
) -> tuple[Recommendation, ...]:
    """The balance of every family that was measured with known pools in all classes of the mix, cheapest first.

    Args:
        points: of one model, in the mix's classes, any SLO filter already applied.
        mix: share of requests by class; sums to one.
        tok_s_user: the speed that decode must keep at least.

    Raises:
        RatioError: no such mix or speed, or no family covers it; the message says what is known.
    """
    shares = checked_mix(mix)
    if not (math.isfinite(tok_s_user) and tok_s_user > 0):
        raise RatioError(f"a speed must be above 0 tok/s/user, got {tok_s_user}")
    by_family: dict[Family, list[Candidate]] = {}
    costs: dict[Family, HardwareCost] = {}
    for each in points:
        if each.profile.configuration.has_pools and each.cost is not None:
            by_family.setdefault(_family(each), []).append(each)
            costs[_family(each)] = each.cost
    reasons: dict[Family, str] = {}
    found: list[Recommendation] = []
    for family, own in by_family.items():
        made = _balanced(family, own, shares, tok_s_user, costs[family])
        if isinstance(made, str):
            reasons[family] = made
        else:
            found.append(made)
    if not found:
        told = "; ".join(f"{family}: {reason}" for family, reason in reasons.items())
        raise RatioError(
            f"no prefill : decode ratio for {_text(dict(shares))} at {tok_s_user:g} tok/s/user: "
            f"{told or 'nothing was measured with pools of known size'}"
        )
    return tuple(sorted(found, key=lambda each: (each.usd_per_mtok, str(each.family))))


def _family(candidate: Candidate) -> Family:
    own = candidate.profile.configuration
    return Family(own.hardware, own.engine, own.precision, own.spec_decoding)


def _balanced(
    family: Family,
    own: Sequence[Candidate],
    mix: tuple[tuple[LengthClass, float], ...],
    x: float,
    cost: HardwareCost,
) -> Recommendation | str:
    prefill: list[PoolRate] = []
    decode: list[PoolRate] = []
    for lengths, _ in mix:
        measured = [each for each in own if each.point.lengths == lengths]
        if not measured:
            return f"not measured at {lengths}"
        fast = [each for each in measured if each.tok_s_user >= x * (1 - SPEED_ROUNDING)]
        if not fast:
            return f"the fastest at {lengths} reaches {max(each.tok_s_user for each in measured):.4g} tok/s/user"
        prefill.append(min((_rate(each, "prefill") for each in measured), key=lambda rate: rate.gpu_s))
        decode.append(min((_rate(each, "decode") for each in fast), key=lambda rate: rate.gpu_s))
    weights = [share for _, share in mix]
    made = Recommendation(
        family=family,
        mix=mix,
        tok_s_user=x,
        prefill=tuple(prefill),
        decode=tuple(decode),
        prefill_gpu_s=math.fsum(w * rate.gpu_s for w, rate in zip(weights, prefill, strict=True)),
        decode_gpu_s=math.fsum(w * rate.gpu_s for w, rate in zip(weights, decode, strict=True)),
        tokens=math.fsum(w * _tokens(rate.evidence) for w, rate in zip(weights, prefill, strict=True)),
        cost=cost,
        rows=_rows(own, prefill, decode, x),
        notes=(),
    )
    return _with_notes(made)


def _rate(candidate: Candidate, pool: str) -> PoolRate:
    configuration = candidate.profile.configuration
    gpus = configuration.prefill_gpus if pool == "prefill" else configuration.decode_gpus
    return PoolRate(candidate.point.lengths, (gpus or 0) / candidate.point.requests_s, candidate)


def _tokens(candidate: Candidate) -> float:
    return candidate.point.total_tok_s / candidate.point.requests_s


def _rows(
    own: Sequence[Candidate], prefill: Sequence[PoolRate], decode: Sequence[PoolRate], x: float
) -> tuple[RatioRow, ...]:
    """For every class and pair of pools the best point that is fast enough."""
    best: dict[tuple[LengthClass, int, int], Candidate] = {}
    for each in own:
        configuration = each.profile.configuration
        key = (each.point.lengths, configuration.prefill_gpus or 0, configuration.decode_gpus or 0)
        if each.tok_s_user < x * (1 - SPEED_ROUNDING):
            continue
        if key not in best or best[key].tok_s_per_gpu < each.tok_s_per_gpu:
            best[key] = each
    rates = {rate.lengths: (rate.gpu_s, other.gpu_s) for rate, other in zip(prefill, decode, strict=True)}
    found: list[RatioRow] = []
    for (lengths, prefill_gpus, decode_gpus), each in best.items():
        if lengths not in rates:
            continue
        sides = {"prefill": prefill_gpus / rates[lengths][0], "decode": decode_gpus / rates[lengths][1]}
        limited_by = min(sides, key=lambda name: sides[name])
        modelled = _tokens(each) * sides[limited_by] / (prefill_gpus + decode_gpus)
        found.append(RatioRow(lengths, prefill_gpus, decode_gpus, each, modelled, limited_by))
    return tuple(sorted(found, key=lambda row: (row.lengths, row.prefill_share, row.prefill_gpus)))


def _with_notes(made: Recommendation) -> Recommendation:
    notes: list[str] = []
    for lengths, _ in made.mix:
        ratios = {round(row.prefill_share, 6) for row in made.rows if row.lengths == lengths}
        if len(ratios) == 1:
            notes.append(
                f"{lengths}: one ratio alone was measured at this speed; which pool limits it there is not known"
            )
    measured = [row.prefill_share for row in made.rows]
    if not min(measured) - 1e-6 <= made.prefill_share <= max(measured) + 1e-6:
        notes.append("the balance lies outside the ratios measured: it is modelled, measure there before relying on it")
    return replace(made, notes=tuple(notes))
