"""The operators' JSON API about what prices follow from: inputs and their history, and what the planner proposes."""

from typing import Annotated, Any

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler
from pydantic import BaseModel, ConfigDict, Field

from app.admin.auth import ROUTE_PERMISSION, AdminRequest, actor_of
from app.admin.desk import Desk
from app.admin.pages import read_number_cursor, rows_wanted
from app.admin.wire import Reason
from app.errors import MarketError
from app.identity.roles import Permission
from app.planning.input_rules import InputError
from app.planning.input_store import history, inputs_at, revision_document, set_input
from app.planning.inputs import KINDS, Revision, Source
from app.planning.plan_shelf_store import latest_plan, plan_row_document

RUNS_PRICES = {ROUTE_PERMISSION: Permission.RUN_PRICES}
Rows = Annotated[int | None, QueryParameter(ge=1, le=1000, description="rows of a page; cut at the market's maximum")]
After = Annotated[str, QueryParameter(max_length=100, description="the `next` of the page before")]
Text = Annotated[str, QueryParameter(max_length=300)]
Moment = Annotated[int | None, QueryParameter(ge=0, le=2**53, description="a moment, µs since the epoch; else now")]
TheDesk = NamedDependency[Desk]
Document = dict[str, Any]


class InputBody(BaseModel):
    """A revision of one input."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str = Field(min_length=1, max_length=300)
    name: str = Field(min_length=1, max_length=64)
    value: Any = Field(description="JSON; null withdraws the input")
    reason: Reason
    effective_at_us: int | None = Field(default=None, ge=0, le=2**53, description="µs since the epoch; else at once")
    is_pinned: bool = Field(default=True, description="the return loop leaves it alone")


class InputRefused(MarketError):
    """An input that does not exist, or a value outside its range."""


@get("/inputs", operation_id="list_inputs", summary="Every input of derivation in force, with its evidence")
async def inputs(desk: TheDesk, at_us: Moment = None) -> Document:
    """At a past moment: what applied then; at a moment to come: what is scheduled."""
    async with desk.database.reading() as session:
        found = (await inputs_at(session, desk.now_us() if at_us is None else at_us)).revisions
    return {"object": "list", "data": [revision_document(found[key]) for key in sorted(found)]}


@get("/inputs/known", operation_id="list_known_inputs", summary="Every input there is, with its range")
async def known_inputs() -> Document:
    """What each means, and whose it may be."""
    rows = [
        {
            "name": kind.name,
            "subjects": sorted(kind.subjects),
            "meaning": kind.meaning,
            "allowed": kind.rule.allowed,
        }
        for kind in KINDS.values()
    ]
    return {"object": "list", "data": rows}


@get("/inputs/history", operation_id="list_input_revisions", summary="Revisions of inputs, newest first")
async def input_history(
    desk: TheDesk, after: After = "", limit: Rows = None, subject: Text = "", name: Text = ""
) -> Document:
    """Who set what when, and on what evidence; filters are exact."""
    rows_max = rows_wanted(limit, desk.settings.page_rows_max)
    async with desk.database.reading() as session:
        rows = await history(session, subject, name, rows_max + 1, before_sequence=read_number_cursor(after))
    has_more = len(rows) > rows_max
    shown = rows[:rows_max]
    following = str(shown[-1].sequence) if has_more else None
    return {
        "object": "list",
        "data": [revision_document(each) for each in shown],
        "has_more": has_more,
        "next": following,
    }


@post("/inputs", operation_id="set_input", summary="Set an input from now on", status_code=201, opt=RUNS_PRICES)
async def set_one(request: AdminRequest, desk: TheDesk, data: JSONBody[InputBody]) -> Document:
    """Or from a moment to come; what was in force until then stays in the history."""
    now_us = desk.now_us()
    moment = now_us if data.effective_at_us is None else data.effective_at_us
    if moment < now_us:
        raise InputRefused(
            400, "moment_passed", f"effective_at_us {moment} has passed, it is {now_us}: a revision is never backdated."
        )
    wanted = Revision(
        subject=data.subject,
        name=data.name,
        value=data.value,
        source=Source.OPERATOR,
        effective_at_us=moment,
        created_at_us=now_us,
        actor="",
        reason=data.reason,
        evidence={},
        is_pinned=data.is_pinned,
    )
    try:
        async with desk.database.writing() as session:
            stored = await set_input(session, wanted, actor_of(request))
    except InputError as error:
        raise InputRefused(400, "invalid_input", str(error), param="value") from error
    return {} if stored is None else revision_document(stored)


@get("/plan", operation_id="get_plan", summary="The plan proposed last")
async def plan(desk: TheDesk) -> Document:
    """Pools and prefill : decode ratios for the metered demand; nothing acts on it. 404 before the first."""
    async with desk.database.reading() as session:
        return plan_row_document(await latest_plan(session))


def planning_routes() -> list[ControllerRouterHandler]:
    """Everything under ``/admin`` about inputs and plans."""
    return [inputs, known_inputs, input_history, set_one, plan]
