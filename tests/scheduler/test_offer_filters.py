from pricing.slo import Tier
from scheduler import filters
from scheduler.jobs import Capability
from tests.scheduler.round_numbers import fleet, job, offer, oid

TOOLS = frozenset({Capability.TOOLS})


def test_an_offer_serves_only_the_tiers_it_sells() -> None:
    bulk_only = offer(tiers=frozenset({Tier.BULK}))
    assert filters.serves(bulk_only, Tier.BULK, frozenset())
    assert not filters.serves(bulk_only, Tier.PREMIUM, frozenset())


def test_an_offer_must_be_able_to_do_everything_that_is_needed() -> None:
    able = offer(capabilities=frozenset({Capability.TOOLS, Capability.LOGPROBS}))
    assert filters.serves(able, Tier.BULK, TOOLS)
    assert not filters.serves(able, Tier.BULK, frozenset({Capability.TOOLS, Capability.JSON_SCHEMA}))


def test_a_context_fits_up_to_its_last_token() -> None:
    assert filters.fits(offer(context_max=2_000), 2_000)
    assert not filters.fits(offer(context_max=2_000), 2_001)


def test_an_offer_is_not_open_to_a_job_it_failed_nor_to_any_while_closed() -> None:
    assert filters.is_open(offer("a"), fleet(), job())
    assert not filters.is_open(offer("a"), fleet(closed=frozenset({oid("a")})), job())
    assert not filters.is_open(offer("a"), fleet(), job(excluded=frozenset({"a/d"})))


def test_what_no_offer_can_do_is_named() -> None:
    some = offer(capabilities=TOOLS)
    other = offer(capabilities=frozenset({Capability.LOGPROBS}))
    assert filters.lacking([some, other], frozenset({Capability.TOOLS, Capability.JSON_SCHEMA})) == {
        Capability.JSON_SCHEMA
    }
