"""When prices may move by themselves, and how far: a state machine with no clock and no I/O.

A run compares the live book with what is derived now. A class of tokens *says* ``up`` or ``down`` while it is off by
more than the threshold; two runs in a row that say the same move its whole model, every class towards its derived rate
by at most the step. Between two publications, whoever made them, passes the dwell. What one run says and the next one
contradicts is noise and starts the count again.

Rates alone move. Everything else that a derivation would change (a promise, the configuration that is run, a tier more
or less) is told after two runs that agree on it, for a person to review.

Runs closer together than ``spacing_us`` count as one, so that two workers that run at once do not make two of it. A
clock that went back starts the count again and publishes nothing sooner.

All arithmetic is on whole rates and parts per million: a limit is kept exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from pricing.money import Rate
from pricing.slo import US_PER_S, Tier
from pricing.usage import Rates, TokenClass

PPM: Final = 1_000_000
UP: Final = "up"
DOWN: Final = "down"
PROMISE: Final = "promise"
STREAKS_MAX: Final = 100_000

CardKey = tuple[str, Tier]
CardRates = Mapping[CardKey, Rates]


class RepricingError(ValueError):
    """Limits that cannot be kept, or a stored state that is none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How easily and how far prices move by themselves.

    Attributes:
        threshold_ppm: a class must be off by more than this share of its live rate.
        runs: in a row that must say the same.
        step_ppm: a rate moves by at most this share of its live one in one publication.
        dwell_us: between two publications, by whomever.
        spacing_us: runs closer together count as one.
    """

    threshold_ppm: int = 50_000
    runs: int = 2
    step_ppm: int = 150_000
    dwell_us: int = 24 * 3_600 * US_PER_S
    spacing_us: int = 1_800 * US_PER_S

    def __post_init__(self) -> None:
        shares_fit = 0 <= self.threshold_ppm < PPM and 0 < self.step_ppm < PPM
        if not (shares_fit and self.runs >= 1 and self.dwell_us >= 0 and self.spacing_us >= 0):
            raise RepricingError(
                f"limits need a threshold in [0, {PPM}) ppm, a step in (0, {PPM}) ppm, at least one run and times of "
                f"0 or more, got {self}"
            )


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Streak:
    """What one key has said, and in how many runs in a row."""

    said: str
    runs: int


@dataclass(frozen=True, slots=True)
class Watch:
    """All that is remembered from run to run.

    Attributes:
        book_id: the book that the streaks compare with; another one starts them again.
        run_at_us: the last run that counted; None before the first.
        streaks: by key: ``model, tier, class`` of a rate, or ``model, promise``; only of those that say something.
    """

    book_id: str = ""
    run_at_us: int | None = None
    streaks: Mapping[tuple[str, ...], Streak] = field(default_factory=dict[tuple[str, ...], Streak])


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run sees.

    Attributes:
        book_id: of the live book.
        published_at_us: when a book was last published or came, or will come, into force, by whomever.
        live: rates in force.
        target: derived rates of the models whose every tier is run and sold as in the live book.
        reviews: by model, what else a derivation would change, in words or as a digest; the same text means the same.
        now_us: the moment of the run, µs since the epoch.
    """

    book_id: str
    published_at_us: int
    live: CardRates
    target: CardRates
    reviews: Mapping[str, str]
    now_us: int


@dataclass(frozen=True, slots=True)
class Move:
    """What may be done now.

    Attributes:
        rates: new rates of every card that moves; empty when none does.
        reviews: models whose promise or configuration a person should look at.
        dwells_until_us: nothing may be published before; None when the dwell is over.
        reason: in words, with the numbers.
    """

    rates: CardRates
    reviews: frozenset[str]
    dwells_until_us: int | None
    reason: str

    @property
    def may_publish(self) -> bool:
        """True when rates move and the dwell is over."""
        return bool(self.rates) and self.dwells_until_us is None


def run(watch: Watch, seen: Seen, limits: Limits = DEFAULT_LIMITS) -> tuple[Watch, Move]:
    """One run: what is remembered from now on, and what may be done.

    Whoever publishes need not tell: the next run sees another live book and starts its streaks again.
    """
    watch = _advanced(watch, seen, limits)
    ripe = {key for key, streak in watch.streaks.items() if streak.runs >= limits.runs}
    said = _signals(seen, limits)
    ripe = {key for key in ripe if said.get(key) == watch.streaks[key].said}
    rates = _moves({key[0] for key in ripe if key[1] != PROMISE}, seen, limits)
    reviews = frozenset(key[0] for key in ripe if key[1] == PROMISE)
    until_us = seen.published_at_us + limits.dwell_us
    dwells_until_us = until_us if seen.now_us < until_us else None
    return watch, Move(rates, reviews, dwells_until_us, _reason(rates, said, seen, limits))


def stepped(live: int, target: int, limits: Limits = DEFAULT_LIMITS) -> Rate:
    """The rate nearest to ``target`` that is no further from ``live`` than a step; whole, rounded towards ``live``.

    >>> stepped(1_000, 2_000), stepped(1_000, 100), stepped(1_000, 1_010), stepped(3, 9)
    (1150, 850, 1010, 3)
    """
    room = live * limits.step_ppm // PPM
    return Rate(min(max(target, live - room), live + room))


