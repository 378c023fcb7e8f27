"""Planning's background work: days are metered, prices followed, pools proposed. Twice does it once."""

from celery import shared_task

from app.clock import now_us
from app.logs import get_logger
from app.worker import runtime

log = get_logger("app.planning")


@shared_task(name="planning.reprice")
def reprice() -> None:
    """One run of the repricer; what it may do says ``GOODPUT_REPRICE``."""
    from app.planning.repricer_store import Outcome, Reprice, reprice  # noqa: PLC0415 (it loads scipy)
    from app.planning.service import shipped  # noqa: PLC0415 (it loads scipy)

    mode = Reprice(runtime().settings.reprice)
    if mode is Reprice.OFF:
        return
    done = runtime().run(lambda database: reprice(database, shipped(), mode, now_us()))
    for model, why in done.troubles:
        log.warning("model.not_derived", model=model, why=why)
    tell = log.info if done.outcome in {Outcome.PUBLISHED, Outcome.PROPOSED} else log.debug
    tell("prices.compared", outcome=done.outcome, why=done.reason, book=done.book_id, draft=done.draft_id)


@shared_task(name="planning.meter")
def meter() -> None:
    """The return loop: every day that is over and was not metered."""
    from app.planning.loop_store import LoopRules, meter_days  # noqa: PLC0415 (it loads scipy)
    from app.planning.service import shipped  # noqa: PLC0415 (it loads scipy)

    settings = runtime().settings
    rules = LoopRules(counts_emulated=settings.count_emulated, answers_max=settings.metered_answers_max)
    for day in runtime().run(lambda database: meter_days(database, shipped, rules, now_us())):
        log.info("day.metered", **day.period.document(), answers=day.answers, inputs_moved=day.revisions)


@shared_task(name="planning.plan")
def plan() -> None:
    """A proposal of pools and ratios for the demand of the last days; nothing acts on it."""
    from app.planning.plan_store import propose_plan  # noqa: PLC0415 (it loads scipy)
    from app.planning.service import shipped  # noqa: PLC0415 (it loads scipy)

    days = runtime().settings.plan_days
    found = runtime().run(lambda database: propose_plan(database, shipped(), days, now_us()))
    log.info("plan.proposed", models=len(found.document["models"]), sequence=found.sequence)
