"""What an emulated provider is told to be: deployments, their engines and ports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from providers.emulated.faults import NO_FAULT, Fault, read_fault
from providers.engine_model.spec import EngineSpec, read_spec, spec_document

DEPLOYMENTS_MAX: Final = 64
PORT_MAX: Final = 65_535
TOKENS_MAX: Final = 10_000_000


class EmulatedSpecError(ValueError):
    """A description no emulated provider can follow; the message names the field."""


@dataclass(frozen=True, slots=True)
class EmulatedDeployment:
    """One deployment to emulate on one port.

    Attributes:
        model: the backend's name of its model.
        port: 0 picks a free one.
        context_max: most tokens, prompt and answer.
        answer_tokens: median length of an answer whose request names no limit.
        stops_early: an answer may end before the limit that its request names, at a length of its own.
        seed: of text and lengths.
        label: what it is, in words, shown with the model.
        api_key: when set, requests must carry it as a bearer token.
        fault: what goes wrong from the start.
        waiting_max: most requests in line; more are turned away with 503.
    """

    deployment_id: str
    model: str
    engine: EngineSpec
    host: str = "127.0.0.1"
    port: int = 0
    context_max: int = 131_072
    answer_tokens: int = 256
    stops_early: bool = False
    seed: int = 1
    label: str = ""
    api_key: str = ""
    fault: Fault = NO_FAULT
    waiting_max: int = 4_096

    def __post_init__(self) -> None:
        for name in ("deployment_id", "model"):
            value = getattr(self, name)
            if not value or not value.isprintable():
                raise EmulatedSpecError(f"{name} must be printable text, got {value!r}")
        for name, least, most in (
            ("port", 0, PORT_MAX),
            ("context_max", 2, TOKENS_MAX),
            ("answer_tokens", 1, TOKENS_MAX),
            ("waiting_max", 1, TOKENS_MAX),
        ):
            if not least <= getattr(self, name) <= most:
                raise EmulatedSpecError(f"{name} must be {least} to {most}, got {getattr(self, name)}")


def read_deployments(document: object) -> tuple[EmulatedDeployment, ...]:
    """Reads ``{"deployments": [...]}``.

    Raises:
        EmulatedSpecError: it is not of that form, names no deployment, too many, or one port twice.
    """
    if not isinstance(document, Mapping) or set(document) != {"deployments"}:
        raise EmulatedSpecError('a spec is a JSON object {"deployments": [...]}')
    listed: object = document["deployments"]
    if not isinstance(listed, list) or not 1 <= len(listed) <= DEPLOYMENTS_MAX:
        raise EmulatedSpecError(f"deployments must be a list of 1 to {DEPLOYMENTS_MAX}")
    deployments = tuple(read_deployment(one, f"deployments[{index}]") for index, one in enumerate(listed))
    taken: set[tuple[str, int]] = set()
    for deployment in deployments:
        address = (deployment.host, deployment.port)
        if deployment.port and address in taken:
            raise EmulatedSpecError(f"port {deployment.port} on {deployment.host} is named twice")
        taken.add(address)
    return deployments


def read_deployment(document: object, where: str = "deployment") -> EmulatedDeployment:
    """Reads one deployment.

    Its ``engine`` is an engine's parameters (``{"kind": "continuous_batch" | "remote_api", …}``) or a measured load
    curve (``{"kind": "load_curve", "concurrency": […], "tpot_us": […], "ttft_us": […], "isl": …, "osl": …}``, with
    ``max_seqs``, ``chunk_tokens``, ``kv_tokens`` and ``prefill_tok_s`` where known), to which one is fitted.

    Raises:
        EmulatedSpecError: an unknown field, a missing one, or a value that cannot be.
    """
    if not isinstance(document, Mapping):
        raise EmulatedSpecError(f"{where} must be a JSON object")
    values: dict[str, Any] = {str(name): value for name, value in document.items()}
    try:
        values["engine"] = read_engine(values.get("engine"))
        values["fault"] = read_fault(values.get("fault", {}))
        _check_kinds(values)
        return EmulatedDeployment(**values)
    except (ValueError, TypeError) as error:
        raise EmulatedSpecError(f"{where}: {error}") from error


def read_engine(document: object) -> EngineSpec:
    """Reads an engine's parameters, or fits them to a load curve.

    Raises:
        ValueError: of the kind that the form demands.
    """
    from providers.engine_model.fit import Limits, LoadCurve, fit  # noqa: PLC0415 (scipy, only where a fit is asked for)

    if not isinstance(document, Mapping):
        raise EmulatedSpecError("engine must be a JSON object with a kind")
    if document.get("kind") != "load_curve":
        return read_spec(document)
    values = {str(name): value for name, value in document.items() if name != "kind"}
    prefill_tok_s = values.pop("prefill_tok_s", None)
    limits = Limits(**{name: values.pop(name, None) for name in ("max_seqs", "chunk_tokens", "kv_tokens")})
    for name in ("concurrency", "tpot_us", "ttft_us"):
        values[name] = _numbers(name, values.get(name))
    return fit([LoadCurve(**values)], limits, prefill_tok_s=prefill_tok_s).spec


def deployment_document(deployment: EmulatedDeployment) -> dict[str, Any]:
    """The JSON-ready form of a deployment; :func:`read_deployment` reads it back."""
    names = (name for name in EmulatedDeployment.__slots__ if name not in {"engine", "fault"})
    plain: dict[str, Any] = {name: getattr(deployment, name) for name in names}
    fault = {name: getattr(deployment.fault, name) for name in Fault.__slots__}
    return plain | {"engine": spec_document(deployment.engine), "fault": fault}


_TEXT: Final = frozenset({"deployment_id", "model", "host", "label", "api_key"})
_WHOLE: Final = frozenset({"port", "context_max", "answer_tokens", "seed", "waiting_max"})


def _check_kinds(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name in _TEXT and not isinstance(value, str):
            raise EmulatedSpecError(f"{name} must be text, got {value!r}")
        if name in _WHOLE and (not isinstance(value, int) or isinstance(value, bool)):
            raise EmulatedSpecError(f"{name} must be a whole number, got {value!r}")
        if name == "stops_early" and not isinstance(value, bool):
            raise EmulatedSpecError(f"stops_early must be true or false, got {value!r}")


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, int | float) for v in value):
        raise EmulatedSpecError(f"{name} must be a list of numbers, got {value!r}")
    return tuple(value)
