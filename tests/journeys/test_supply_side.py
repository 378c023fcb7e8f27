"""The supply side at work: a model of a customer's own, contracts that reconcile, credentials that are refused."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from openai import APIError, APIStatusError

from app import clock
from app.admin import supply_service as supply
from app.admin.supply_bodies import ApprovalBody, ContractBody, RatesBody
from app.audit.service import Actor
from app.cli.supply_rooms import Counter
from app.fleet.vault import Vault
from app.tuning.tuned import namespace_of
from tests.journeys.backend import Behaviour
from tests.journeys.stage import MODEL, Stage, opened

pytestmark = pytest.mark.slow

ACTOR = Actor("operator", "op_1")
RATES = RatesBody(input="0.10", output="0.40", cached="0.01")
SECRETS = ("sk-first-0123456789abcdef", "sk-second-0123456789abcdef")
HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def own_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("supply")
    with opened(folder, redis_url="memory://", secret_key="a stage's secret") as stage:
        yield stage


@pytest.fixture
def stage(own_stage: Stage) -> Stage:
    own_stage.reset()
    return own_stage


def counter(stage: Stage) -> Counter:
    return Counter(stage.assembly.market.database, Vault("a stage's secret"))


def refresh(stage: Stage) -> None:
    for room in (stage.assembly.market.audience, stage.assembly.market.shelf, stage.assembly.view):
        stage.run(room.refresh())


def complete(stage: Stage, model: str = MODEL, api_key: str | None = None, **more: Any) -> Any:
    create: Any = stage.client(api_key).chat.completions.create
    return create(model=model, messages=HELLO, **{"max_tokens": 5, **more})


def refusal(call: Callable[[], Any]) -> APIStatusError:
    with pytest.raises(APIStatusError) as refused:
        call()
    return refused.value


def tuned(stage: Stage, name: str, **approval: Any) -> str:
    """A tuned model of the stage's customer, asked for and approved; its public name."""
    body = {"name": name, "base_model": MODEL, "adapter": f"adapter-{name}", "requests_per_minute": 600}
    asked = stage.post("/v1/tuned_models", {**body, "concurrency": 8})
    assert asked["status"] == "requested"
    decision = ApprovalBody(offers=["p1/d1"], reason="welcome", price_factor="1.5", **approval)  # pyright: ignore[reportArgumentType]
    stage.run(supply.decide_tuned(counter(stage), ACTOR, asked["id"], decision))
    refresh(stage)
    return asked["model"]


def test_a_tuned_model_is_asked_for_approved_and_served_by_its_adapter_at_its_own_price(stage: Stage) -> None:
    model = tuned(stage, "bot", cost_factor="1.2", slowdown="1.15")
    assert model == f"{namespace_of(stage.customer_id)}/bot"
    answer = complete(stage, model)
    assert stage.backend.requests[-1]["model"] == "adapter-bot"
    assert answer.model == model
    receipt = stage.receipt(answer.id)
    assert receipt["model"] == model
    plain = complete(stage)
    assert stage.receipt(plain.id)["model"] == MODEL
    assert answer.usage.cost == pytest.approx(1.5 * plain.usage.cost)
    assert model in [each["id"] for each in stage.get("/v1/models")["data"]]
    assert stage.get("/v1/price_books/live")["cards_withheld"] == 0
    stage.check_books()


def test_to_everybody_else_a_tuned_model_does_not_exist(stage: Stage) -> None:
    model = tuned(stage, "secret-bot")
    _, stranger = stage.new_key(1_000_000_000)
    assert model not in [each["id"] for each in stage.get_as(stranger, "/v1/models")["data"]]
    book = stage.get_as(stranger, "/v1/price_books/live")
    assert model not in str(book)
    assert book["cards_withheld"] >= 3
    with stage.http() as client:
        assert model not in client.get("/v1/price_books/live", headers={"authorization": ""}).text
        headers = {"authorization": f"Bearer {stranger}"}
        for name in (model, f"{model}-that-never-was"):
            told = [
                client.get(f"/v1/models/{name}", headers=headers),
                client.post("/v1/quotes", headers=headers, json={"model": name, "input_tokens": 10}),
                client.post(
                    "/v1/chat/completions", headers=headers, json={"model": name, "messages": HELLO, "max_tokens": 5}
                ),
            ]
            assert {each.status_code for each in told} == {404}
            (words,) = {each.json()["error"]["message"] for each in told}
            assert words == f"The model '{name}' does not exist here. On sale: {MODEL}."
    assert stage.get_as(stranger, "/v1/tuned_models")["data"] == []


