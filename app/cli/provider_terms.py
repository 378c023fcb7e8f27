"""``goodput providers credential | access | contract | statement``: what it is asked with, and what it is owed."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.option_set import takes

if TYPE_CHECKING:
    from app.cli.supply_rooms import Counter

credential = typer.Typer(help="A provider's credential: set, remove, reseal; never shown.", no_args_is_help=True)
contract = typer.Typer(help="Contracts with providers: add, end.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Why = Annotated[str, typer.Option("--reason", help="Why; it stands in the audit log.")]
Provider = Annotated[str, typer.Argument(help="The provider's id.")]
FromStdin = Annotated[bool, typer.Option("--credential-stdin", help="Read the credential from standard input.")]


def register(app: typer.Typer) -> None:
    """Adds these commands to ``goodput providers``."""
    app.add_typer(credential, name="credential")
    app.add_typer(contract, name="contract")
    app.command()(access)
    app.command()(statement)


@credential.command("set")
def set_credential(provider: Provider, credential_stdin: FromStdin = False, as_json: AsJson = False) -> None:
    """Give a provider a credential; a running market uses it within a second."""
    from app.admin.supply_service import set_credential as give
    from app.cli.supply_rooms import ACTOR, at_counter, read_secret, said
    from app.fleet.credential_store import shown

    secret = read_secret(is_from_stdin=credential_stdin)
    document = shown(at_counter(lambda counter: give(counter, ACTOR, provider, secret)))
    words = f"{provider} has a new credential: {document['prefix']}…, fingerprint {document['fingerprint']}."
    said(document, as_json=as_json, otherwise=words)


@credential.command("remove")
def remove_credential(provider: Provider, reason: Why = "by an operator", as_json: AsJson = False) -> None:
    """Take a provider's credential out of use and erase it."""
    from app.admin.supply_service import remove_credential as take
    from app.cli.supply_rooms import ACTOR, at_counter, said

    row = at_counter(lambda counter: take(counter, ACTOR, provider, reason))
    words = f"{provider} had no credential." if row is None else f"{provider}'s credential is erased."
    said({"id": provider, "is_removed": row is not None}, as_json=as_json, otherwise=words)


@credential.command()
def reseal(as_json: AsJson = False) -> None:
    """Seal every credential under the secret key in force; do it after changing GOODPUT_SECRET_KEY."""
    from app.admin.supply_service import written
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.fleet.credential_store import reseal as reseal_all

    async def work(counter: "Counter") -> int:
        return await written(counter, lambda session, now_us: reseal_all(session, counter.vault, ACTOR, now_us))

    count = at_counter(work)
    said({"resealed": count}, as_json=as_json, otherwise=f"{count} credentials were sealed anew.")


