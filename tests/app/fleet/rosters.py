"""Small fleets for tests."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from app.audit.service import Actor
from app.fleet.roster import Deployed, DeploymentSpec, State
from pricing.money import Rate
from pricing.usage import Rates
from providers.base import CompletionRequest, TokenChunk
from providers.spec import ProviderKind, ProviderSpec
from scheduler.fleet import SpeedCurve

ACTOR = Actor("operator", "op_1", "ada@example.com")
T0_US = 1_795_521_600_000_000
CURVE = SpeedCurve((1, 8, 64), (5_000.0, 8_000.0, 20_000.0), 40_000.0, 20_000.0)
B200 = DeploymentSpec(
    provider_id="cluster-b200",
    deployment_id="b200-trtllm-fp4-agg-tp2ep1",
    kind=ProviderKind.GPU_CLUSTER,
    model="open/one",
    base_url="http://127.0.0.1:9001/v1",
    backend_model="one",
    speed=CURVE,
    concurrency_max=64,
    context_max=131_072,
    cost=Rates(Rate(10_000), Rate(1_000), Rate(10_000), Rate(50_000)),
)
H100 = replace(
    B200, provider_id="cluster-h100", deployment_id="h100-vllm-fp8-agg-tp8", base_url="http://127.0.0.1:9002/v1"
)


def spec(provider_id: str, **changes: Any) -> DeploymentSpec:
    return replace(B200, provider_id=provider_id, **changes)


def deployed(
    given: DeploymentSpec = B200,
    state: State = State.ENABLED,
    provider_state: State = State.ENABLED,
    version: tuple[int, int] = (1, 1),
) -> Deployed:
    return Deployed(given, state, provider_state, given.provider_id.title(), version)


class FakeProvider:
    """Remembers what it was built from and whether it was closed."""

    def __init__(self, built_from: ProviderSpec) -> None:
        self.spec = built_from
        self.is_closed = False

    @property
    def id(self) -> str:
        return self.spec.id

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[TokenChunk]:
        yield TokenChunk(events=request.id.encode())

    async def probe(self) -> None:
        """Is always well."""

    async def close(self) -> None:
        self.is_closed = True
