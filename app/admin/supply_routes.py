"""The operators' JSON API about supply: accounts, credentials, deployments, contracts, statements, tuned models."""

import os
from collections.abc import Mapping
from typing import Any, Literal

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from app.admin import supply_service as supply
from app.admin.auth import ROUTE_PERMISSION, AdminRequest, actor_of
from app.admin.desk import Desk
from app.admin.supply_bodies import (
    AccessBody,
    ApprovalBody,
    ContractBody,
    CredentialBody,
    DecisionBody,
    DeploymentBody,
    EndBody,
    ProviderBody,
    period_of,
    read_moment,
)
from app.admin.wire import ProviderStateBody, ReasonBody
from app.clock import monotonic_us
from app.fleet import credential_store
from app.fleet.contract_store import contract_document
from app.fleet.live_client import LiveClients
from app.fleet.roster import State
from app.fleet.service import StateChange
from app.identity.roles import Permission
from app.tuning.repository import tuned_models
from app.tuning.service import tuned_document

RUNS_FLEET = {ROUTE_PERMISSION: Permission.RUN_FLEET}
STATES: Mapping[str, State] = {"enable": State.ENABLED, "drain": State.DRAINING, "disable": State.DISABLED}
TheDesk = NamedDependency[Desk]
Id = FromPath[str]
Document = dict[str, Any]


@post("/providers", operation_id="add_provider", summary="Register or rename a provider", opt=RUNS_FLEET)
async def add_provider(request: AdminRequest, desk: TheDesk, data: JSONBody[ProviderBody]) -> Document:
    """Its deployments, credential and contracts follow."""
    account = await supply.add_provider(desk, actor_of(request), data)
    return {"id": account.id, "name": account.name, "state": account.state, "version": account.version}


@get("/providers/{provider_id:str}", operation_id="get_provider", summary="A provider's account")
async def provider(desk: TheDesk, provider_id: Id) -> Document:
    """Access, contracts, and of the credential its prefix, fingerprint and state."""
    return await supply.provider_details(desk, provider_id)


@post(
    "/providers/{provider_id:str}/remove",
    operation_id="remove_provider",
    summary="Take a provider out that runs nothing any more",
    status_code=200,
    opt=RUNS_FLEET,
)
async def remove_provider(
    request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[ReasonBody]
) -> Document:
    """409 while it runs something."""
    await supply.remove_provider(desk, actor_of(request), provider_id, data.reason)
    return {"id": provider_id, "is_removed": True}


@post(
    "/providers/{provider_id:str}/access",
    operation_id="set_provider_access",
    summary="How a provider wants to be asked",
    status_code=200,
    opt=RUNS_FLEET,
)
async def set_access(request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[AccessBody]) -> Document:
    """Header and scheme of the credential, and headers sent with every request."""
    changed = await supply.set_access(desk, actor_of(request), provider_id, data)
    return {"id": provider_id, "is_changed": changed}


@post(
    "/providers/{provider_id:str}/credential",
    operation_id="set_provider_credential",
    summary="Give a provider a credential; it is never shown again",
    status_code=200,
    opt=RUNS_FLEET,
)
async def set_credential(
    request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[CredentialBody]
) -> Document:
    """Gateways use it within a second."""
    secret = data.secret.get_secret_value()
    return credential_store.shown(await supply.set_credential(desk, actor_of(request), provider_id, secret))


@post(
    "/providers/{provider_id:str}/credential/remove",
    operation_id="remove_provider_credential",
    summary="Take a provider's credential out of use",
    status_code=200,
    opt=RUNS_FLEET,
)
async def remove_credential(
    request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[ReasonBody]
) -> Document:
    """What is sealed is erased."""
    row = await supply.remove_credential(desk, actor_of(request), provider_id, data.reason)
    return {"id": provider_id, "is_removed": row is not None}


@post(
    "/providers/{provider_id:str}/deployments",
    operation_id="add_deployment",
    summary="Register a deployment",
    opt=RUNS_FLEET,
)
async def add_deployment(
    request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[DeploymentBody]
) -> Document:
    """Registering it again changes what differs."""
    row = await supply.add_deployment(desk, actor_of(request), provider_id, data)
    return {"id": row.id, "state": row.state, "version": row.version}


@post(
    "/providers/{provider_id:str}/deployments/{deployment_id:str}/{verb:str}",
    operation_id="set_deployment_state",
    summary="Enable, drain or disable one deployment",
    status_code=200,
    opt=RUNS_FLEET,
)
async def set_deployment_state(
    request: AdminRequest,
    desk: TheDesk,
    provider_id: Id,
    deployment_id: Id,
    verb: FromPath[Literal["enable", "drain", "disable"]],
    data: JSONBody[ProviderStateBody],
) -> Document:
    """Gateways follow within a second; requests that run finish."""
    change = StateChange(STATES[verb], data.reason, data.version)
    row = await supply.set_deployment_state(desk, actor_of(request), f"{provider_id}/{deployment_id}", change)
    return {"id": row.id, "state": row.state, "version": row.version}


