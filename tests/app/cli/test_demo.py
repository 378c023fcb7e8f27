import pytest

from app.cli import demo
from pricing.profiles import Basis, Deployment, Profile
from pricing.shipped import shipped_profiles
from pricing.slo import Tier
from providers.emulated.spec import read_deployments
from providers.engine_model.spec import BatchSpec, RemoteSpec
from providers.spec import ProviderKind

Offers = dict[str, tuple[demo.DemoOffer, Deployment]]


@pytest.fixture(scope="module")
def profiles() -> tuple[Profile, ...]:
    return shipped_profiles()


@pytest.fixture(scope="module")
def offers(profiles: tuple[Profile, ...]) -> Offers:
    return {offer.id: (offer, demo.offered(offer, profiles)) for offer in demo.OFFERS}


def test_every_emulated_offer_says_that_it_is(offers: Offers) -> None:
    assert all(offer.label.startswith("Emulated: ") for offer, _ in offers.values())


def test_what_is_declared_is_called_declared_and_what_is_measured_measured(offers: Offers) -> None:
    for offer, deployment in offers.values():
        word = "declared" if deployment.basis is Basis.DECLARED else "measured"
        assert word in offer.label, offer.id


def test_the_wafer_is_bought_by_the_token_and_serves_premium_alone(offers: Offers) -> None:
    (wafer, deployment) = next(pair for pair in offers.values() if pair[0].kind is ProviderKind.WAFER_SCALE)
    assert not wafer.is_owned
    assert deployment.price is not None
    assert wafer.tiers == frozenset({Tier.PREMIUM})


def test_each_emulated_engine_follows_its_deployment(offers: Offers) -> None:
    ports = {offer_id: 9000 + number for number, offer_id in enumerate(sorted(offers))}
    emulated = {each.deployment_id: each for each in read_deployments(demo.emulated_document(offers, ports))}
    assert {offer_id: each.port for offer_id, each in emulated.items()} == ports
    for offer_id, (_, deployment) in offers.items():
        engine = emulated[offer_id].engine
        match engine:
            case RemoteSpec():
                assert engine.token_ps(1) == pytest.approx(deployment.tpot_us[0] * 1e6, rel=1e-6)
                assert engine.token_ps(64) == pytest.approx(deployment.tpot_us[-1] * 1e6, rel=1e-6)
            case BatchSpec():
                assert engine.max_seqs == deployment.concurrency_max
                alone_us = engine.base_table()[deployment.concurrency[0]] / 1e6
                # prefill of others' prompts is in the measured figure and not in the bare step
                assert 0.5 * deployment.tpot_us[0] < alone_us <= deployment.tpot_us[0] * 1.01


def test_a_tuned_model_is_slower_than_its_base_by_the_adapters_work(
    offers: Offers, profiles: tuple[Profile, ...]
) -> None:
    offer, deployment = offers["tuned-1/b200-vllm-fp4-agg-tp2ep1"]
    plain = demo.DemoOffer(
        offer.provider_id, offer.provider_name, offer.kind, offer.deployment_id, demo.GPT_OSS, "x", "Emulated: x"
    )
    base = demo.offered(plain, profiles)
    assert deployment.tpot_us == pytest.approx([1.15 * value for value in base.tpot_us])


def test_an_offer_that_no_profile_carries_is_refused_by_name(profiles: tuple[Profile, ...]) -> None:
    offer = demo.DemoOffer("x", "X", ProviderKind.GPU_CLUSTER, "b300-none", demo.GPT_OSS, "x", "Emulated: x")
    with pytest.raises(LookupError, match="no shipped profile of gpt-oss-120b at 8192/1024 runs on b300-none"):
        demo.offered(offer, profiles)