def is_off(live: int, target: int, limits: Limits = DEFAULT_LIMITS) -> bool:
    """True when ``target`` is further from ``live`` than the threshold, in either direction.

    >>> is_off(1_000, 1_050), is_off(1_000, 1_051), is_off(0, 1)
    (False, True, True)
    """
    return abs(target - live) * PPM > limits.threshold_ppm * live


def watch_document(watch: Watch) -> dict[str, Any]:
    """The stored form of a watch, JSON-ready."""
    return {
        "book_id": watch.book_id,
        "run_at_us": watch.run_at_us,
        "streaks": [[list(key), streak.said, streak.runs] for key, streak in sorted(watch.streaks.items())],
    }


def watch_from_document(document: Mapping[str, Any]) -> Watch:
    """Reads a stored watch back; the inverse of :func:`watch_document`.

    Raises:
        RepricingError: it is none.
    """
    try:
        streaks = {tuple(map(str, key)): Streak(str(said), int(runs)) for key, said, runs in document["streaks"]}
        at_us = document["run_at_us"]
        return Watch(str(document["book_id"]), None if at_us is None else int(at_us), streaks)
    except (KeyError, TypeError, ValueError) as error:
        raise RepricingError(f"not a stored watch ({error!r})") from error


def _advanced(watch: Watch, seen: Seen, limits: Limits) -> Watch:
    """The watch after this run has been counted, if it counts."""
    went_back = watch.run_at_us is not None and seen.now_us < watch.run_at_us
    if watch.book_id != seen.book_id or went_back or watch.run_at_us is None:
        watch = Watch(seen.book_id)
    elif seen.now_us - watch.run_at_us < limits.spacing_us:
        return watch
    streaks: dict[tuple[str, ...], Streak] = {}
    for key, said in _signals(seen, limits).items():
        before = watch.streaks.get(key)
        runs = before.runs if before is not None and before.said == said else 0
        streaks[key] = Streak(said, min(runs + 1, limits.runs))
    if len(streaks) > STREAKS_MAX:
        raise RepricingError(f"{len(streaks)} rates are off at once, at most {STREAKS_MAX}; publish a book by hand")
    return Watch(seen.book_id, seen.now_us, streaks)


def _signals(seen: Seen, limits: Limits) -> dict[tuple[str, ...], str]:
    """What every key says in this run; a rate of a model that cannot be compared says nothing."""
    said: dict[tuple[str, ...], str] = {(model, PROMISE): text for model, text in seen.reviews.items()}
    comparable = set(_comparable(seen))
    for (model, tier), live in seen.live.items():
        if model not in comparable:
            continue
        target = seen.target[model, tier].by_class()
        for name, rate in live.by_class().items():
            if is_off(rate, target[name], limits):
                said[model, tier.value, name.value] = UP if target[name] > rate else DOWN
    return said


def _comparable(seen: Seen) -> Iterator[str]:
    """Models whose tiers are the same on both sides."""
    for model in {model for model, _ in seen.live}:
        if {tier for name, tier in seen.live if name == model} == {t for name, t in seen.target if name == model}:
            yield model


def _moves(models: set[str], seen: Seen, limits: Limits) -> dict[CardKey, Rates]:
    """The new rates of the cards that change, tiers still in order."""
    moved: dict[CardKey, Rates] = {}
    for model in sorted(models):
        tiers = [tier for tier in Tier if (model, tier) in seen.live]
        columns = {name: _column(model, name, tiers, seen, limits) for name in TokenClass}
        for index, tier in enumerate(tiers):
            rates = Rates(**{name.value: column[index] for name, column in columns.items()})
            if rates != seen.live[model, tier]:
                moved[model, tier] = rates
    return moved


def _column(model: str, name: TokenClass, tiers: list[Tier], seen: Seen, limits: Limits) -> list[Rate]:
    """One class's rates of all tiers, best first; unmoved where whole numbers would let two tiers meet.

    A step is monotone in both of its arguments, so rates that fall before and in the derivation fall after it too, but
    for the last unit that rounding takes.
    """
    live = [seen.live[model, tier].by_class()[name] for tier in tiers]
    target = [seen.target[model, tier].by_class()[name] for tier in tiers]
    new = [stepped(now, then, limits) for now, then in zip(live, target, strict=True)]
    falls = all(dear > cheap or dear == cheap == 0 for dear, cheap in pairwise(new))
    return new if falls else live


def _reason(rates: CardRates, said: Mapping[tuple[str, ...], str], seen: Seen, limits: Limits) -> str:
    """What was found, for the log and for whoever reviews."""
    off = sum(1 for key in said if key[1] != PROMISE)
    if not rates:
        return f"{off} rates are off by more than {limits.threshold_ppm / PPM:.1%}; none in {limits.runs} runs in a row"
    moved = [
        (abs(new - old) / old, f"{model} {tier} {name} {(new - old) / old:+.1%}")
        for (model, tier), each in rates.items()
        for name, new in each.by_class().items()
        if (old := seen.live[model, tier].by_class()[name]) > 0
    ]
    largest = max(moved, default=(0.0, "none"))[1]
    return (
        f"{off} rates are off by more than {limits.threshold_ppm / PPM:.1%}, in {limits.runs} runs in a row; "
        f"{len(rates)} cards move, the furthest: {largest} (at most {limits.step_ppm / PPM:.0%})"
    )
