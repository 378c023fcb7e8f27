"""What was run: what a row says of it, what the operator states beside it, and the one configuration both agree on."""

import re
from dataclasses import dataclass, fields, replace
from datetime import date
from types import MappingProxyType
from typing import Any

from pricing.document_reader import shown
from pricing.profiles import Configuration, LengthClass, Mode, ProfileError
from providers.importers.names import ENGINE, HARDWARE, PRECISION, SPEC_DECODING, Vocabulary, model_name

_VOCABULARIES = MappingProxyType(
    {"hardware": HARDWARE, "engine": ENGINE, "precision": PRECISION, "spec_decoding": SPEC_DECODING}
)
NEEDED = ("model", "hardware", "n_gpus", "engine", "precision")
"""Without these nothing can be priced."""
_WHOLE = 1e-6
"""A mean this close to a whole number of tokens is of equal lengths."""
_WIDTH = re.compile(r"(tp|pp|dp|cp)(\d+)")
_POOLS = re.compile(r"P:(?P<prefill>\S+)x(?P<p>\d+) D:(?P<decode>\S+)x(?P<d>\d+)")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run; None where nothing is said.

    Attributes:
        n_gpus: accelerators of one replica, both pools together.
        licence: of the figures.
    """

    model: str | None = None
    hardware: str | None = None
    n_gpus: int | None = None
    engine: str | None = None
    engine_version: str | None = None
    precision: str | None = None
    parallelism: str | None = None
    mode: Mode | None = None
    spec_decoding: str | None = None
    prefill_gpus: int | None = None
    decode_gpus: int | None = None
    isl: int | None = None
    osl: int | None = None
    measured_on: date | None = None
    licence: str | None = None


def stated(facts: Facts) -> Facts:
    """What the operator states, with its names in our words.

    Raises:
        ProfileError: a name in no table.
    """
    changes: dict[str, Any] = {}
    for name, vocabulary in _VOCABULARIES.items():
        written = getattr(facts, name)
        if written is not None:
            changes[name] = _found(vocabulary, written)
    return replace(facts, **changes)


def settled(said: Facts, declared: Facts) -> Facts:
    """A row's facts and the operator's, put together: a stated fact fills a gap and names what no table knows.

    Raises:
        ProfileError: the two contradict each other, or a name is in no table and nothing is stated.
    """
    changes: dict[str, Any] = {}
    for field in fields(Facts):
        name = field.name
        own, other = getattr(said, name), getattr(declared, name)
        if name == "model":
            changes[name] = other or own
        elif name in _VOCABULARIES:
            changes[name] = _named(_VOCABULARIES[name], own, other)
        else:
            changes[name] = _agreed(name, own, other)
    return replace(said, **changes)


def _named(vocabulary: Vocabulary, written: str | None, declared: str | None) -> str | None:
    if written is None or (declared is not None and vocabulary.find(written) is None):
        return declared
    return _agreed(vocabulary.kind, _found(vocabulary, written), declared)


def _found(vocabulary: Vocabulary, written: str) -> str:
    found = vocabulary.find(written)
    if found is None:
        raise ProfileError(vocabulary.unknown(written))
    return found


def _agreed(name: str, own: object, other: object) -> Any:
    if own is not None and other is not None and own != other and name != "licence":
        raise ProfileError(f"{name}: the file says {own}, but {_option(name)} says {other}")
    return other if own is None or (name == "licence" and other is not None) else own


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def configuration_of(facts: Facts) -> tuple[str, Configuration]:
    """The model and the configuration that settled facts describe.

    Raises:
        ProfileError: something needed is not known; the message names its option.
    """
    known = _with_widths(facts)
    needed: dict[str, Any] = {name: getattr(known, name) for name in NEEDED}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        options = " ".join(map(_option, missing))
        raise ProfileError(f"{', '.join(missing)}: missing: the file does not say; state with {options}")
    return model_name(needed["model"]), Configuration(
        hardware=needed["hardware"],
        n_gpus=needed["n_gpus"],
        engine=needed["engine"],
        precision=needed["precision"],
        parallelism=known.parallelism or "",
        mode=known.mode or Mode.AGGREGATED,
        spec_decoding=known.spec_decoding or "unknown",
        prefill_gpus=known.prefill_gpus,
        decode_gpus=known.decode_gpus,
    )


def lengths_of(facts: Facts, isl_mean: float | None, osl_mean: float | None) -> LengthClass:
    """The length class: as stated, else the lengths really run where every request had the same.

    Raises:
        ProfileError: neither.
    """
    return LengthClass(_length(facts.isl, isl_mean, "isl"), _length(facts.osl, osl_mean, "osl"))


def _length(nominal: int | None, mean: float | None, name: str) -> int:
    if nominal is not None:
        return nominal
    if mean is not None and mean >= 1 and abs(mean - round(mean)) < _WHOLE:
        return round(mean)
    ran = "" if mean is None else f"lengths of {mean:g} tokens on average belong to no one class; "
    raise ProfileError(f"{name}: missing: {ran}state the class with {_option(name)}")


def _with_widths(facts: Facts) -> Facts:
    """Fills the number of accelerators from a label such as ``tp4pp1dp2`` or ``P:tp2x4 D:tp8x1``."""
    label = facts.parallelism or ""
    pools = _POOLS.fullmatch(label)
    if pools is None:
        return facts if facts.n_gpus is not None else replace(facts, n_gpus=width(label))
    prefill, decode = width(pools["prefill"]), width(pools["decode"])
    if prefill is None or decode is None or facts.prefill_gpus is not None:
        return facts
    prefill_gpus, decode_gpus = prefill * int(pools["p"]), decode * int(pools["d"])
    n_gpus = facts.n_gpus or prefill_gpus + decode_gpus
    return replace(facts, n_gpus=n_gpus, prefill_gpus=prefill_gpus, decode_gpus=decode_gpus)


def width(label: str) -> int | None:
    """Accelerators of one worker by its label: tensor × pipeline × data × context parallel; None where it has no width.

    >>> width("tp4pp1dp2etp1ep8"), width("ep8")
    (8, None)
    """
    # "etp" and "ep" divide what the others span; "etp4" would read as "tp4".
    found = _WIDTH.findall(label.replace("etp", "e"))
    product = 1
    for _, count in found:
        product *= int(count)
    return product if found and product else None


def checked_width(facts: Facts) -> Facts:
    """Refuses a number of accelerators that its parallelism label contradicts.

    Raises:
        ProfileError: with both.
    """
    spelled = width(facts.parallelism or "") if facts.mode is Mode.AGGREGATED else None
    if spelled is not None and facts.n_gpus is not None and spelled != facts.n_gpus:
        raise ProfileError(f"n_gpus: {facts.n_gpus} disagrees with {shown(facts.parallelism)}, which is {spelled} wide")
    return facts