@post(
    "/providers/{provider_id:str}/deployments/{deployment_id:str}/remove",
    operation_id="remove_deployment",
    summary="Take a deployment out of the fleet",
    status_code=200,
    opt=RUNS_FLEET,
)
async def remove_deployment(
    request: AdminRequest, desk: TheDesk, provider_id: Id, deployment_id: Id, data: JSONBody[ReasonBody]
) -> Document:
    """What runs there finishes."""
    offer_id = f"{provider_id}/{deployment_id}"
    await supply.remove_deployment(desk, actor_of(request), offer_id, data.reason)
    return {"id": offer_id, "is_removed": True}


@post(
    "/providers/{provider_id:str}/deployments/{deployment_id:str}/probe",
    operation_id="probe_deployment",
    summary="One health request to a deployment",
    status_code=200,
    opt=RUNS_FLEET,
)
async def probe_deployment(desk: TheDesk, provider_id: Id, deployment_id: Id) -> Document:
    """Well or not, and why; 200 either way."""
    clients = LiveClients(os.environ, vault=desk.vault)
    return await supply.probe(desk, f"{provider_id}/{deployment_id}", clients, monotonic_us)


@post(
    "/providers/{provider_id:str}/contracts",
    operation_id="sign_contract",
    summary="Sign a contract with a provider",
    opt=RUNS_FLEET,
)
async def sign_contract(
    request: AdminRequest, desk: TheDesk, provider_id: Id, data: JSONBody[ContractBody]
) -> Document:
    """By the token or by the hour; it governs cost, quota and term of what it covers."""
    return contract_document(await supply.sign_contract(desk, actor_of(request), provider_id, data))


@post(
    "/contracts/{contract_id:str}/end",
    operation_id="end_contract",
    summary="End a contract sooner",
    status_code=200,
    opt=RUNS_FLEET,
)
async def end_contract(request: AdminRequest, desk: TheDesk, contract_id: Id, data: JSONBody[EndBody]) -> Document:
    """Offers that it covers are out from then on."""
    at_us = None if data.ends_at is None else read_moment(data.ends_at)
    return contract_document(await supply.end_contract(desk, actor_of(request), contract_id, at_us, data.reason))


@get(
    "/providers/{provider_id:str}/statement",
    operation_id="get_provider_statement",
    summary="What is owed to a provider for a period",
)
async def provider_statement(request: AdminRequest, desk: TheDesk, provider_id: Id) -> Document:
    """``month=2026-11``, or ``from`` and ``until`` as UTC dates or times; else this month so far."""
    return await supply.provider_statement(desk, provider_id, period_of(request.query_params, desk.now_us()))


@get("/usage_disputes", operation_id="list_usage_disputes", summary="Answers whose token counts were not believed")
async def usage_disputes(request: AdminRequest, desk: TheDesk) -> Document:
    """Newest first, as many as a page has; ``provider_id`` filters."""
    given = request.query_params.get("provider_id", "")
    rows = await supply.usage_disputes(desk, given, desk.settings.page_rows_max)
    return {"object": "list", "data": rows, "has_more": False, "next": None}


@get("/tuned_models", operation_id="list_tuned_models", summary="Customers' tuned models, newest first")
async def list_tuned(request: AdminRequest, desk: TheDesk) -> Document:
    """Filters: ``customer_id``, ``status``."""
    given = request.query_params
    async with desk.database.reading() as session:
        rows = await tuned_models(session, given.get("customer_id", ""), given.get("status", ""))
    shown = [{**tuned_document(row), "customer_id": row.customer_id} for row in rows]
    return {"object": "list", "data": shown, "has_more": False, "next": None}


@post(
    "/tuned_models/{model_id:str}/approve",
    operation_id="approve_tuned_model",
    summary="Serve a tuned model to its customer",
    status_code=200,
    opt=RUNS_FLEET,
)
async def approve_tuned(request: AdminRequest, desk: TheDesk, model_id: Id, data: JSONBody[ApprovalBody]) -> Document:
    """Its deployments are registered and it is on sale to its customer alone."""
    row = await supply.decide_tuned(desk, actor_of(request), model_id, data)
    return {**tuned_document(row), "customer_id": row.customer_id}


@post(
    "/tuned_models/{model_id:str}/refuse",
    operation_id="refuse_tuned_model",
    summary="Refuse a tuned model",
    status_code=200,
    opt=RUNS_FLEET,
)
async def refuse_tuned(request: AdminRequest, desk: TheDesk, model_id: Id, data: JSONBody[DecisionBody]) -> Document:
    """The customer is told why."""
    return tuned_document(await supply.decide_tuned(desk, actor_of(request), model_id, data.reason, data.version))


@post(
    "/tuned_models/{model_id:str}/withdraw",
    operation_id="withdraw_tuned_model",
    summary="Take a tuned model off sale",
    status_code=200,
    opt=RUNS_FLEET,
)
async def withdraw_tuned(request: AdminRequest, desk: TheDesk, model_id: Id, data: JSONBody[ReasonBody]) -> Document:
    """Requests that run finish."""
    return tuned_document(await supply.withdraw_tuned(desk, actor_of(request), model_id, data.reason))


def supply_handlers() -> list[ControllerRouterHandler]:
    """Everything about supply under ``/admin``."""
    accounts = [add_provider, provider, remove_provider, set_access, set_credential, remove_credential]
    deployments = [add_deployment, set_deployment_state, remove_deployment, probe_deployment]
    tuned = [list_tuned, approve_tuned, refuse_tuned, withdraw_tuned]
    return [*accounts, *deployments, sign_contract, end_contract, provider_statement, usage_disputes, *tuned]
