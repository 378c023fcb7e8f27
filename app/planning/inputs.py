"""Every input of derivation that an operator may set or the return loop may move: its name, subject and range; pure.

A *subject* says whose input it is: ``market``, ``tier:NAME``, ``model:NAME``, ``hardware:NAME``, ``deployment:PROFILE``
(the id of the profile it is run by, ``MODEL@DEPLOYMENT``) or ``profile:PROFILE``. The most specific one applies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from app.planning.input_rules import (
    ACCURACY,
    ATTAINMENT,
    BAND,
    BUILDUP,
    CLASS_RATES,
    COUNTS,
    DEMAND,
    MODE,
    OWNERSHIP,
    PRECISION,
    PROFILE,
    SCORES,
    SHARE,
    InputError,
    Rule,
    above,
    between,
    shares_by_tier,
    shares_of_tier,
    whole,
)
from pricing.profile_document import profile_from_document
from pricing.slo import Tier

MARKET: Final = "market"
SUBJECT_MAX: Final = 300
REASON_MAX: Final = 1_000
SHOWN_MAX: Final = 80


class Source(StrEnum):
    """Where a figure comes from."""

    DEFAULT = "default"
    OPERATOR = "operator"
    METERED = "metered"


@dataclass(frozen=True, slots=True)
class Revision:
    """One dated value of one input.

    Attributes:
        value: JSON; None withdraws the input.
        is_pinned: the return loop leaves it alone.
        effective_at_us, created_at_us: µs since the epoch.
        sequence: 0 until it is stored.
        once: makes a revision that is written twice one revision; empty for one that is new each time.
    """

    subject: str
    name: str
    value: Any
    source: Source
    effective_at_us: int
    created_at_us: int
    actor: str
    reason: str
    evidence: Mapping[str, Any]
    is_pinned: bool = False
    sequence: int = 0
    once: str = ""


@dataclass(frozen=True, slots=True)
class InputKind:
    """One input.

    Attributes:
        subjects: kinds of subjects that may have it.
        meaning: a sentence, with the unit.
        rule: its range.
    """

    name: str
    subjects: frozenset[str]
    meaning: str
    rule: Rule


def subject_kind(subject: str) -> str:
    """``market``, ``tier``, ``model``, ``hardware``, ``deployment`` or ``profile``.

    Raises:
        InputError: it is no subject.

    >>> subject_kind("market"), subject_kind("model:acme/chat")
    ('market', 'model')
    """
    if len(subject) <= SUBJECT_MAX and subject.isprintable():
        if subject == MARKET:
            return MARKET
        kind, colon, name = subject.partition(":")
        if colon and name and name == name.strip() and kind in SUBJECT_KINDS and (kind != "tier" or name in set(Tier)):
            return kind
    raise InputError(
        f"{_shown(subject)} is no subject; expected market, tier:premium, tier:standard, tier:bulk, model:NAME, "
        f"hardware:NAME, deployment:MODEL@DEPLOYMENT or profile:MODEL@DEPLOYMENT, of at most {SUBJECT_MAX} letters"
    )


def checked(subject: str, name: str, value: object) -> Any:
    """The value as it is stored.

    Args:
        subject: whose.
        name: of the input.
        value: JSON; None withdraws it.

    Raises:
        InputError: no such subject or input, or a value outside its range.
    """
    kind = subject_kind(subject)
    found = KINDS.get(name)
    if found is None:
        raise InputError(f"{_shown(name)} is no input; there are {', '.join(sorted(KINDS))}")
    if kind not in found.subjects:
        named = sorted(each.name for each in KINDS.values() if kind in each.subjects)
        raise InputError(
            f"{name} is an input of {' or '.join(sorted(found.subjects))}, not of {kind}; {kind} has {', '.join(named)}"
        )
    if value is None:
        return None
    try:
        made = found.rule.check(value)
        return _fitting(subject, name, made)
    except ValueError as error:
        why = f": {error}" if str(error) else ""
        raise InputError(f"{subject} {name}: expected {found.rule.allowed}, got {_shown(value)}{why}") from error


def _fitting(subject: str, name: str, made: Any) -> Any:
    """A checked value that must also fit its subject."""
    kind, _, of = subject.partition(":")
    if name == "document" and of != profile_from_document(made).id:
        raise InputError(f"the document is of profile:{profile_from_document(made).id}")
    if name == "attainment":
        return shares_of_tier(of, made) if kind == "tier" else shares_by_tier(made)
    return made


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


SUBJECT_KINDS: Final = frozenset({MARKET, "tier", "model", "hardware", "deployment", "profile"})


def _kinds(subjects: str, *named: tuple[str, str, Rule]) -> list[InputKind]:
    return [InputKind(name, frozenset(subjects.split()), meaning, rule) for name, meaning, rule in named]


_ALL: Final = (
    *_kinds(
        "market model",
        ("utilisation", "share of paid-for time that makes tokens", SHARE),
        ("overhead_usd_per_mtok", "USD per million tokens, added to the cost of every class", between(0, 1e6)),
        ("cached_share", "cost of a cached read over that of an input token", between(0, 1)),
        ("cache_write_share", "cost of a cache write over that of an input token", between(0, 10)),
        ("price_mode", "what sets the level of prices", MODE),
        ("price_band", "how far anchored prices may lie from what others publish", BAND),
        ("demand", "who would buy what; optimised prices rest on it", DEMAND),
        ("mw_max", "power in MW: of the site for the planner, or of a model for its optimised prices", between(0, 1e6)),
    ),
    *_kinds(
        "model",
        ("accelerators", "that there are for the model, for optimised prices; else all of the site's", COUNTS),
        ("class_rates", "charged for a tier's token class, whatever the mode says", CLASS_RATES),
    ),
    *_kinds(
        "market tier model",
        ("margin", "over effective cost; of the market or a model that of standard, others follow", between(0, 100)),
    ),
    *_kinds("tier model", ("attainment", "share of a tier's tokens that met each tier's deadline", ATTAINMENT)),
    *_kinds(
        "tier",
        ("precision_floor", "the coarsest precision that the tier may be served at", PRECISION),
        ("accuracy_min", "the least accuracy over its reference, on every benchmark known", between(0, 1)),
        ("score_min", "the least score on a benchmark", SCORES),
    ),
    *_kinds(
        "market",
        ("utilisation_min", "prices never rest on a metered utilisation below this", SHARE),
        ("step_percent", "by which a tier's rate exceeds the next lower one's", whole(0, 1_000)),
        ("price_percentile", "of the drawn costs, that prices rest on", above(0, 99.9)),
        ("flex_window_s", "seconds that bulk promises a synchronous request", above(0, 86_400)),
        ("premium_share", "premium's yield is at least this share of the largest", SHARE),
        ("separation", "premium is at least so many times as fast as standard", between(1, 100)),
        ("ownership", "whose balance sheet shipped hardware costs are taken from", OWNERSHIP),
        ("accuracy", "the operator's own accuracy figures", ACCURACY),
    ),
    *_kinds(
        "hardware",
        ("usd_per_hour", "USD of one accelerator-hour, all in", above(0, 1e6)),
        ("kw", "all-in kW of one accelerator", above(0, 1e5)),
        ("hbm_gb", "memory of one accelerator, GB", above(0, 1e6)),
        ("buildup", "what an hour is built up from: capital, life, energy", BUILDUP),
        ("count_max", "accelerators that there are, for the planner", whole(0, 10_000_000)),
    ),
    *_kinds(
        "deployment",
        ("ttft_scale", "observed over profiled time to the first token", between(0.1, 10)),
        ("tpot_scale", "observed over profiled time per output token", between(0.1, 10)),
    ),
    *_kinds("profile", ("document", "a profile of the operator's own", PROFILE)),
)
KINDS: Final[Mapping[str, InputKind]] = {each.name: each for each in _ALL}
"""Every input by name."""