def test_another_customers_request_cannot_be_seen_or_withdrawn(stage: Stage) -> None:
    asked = stage.post("/v1/tuned_models", {"name": "mine", "base_model": MODEL, "adapter": "a"})
    _, stranger = stage.new_key(0)
    with stage.http() as client:
        headers = {"authorization": f"Bearer {stranger}"}
        assert client.get(f"/v1/tuned_models/{asked['id']}", headers=headers).status_code == 404
        assert client.post(f"/v1/tuned_models/{asked['id']}/withdraw", headers=headers).status_code == 404
        again = client.post("/v1/tuned_models", json={"name": "mine", "base_model": MODEL, "adapter": "a"})
        assert again.json()["error"]["code"] == "name_in_use"
        wrong = client.post("/v1/tuned_models", json={"name": "Not This", "base_model": MODEL, "adapter": "a"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "name")
        missing = client.post("/v1/tuned_models", json={"name": "b", "base_model": "no/base", "adapter": "a"})
        assert missing.status_code == 404
    assert stage.post(f"/v1/tuned_models/{asked['id']}/withdraw", {})["status"] == "withdrawn"


def test_a_missing_adapter_is_told_and_the_base_is_never_asked_in_its_place(stage: Stage) -> None:
    model = tuned(stage, "lost-bot")
    stage.backend.behaviour = Behaviour(fault="refuse_404")
    refused = refusal(lambda: complete(stage, model))
    assert (refused.status_code, refused.code) == (503, "model_unavailable")
    assert {request["model"] for request in stage.backend.requests} == {"adapter-lost-bot"}
    stage.check_books()


def test_a_cap_on_requests_a_minute_is_kept_to(stage: Stage) -> None:
    model = tuned(stage, "rare-bot", rpm=2)
    complete(stage, model)
    complete(stage, model)
    refused = refusal(lambda: complete(stage, model, service_tier="priority"))
    assert (refused.status_code, refused.code) == (429, "capacity_exceeded")
    complete(stage)  # the base has no such cap


def test_a_cap_on_requests_at_once_is_kept_to(stage: Stage) -> None:
    model = tuned(stage, "narrow-bot", concurrency=1)
    stage.backend.behaviour = Behaviour(ttft_s=1.0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(complete, stage, model)
        sleep(0.3)
        refused = refusal(lambda: complete(stage, model, service_tier="priority"))
        assert first.result(10).choices[0].message.content
    assert refused.code == "capacity_exceeded"


def test_a_withdrawn_model_is_gone_for_its_customer_too(stage: Stage) -> None:
    model = tuned(stage, "old-bot")
    [mine] = [each for each in stage.get("/v1/tuned_models")["data"] if each["model"] == model]
    stage.post(f"/v1/tuned_models/{mine['id']}/withdraw", {})
    refresh(stage)
    assert refusal(lambda: complete(stage, model)).status_code == 404
    assert model not in stage.assembly.view.fleet.offers


def test_what_a_statement_owes_is_what_the_ledger_has_as_payable(stage: Stage) -> None:
    backend = stage.add_provider("bought")
    body = ContractBody(usd_per_mtok=RATES, note="bought by the token")
    signed = stage.run(supply.sign_contract(counter(stage), ACTOR, "bought", body))
    stage.run(stage.assembly.view.refresh())
    stage.backend.behaviour = Behaviour(fault="refuse_500")
    backend.behaviour = Behaviour(tokens=7)
    for _ in range(6):
        complete(stage, max_tokens=7)
    period = (signed.starts_at_us, clock.now_us() + 1)
    told = stage.run(supply.provider_statement(counter(stage), "bought", period))
    (line,) = told["lines"]
    assert line["requests"] == 6
    assert line["owed_nano"] == line["at_rates_nano"] == str(6 * (10 * 100 + 7 * 400))
    assert told["ledger"] == {**told["ledger"], "payable_nano": line["owed_nano"], "drift_nano": "0"}
    stage.run(supply.end_contract(counter(stage), ACTOR, signed.id, None, "over"))
    stage.run(stage.assembly.view.refresh())
    assert "bought/d1" in stage.assembly.view.fleet.closed
    stage.run(supply.remove_deployment(counter(stage), ACTOR, "bought/d1", "over"))
    stage.run(stage.assembly.view.refresh())
    stage.check_books()


def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, "it never came to hold"
        sleep(0.05)


def test_a_refused_credential_takes_the_offer_out_and_a_new_one_brings_it_back_without_restart(stage: Stage) -> None:
    view = stage.assembly.view
    stage.run(supply.set_credential(counter(stage), ACTOR, "p1", SECRETS[0]))
    stage.run(view.refresh())
    stage.backend.behaviour = Behaviour(fault="refuse_401")
    refused = refusal(lambda: complete(stage))
    assert refused.status_code == 502
    assert "key" not in refused.message.lower()  # our own affair
    until(lambda: "credential refused" in view.troubles.get("p1/d1", ""))
    account = stage.run(supply.provider_details(counter(stage), "p1"))
    assert account["credential"]["state"] == "credential refused"
    stage.backend.behaviour = Behaviour()
    assert refusal(lambda: complete(stage)).status_code in {429, 503}
    assert len(stage.backend.requests) == 1  # it is not asked any more
    stage.run(supply.set_credential(counter(stage), ACTOR, "p1", SECRETS[1]))
    until(lambda: "p1/d1" not in view.fleet.closed)
    assert complete(stage).choices[0].message.content


def test_a_credential_revoked_in_mid_stream_is_told_in_band_and_nothing_is_billed(stage: Stage) -> None:
    before = stage.get("/v1/credits")["data"]
    stage.backend.behaviour = Behaviour(fault="error_event", after_tokens=2, error_code=401, tpot_s=0.02)
    with pytest.raises(APIError, match="failed in mid-answer"):
        for _ in complete(stage, stream=True):
            pass
    until(lambda: "credential refused" in stage.assembly.view.troubles.get("p1/d1", ""))
    assert stage.get("/v1/credits")["data"] == before
    stage.run(supply.remove_credential(counter(stage), ACTOR, "p1", "revoked"))
    until(lambda: "p1/d1" not in stage.assembly.view.fleet.closed)
    stage.check_books()