def access(
    provider: Provider,
    auth_header: Annotated[str | None, typer.Option(help="Header that carries the credential.")] = None,
    auth_scheme: Annotated[str | None, typer.Option(help="Word before it; '' for none.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="NAME=VALUE sent always; repeatable; no secrets.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how a provider wants to be asked, where that is not a bearer token in Authorization."""
    from app.admin.supply_bodies import AccessBody
    from app.admin.supply_service import set_access
    from app.cli.supply_rooms import ACTOR, at_counter, said

    body = AccessBody(auth_header=auth_header, auth_scheme=auth_scheme, headers=headers_of(header or []))
    changed = at_counter(lambda counter: set_access(counter, ACTOR, provider, body))
    words = f"{provider} is asked so from now on." if changed else f"{provider} was asked so already."
    said({"id": provider, "is_changed": changed}, as_json=as_json, otherwise=words)


def headers_of(given: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` each.

    Raises:
        Failure: one that is no such pair.
    """
    from app.cli.failure import Failure

    headers: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise Failure(f"--header {text!r}: expected NAME=VALUE, such as x-org=acme.")
        headers[name] = value
    return headers


@dataclass(frozen=True, slots=True)
class ContractOptions:
    """What ``goodput providers contract add`` is told."""

    provider: Provider
    model: Annotated[str, typer.Option(help="Public model; all without a contract of their own if empty.")] = ""
    input: Annotated[str | None, typer.Option(help="USD per million input tokens.")] = None
    output: Annotated[str | None, typer.Option(help="USD per million output tokens.")] = None
    cached: Annotated[str | None, typer.Option(help="USD per million cached input tokens; else as input.")] = None
    cache_write: Annotated[str | None, typer.Option(help="USD per million written to a cache; else as input.")] = None
    usd_per_hour: Annotated[str | None, typer.Option(help="For capacity by the hour, in place of rates.")] = None
    ttft_ms: Annotated[float | None, typer.Option(help="Promised time to first token.")] = None
    tpot_ms: Annotated[float | None, typer.Option(help="Promised time per token after it.")] = None
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None
    requests_max: Annotated[int | None, typer.Option(help="Requests over the whole term.")] = None
    tokens_max: Annotated[int | None, typer.Option(help="Tokens over the whole term.")] = None
    starts_at: Annotated[str | None, typer.Option(help="UTC date or time; now if left out.")] = None
    ends_at: Annotated[str | None, typer.Option(help="UTC date or time, not included; never if left out.")] = None
    note: Annotated[str, typer.Option(help="For the record.")] = ""
    as_json: AsJson = False


@contract.command("add")
@takes(ContractOptions)
def add_contract(options: ContractOptions) -> None:
    """Sign a contract: rates per token or USD an hour, a promise, quotas, a term."""
    from app.admin.supply_bodies import ContractBody
    from app.admin.supply_service import sign_contract
    from app.cli.failure import Failure
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.fleet.contract_store import contract_document

    names = ("model", "usd_per_hour", "rpm", "tpm", "requests_max", "tokens_max", "starts_at", "ends_at", "note")
    given: dict[str, Any] = {name: getattr(options, name) for name in names}
    if options.input is not None or options.output is not None:
        classes = ("input", "output", "cached", "cache_write")
        given["usd_per_mtok"] = {name: getattr(options, name) for name in classes}
    if options.ttft_ms is not None or options.tpot_ms is not None:
        given["promise"] = {"ttft_ms": options.ttft_ms, "tpot_ms": options.tpot_ms}
    try:
        body = ContractBody.model_validate(given)
    except ValueError as error:
        raise Failure(wrong(error)) from error
    document = contract_document(at_counter(lambda counter: sign_contract(counter, ACTOR, options.provider, body)))
    said(document, as_json=options.as_json, otherwise=f"Contract {document['id']} with {options.provider} is signed.")


@contract.command("end")
def end_contract(
    contract_id: Annotated[str, typer.Argument(help="The contract, ctr_….")],
    ends_at: Annotated[str | None, typer.Option(help="UTC date or time; now if left out.")] = None,
    reason: Why = "by an operator",
    as_json: AsJson = False,
) -> None:
    """End a contract sooner; what it covers is out from then on."""
    from app.admin.supply_bodies import read_moment
    from app.admin.supply_service import end_contract as end
    from app.cli.supply_rooms import ACTOR, at_counter, said
    from app.fleet.contract_store import contract_document

    at_us = None if ends_at is None else read_moment(ends_at)
    ended = at_counter(lambda counter: end(counter, ACTOR, contract_id, at_us, reason))
    said(contract_document(ended), as_json=as_json, otherwise=f"Contract {contract_id} is ended.")


def statement(
    provider: Provider,
    month: Annotated[str, typer.Option(help="2026-11; else --from and --until, else this month so far.")] = "",
    since: Annotated[str, typer.Option("--from", help="UTC date or time.")] = "",
    until: Annotated[str, typer.Option(help="UTC date or time, not included.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say what is owed to a provider for a period, and whether the ledger agrees."""
    from app.admin.supply_bodies import period_of
    from app.admin.supply_service import provider_statement
    from app.cli.supply_rooms import at_counter

    async def work(counter: "Counter") -> dict[str, Any]:
        period = period_of({"month": month, "from": since, "until": until}, counter.now_us())
        return await provider_statement(counter, provider, period)

    document = at_counter(work)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _print_statement(document)


def _print_statement(document: dict[str, Any]) -> None:
    from app.cli import tables
    from app.clock import from_us

    period = " – ".join(from_us(document[name]).strftime("%Y-%m-%d %H:%M") for name in ("from_us", "until_us"))
    numbers = ("requests", "in", "cached", "written", "out", "late", "disputed", "hours", "at rates $", "owed $")
    columns = [*tables.words("contract", "model"), *tables.numbers(*numbers)]
    found = tables.table(f"{document['name']} · {period} UTC", columns)
    for line in document["lines"]:
        tokens = [str(line["tokens"][name]) for name in ("input", "cached", "cache_write", "output")]
        counts = (str(line["tokens_late"]), str(line["answers_disputed"]), line["hours"] or "")
        ends = (*counts, line.get("at_rates_usd", ""), line["owed_usd"])
        found.add_row(line["contract_id"] or "none", line["model"] or "all", str(line["requests"]), *tokens, *ends)
    tables.show(found)
    typer.echo(f"owed ${document['owed_usd']}, claimed for lateness ${document['claim_usd']}: ${document['due_usd']}")
    ledger = document["ledger"]
    agrees = "the ledger agrees" if ledger["drift_nano"] == "0" else f"the ledger differs by ${ledger['drift_usd']}"
    typer.echo(f"{agrees} (payable ${ledger['payable_usd']})")


def wrong(error: ValueError) -> str:
    """What pydantic found wrong, one line per field; other errors as they are."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'options'}: {each['msg']}" for each in found)
