"""A customer's own models: ask for one, see what became of it, give it up."""

from typing import Annotated, Any

import msgspec
from litestar import Request, get, post
from litestar.params import FromPath

from app import clock
from app.audit.service import Actor
from app.errors import MarketError
from app.gateway.errors import invalid
from app.gateway.market import Market
from app.identity.caller import Caller
from app.tuning import repository, service
from app.tuning.models import TunedModelRow
from app.tuning.service import tuned_document
from app.tuning.tuned import Serving, TunedError, Wish

ApiRequest = Request[Any, Any, Any]
MODELS_SHOWN_MAX = 200


class TunedRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a tuned model is asked for as.

    Attributes:
        name: the customer's own; the public name is this in their namespace.
        base_model: a model on sale.
        adapter: the engine's name of the adapter.
        source: where its weights come from.
        serving: ``shared`` or ``dedicated``.
        requests_per_minute, concurrency: how much of it they want to use.
    """

    name: str
    base_model: str
    adapter: str
    source: str = ""
    serving: str = "shared"
    requests_per_minute: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)] = 600
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 16


def read_wish(body: bytes) -> Wish:
    """Reads the body of ``POST /v1/tuned_models``.

    Raises:
        MarketError: 400 that names the field.
    """
    try:
        asked = msgspec.json.decode(body, type=TunedRequest)
    except msgspec.DecodeError as error:
        raise invalid(None, f"Invalid request for a tuned model: {error}.") from error
    if asked.serving not in set(Serving):
        raise invalid("serving", f"'serving' is {' or '.join(Serving)}, got '{asked.serving[:64]}'.")
    try:
        return Wish(
            name=asked.name,
            base_model=asked.base_model,
            adapter=asked.adapter,
            source=asked.source,
            serving=Serving(asked.serving),
            rpm=asked.requests_per_minute,
            concurrency=asked.concurrency,
        )
    except TunedError as error:
        raise invalid(str(error).partition(":")[0], f"{error}.") from error


def tuned_routes(market: Market) -> list[Any]:
    """``/v1/tuned_models``."""

    async def caller_of(request: ApiRequest) -> Caller:
        return await market.authenticator.authenticate(
            request.headers.get("authorization"), request.headers.get("x-api-key")
        )

    @post("/tuned_models", status_code=201, operation_id="createTunedModel", summary="Ask for a model of your own")
    async def create(request: ApiRequest) -> dict[str, Any]:
        caller = await caller_of(request)
        wish = read_wish(await request.body())
        async with market.database.writing() as session:
            row = await service.request_model(
                session, caller.customer_id, wish, _actor(caller, request), clock.now_us()
            )
        return tuned_document(row)

    @get("/tuned_models", operation_id="listTunedModels", summary="Your models and requests, newest first")
    async def list_own(request: ApiRequest) -> dict[str, Any]:
        caller = await caller_of(request)
        async with market.database.reading() as session:
            rows = await repository.tuned_models(session, caller.customer_id)
        shown = [tuned_document(row) for row in rows[:MODELS_SHOWN_MAX]]
        return {"object": "list", "data": shown, "has_more": len(rows) > MODELS_SHOWN_MAX}

    @get("/tuned_models/{model_id:str}", operation_id="getTunedModel", summary="One of your models")
    async def get_own(request: ApiRequest, model_id: FromPath[str]) -> dict[str, Any]:
        caller = await caller_of(request)
        async with market.database.reading() as session:
            row = await session.get(TunedModelRow, model_id)
        if row is None or row.customer_id != caller.customer_id:
            raise MarketError(
                404, "tuned_model_not_found", f"There is no tuned model '{model_id[:128]}' of yours.", param="id"
            )
        return tuned_document(row)

    @post(
        "/tuned_models/{model_id:str}/withdraw",
        status_code=200,
        operation_id="withdrawTunedModel",
        summary="Give up a model of yours",
    )
    async def withdraw_own(request: ApiRequest, model_id: FromPath[str]) -> dict[str, Any]:
        caller = await caller_of(request)
        actor = _actor(caller, request)
        async with market.database.writing() as session:
            row = await service.withdraw_model(
                session, model_id, "withdrawn by its customer", actor, clock.now_us(), customer_id=caller.customer_id
            )
        return tuned_document(row)

    return [create, list_own, get_own, withdraw_own]


def _actor(caller: Caller, request: ApiRequest) -> Actor:
    address = request.client.host if request.client is not None else ""
    return Actor("customer", caller.customer_id, caller.key_label, address, str(request.state.get("request_id", "")))
