"""``goodput providers list | show | drain | enable | disable | remove | probe``: what runs, and whether it may."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from app.cli.supply_rooms import Counter
    from app.fleet.roster import State

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit log.")]
Who = Annotated[str, typer.Argument(help="A provider (acme), or one deployment of it (acme/api-1).")]
Provider = Annotated[str, typer.Argument(help="The provider's id.")]
Offer = Annotated[str, typer.Argument(help="PROVIDER/DEPLOYMENT.")]
UNWELL: Final = 3
"""The status of a probe that failed."""
BY_OPERATOR: Final = "by an operator at a terminal"


def register(app: typer.Typer) -> None:
    """Adds these commands to ``goodput providers``."""
    app.command("list")(list_providers)
    for command in (show, drain, enable, disable, remove, probe):
        app.command()(command)


def list_providers(as_json: AsJson = False) -> None:
    """List every provider and what it runs: state, standing, contract, credential."""
    from app.cli.supply_rooms import at_counter

    rows = at_counter(_rows)
    if as_json:
        typer.echo(json.dumps({"object": "list", "data": rows}))
        return
    from app.cli import tables

    columns = [
        *tables.words("deployment"),
        *tables.wide("model"),
        *tables.words("state"),
        *tables.numbers("at once", "in $/M", "out $/M"),
    ]
    found = tables.table(f"{len(rows)} deployments", columns)
    for row in rows:
        cost = row["cost_usd_per_mtok"]
        figures = (str(row["concurrency_max"]), cost["input"], cost["output"])
        found.add_row(row["id"], row["model"], row["state"], *figures)
    tables.show(found)
    for row in rows:
        said = [f"{name} {row[name]}" for name in ("contract", "credential", "trouble") if row[name]]
        if said:
            typer.echo(f"{row['id']}: {'; '.join(said)}")


async def _rows(counter: "Counter") -> list[dict[str, Any]]:
    import os

    from app.fleet.credential_store import state_of
    from app.fleet.live_client import LiveClients
    from app.fleet.repository import read_roster
    from app.fleet.supply_store import credentials_in_use
    from pricing.money import format_usd_per_mtok

    now_us = counter.now_us()
    async with counter.database.reading() as session:
        roster = await read_roster(session, now_us)
        credentials = await credentials_in_use(session)
    clients = LiveClients(os.environ, vault=counter.vault)
    troubles = {**roster.troubles, **clients.update(roster.deployed, now_us)}
    await clients.close()
    rows: list[dict[str, Any]] = []
    for each in roster.deployed:
        spec, row = each.spec, credentials.get(each.spec.provider_id)
        stored = "" if row is None else f"{row.prefix}… {row.fingerprint} {state_of(row)}"
        cost = {name.value: format_usd_per_mtok(rate) for name, rate in spec.cost.by_class().items()}
        rows.append(
            {
                "id": each.id,
                "provider_id": spec.provider_id,
                "model": spec.model,
                "kind": spec.kind,
                "base_url": spec.base_url,
                "state": each.decided.value,
                "concurrency_max": spec.concurrency_max,
                "cost_usd_per_mtok": cost,
                "is_owned": spec.is_owned,
                "is_emulated": spec.is_emulated,
                "contract": each.contract.id if each.contract else "",
                "credential": f"${spec.api_key_env}" if spec.api_key_env else stored,
                "trouble": each.trouble or troubles.get(each.id, ""),
            }
        )
    lost = sorted(troubles.keys() - {each.id for each in roster.deployed})
    return [*rows, *({"id": name, **_UNREADABLE, "trouble": troubles[name]} for name in lost)]


_UNREADABLE: Final[dict[str, Any]] = {
    **dict.fromkeys(("provider_id", "model", "kind", "base_url", "contract", "credential"), ""),
    "state": "unreadable",
    "concurrency_max": 0,
    "cost_usd_per_mtok": {"input": "", "cached": "", "cache_write": "", "output": ""},
    "is_owned": False,
    "is_emulated": False,
}


def show(provider: Provider, as_json: AsJson = False) -> None:
    """Show a provider's account: how it is asked, its credential's fingerprint, its contracts and deployments."""
    from app.admin.supply_service import provider_details
    from app.cli.supply_rooms import at_counter

    async def work(counter: "Counter") -> dict[str, Any]:
        details = await provider_details(counter, provider)
        runs = [row for row in await _rows(counter) if row["id"].partition("/")[0] == provider]
        return {**details, "deployments": runs}

    document = at_counter(work)
    if as_json:
        typer.echo(json.dumps(document))
        return
    from app.cli.terminal import answer

    credential = document["credential"]
    shown = "none" if credential is None else " ".join(credential[name] for name in ("prefix", "fingerprint", "state"))
    plain = {name: document[name] for name in ("id", "name", "state")}
    answer({**plain, "credential": shown, "access": json.dumps(document["access"])}, as_json=False)
    for name in ("contracts", "deployments"):
        if document[name]:
            typer.echo("")
            answer([_flat(row) for row in document[name]], as_json=False)


def _flat(row: dict[str, Any]) -> dict[str, str]:
    if "basis" in row:
        rates = row["usd_per_mtok"]
        price = f"${row['usd_per_hour']}/h" if rates is None else f"${rates['input']} in, ${rates['output']} out /M"
        return {"contract": row["id"], "model": row["model"] or "all", "price": price, "ends": _day(row["ends_at_us"])}
    return {"deployment": row["id"], "model": row["model"], "state": row["state"], "trouble": row["trouble"] or "-"}


def _day(at_us: int | None) -> str:
    from app.clock import from_us

    return "never" if at_us is None else from_us(at_us).isoformat(timespec="minutes")


def drain(who: Who, reason: Why = BY_OPERATOR, as_json: AsJson = False) -> None:
    """Let a provider or deployment finish what runs, and give it nothing new."""
    from app.fleet.roster import State

    _set_state(who, State.DRAINING, reason, as_json=as_json)


def enable(who: Who, reason: Why = BY_OPERATOR, as_json: AsJson = False) -> None:
    """Give a provider or deployment work again; a refused credential counts as mended."""
    from app.fleet.roster import State

    _set_state(who, State.ENABLED, reason, as_json=as_json)


def disable(who: Who, reason: Why = BY_OPERATOR, as_json: AsJson = False) -> None:
    """Give a provider or deployment nothing until it is enabled."""
    from app.fleet.roster import State

    _set_state(who, State.DISABLED, reason, as_json=as_json)


def _set_state(who: str, state: "State", reason: str, *, as_json: bool) -> None:
    from app.admin.supply_service import set_deployment_state, written
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.fleet.service import StateChange, change_provider_state

    async def work(counter: "Counter") -> dict[str, Any]:
        change = StateChange(state, reason)
        if "/" in who:
            row: Any = await set_deployment_state(counter, ACTOR, who, change)
        else:
            row = await written(counter, lambda *at: change_provider_state(at[0], who, change, ACTOR, at[1]))
        return {"id": row.id, "state": row.state, "version": row.version}

    document = at_counter(work)
    said(document, as_json=as_json, otherwise=f"{document['id']} is {document['state']}.")


def remove(who: Who, reason: Why = BY_OPERATOR, as_json: AsJson = False) -> None:
    """Take a deployment out of the fleet, or a provider that runs nothing any more; what runs finishes."""
    from app.admin.supply_service import remove_deployment, remove_provider
    from app.cli.supply_rooms import ACTOR, at_counter, said

    removes = remove_deployment if "/" in who else remove_provider
    at_counter(lambda counter: removes(counter, ACTOR, who, reason))
    said({"id": who, "is_removed": True}, as_json=as_json, otherwise=f"{who} is removed.")


def probe(offer: Offer, as_json: AsJson = False) -> None:
    """Make one health request to a deployment and say what came of it; the status is 3 when it is not well."""
    import os

    from app.admin.supply_service import probe as probe_once
    from app.cli.supply_rooms import at_counter, said
    from app.clock import monotonic_us
    from app.fleet.live_client import LiveClients

    async def work(counter: "Counter") -> dict[str, Any]:
        return await probe_once(counter, offer, LiveClients(os.environ, vault=counter.vault), monotonic_us)

    found = at_counter(work)
    state = "is well" if found["is_well"] else f"is not well: {found['trouble']}"
    said(found, as_json=as_json, otherwise=f"{offer} {state} ({found['took_ms']} ms)")
    if not found["is_well"]:
        raise typer.Exit(UNWELL)
