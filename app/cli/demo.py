"""The demo market: what is on sale in it, who makes it, and how the emulated providers are told to behave.

Every emulated offer follows the load curve of one measured deployment of the shipped profiles, or the figures that its
seller declares, and says so in its label. Nothing here is a price: prices are derived from the same profiles.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pricing.deployments import deployments, slowed
from pricing.profiles import Deployment, Profile
from pricing.slo import US_PER_S, Tier
from providers.engine_model.spec import RemoteSpec, remote_spec, spec_document
from providers.spec import ProviderKind

GPT_OSS: Final = "gpt-oss-120b"
TUNED: Final = "acme/support-gpt-oss-120b"
LOCAL: Final = "smollm2-135m-instruct"
CONTEXT_MAX: Final = 131_072
"""Of gpt-oss-120b, from its model card."""

ISL: Final = 8192
OSL: Final = 1024
TUNED_SLOWDOWN: Final = 1.15
"""A LoRA adapter's work on each token, as this market's operator assumes it."""

BYTES_PER_TOKEN: Final = 4.0


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A model on sale.

    Attributes:
        profiled_as: the profiles' own name of what runs.
    """

    name: str
    title: str
    description: str
    owned_by: str
    profiled_as: str
    context_max: int = CONTEXT_MAX


@dataclass(frozen=True, slots=True)
class DemoOffer:
    """One emulated deployment of one provider.

    Attributes:
        deployment_id: of the shipped profile whose load curve it follows.
        model: the public name of what it serves.
        backend_model: the backend's name of it.
        slowdown: every token takes so many times as long.
        label: what it is, shown wherever its tokens are.
    """

    provider_id: str
    provider_name: str
    kind: ProviderKind
    deployment_id: str
    model: str
    backend_model: str
    label: str
    is_owned: bool = True
    slowdown: float = 1.0
    tiers: frozenset[Tier] = frozenset(Tier)

    @property
    def id(self) -> str:
        """The offer's id in the fleet."""
        return f"{self.provider_id}/{self.deployment_id}"


MODELS: Final = (
    DemoModel(GPT_OSS, "gpt-oss 120B", "Open-weight mixture of experts, 117 B parameters, FP4.", "openai", GPT_OSS),
    DemoModel(TUNED, "Acme support assistant", "gpt-oss 120B with Acme's own adapter (emulated).", "acme", GPT_OSS),
)

LOCAL_MODEL: Final = DemoModel(
    LOCAL, "SmolLM2 135M Instruct", "A small real model on this machine, by llama.cpp.", "huggingface", LOCAL, 2048
)

OFFERS: Final = (
    DemoOffer(
        "cluster-b200",
        "B200 cluster",
        ProviderKind.GPU_CLUSTER,
        "b200-trtllm-fp4-agg-tp2ep1",
        GPT_OSS,
        "gpt-oss-120b",
        "Emulated: 2 × B200, TensorRT-LLM, FP4, at measured speeds (InferenceX)",
    ),
    DemoOffer(
        "cluster-b200",
        "B200 cluster",
        ProviderKind.GPU_CLUSTER,
        "b200-trtllm-fp4-agg-tp1ep1",
        GPT_OSS,
        "gpt-oss-120b",
        "Emulated: 1 × B200, TensorRT-LLM, FP4, at measured speeds (InferenceX)",
    ),
    DemoOffer(
        "cluster-h100",
        "H100 cluster",
        ProviderKind.GPU_CLUSTER,
        "h100-vllm-fp4-agg-tp4ep1",
        GPT_OSS,
        "gpt-oss-120b",
        "Emulated: 4 × H100, vLLM, FP4, at measured speeds (InferenceX)",
    ),
    DemoOffer(
        "wafer-1",
        "Wafer-scale cloud",
        ProviderKind.WAFER_SCALE,
        "cs3-cerebras-unknown-agg-n1",
        GPT_OSS,
        "gpt-oss-120b",
        "Emulated: wafer-scale engine at its seller's declared speed and price (Cerebras)",
        is_owned=False,
        tiers=frozenset({Tier.PREMIUM}),
    ),
    DemoOffer(
        "tuned-1",
        "Tuned-model cloud",
        ProviderKind.TUNED,
        "b200-vllm-fp4-agg-tp2ep1",
        TUNED,
        "acme-support",
        "Emulated: 2 × B200, vLLM, FP4, base with adapter, at measured speeds (InferenceX) × 1.15",
        slowdown=TUNED_SLOWDOWN,
    ),
)


def offered(offer: DemoOffer, profiles: Iterable[Profile]) -> Deployment:
    """The load curve that an offer follows.

    Raises:
        LookupError: the shipped profiles lack its deployment.
    """
    base = next(model.profiled_as for model in MODELS if model.name == offer.model)
    for found in deployments(profiles, base, ISL, OSL):
        if found.deployment_id == offer.deployment_id:
            return found if offer.slowdown == 1 else slowed(found, offer.slowdown)
    raise LookupError(f"no shipped profile of {base} at {ISL}/{OSL} runs on {offer.deployment_id}")


Curves = Mapping[str, tuple[DemoOffer, Deployment]]
"""Offers and the load curves they follow, by offer id."""


def curves(profiles: Iterable[Profile], providers: Iterable[str] | None = None) -> Curves:
    """The demo's offers with their load curves; only those of ``providers``, where given.

    Raises:
        LookupError: a provider that the demo does not have.
    """
    known = {offer.provider_id for offer in OFFERS}
    wanted = known if providers is None else set(providers)
    if unknown := wanted - known:
        raise LookupError(f"no demo provider {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    kept = tuple(profiles)
    return {offer.id: (offer, offered(offer, kept)) for offer in OFFERS if offer.provider_id in wanted}


def emulated_document(offers: Curves, ports: Mapping[str, int], host: str = "127.0.0.1") -> dict[str, Any]:
    """What ``python -m providers.emulated`` is told: one entry per offer, on the port of its id."""
    return {
        "deployments": [
            {
                "deployment_id": offer.id,
                "model": offer.backend_model,
                "host": host,
                "port": ports[offer_id],
                "context_max": CONTEXT_MAX,
                "label": offer.label,
                "stops_early": True,  # as a model does that has said what it had to say
                "seed": index,
                "engine": engine_document(deployment),
            }
            for index, (offer_id, (offer, deployment)) in enumerate(sorted(offers.items()), start=1)
        ]
    }


def engine_document(deployment: Deployment) -> dict[str, Any]:
    """How an emulated engine is told to follow a deployment: its load curve, or the speed its seller declares."""
    if deployment.price is not None:
        return spec_document(_declared(deployment))
    return {
        "kind": "load_curve",
        "concurrency": list(deployment.concurrency),
        "tpot_us": list(deployment.tpot_us),
        "ttft_us": list(deployment.ttft_us),
        "isl": round(deployment.points[0].isl_mean),
        "osl": round(deployment.points[0].osl_mean),
        "max_seqs": deployment.concurrency_max,
        "prefill_tok_s": deployment.prefill_tok_s,
    }


def _declared(deployment: Deployment) -> RemoteSpec:
    """A hosted service of which one speed is declared: it holds up to the concurrency declared with it."""
    speed_tok_s = US_PER_S / deployment.tpot_us[0]
    return remote_spec(
        speed_tok_s,
        speed_tok_s * deployment.concurrency_max,
        deployment.concurrency_max,
        ttft_base_us=deployment.ttft_base_us,
        prefill_tok_s=deployment.prefill_tok_s,
    )
