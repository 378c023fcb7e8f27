"""What would follow from an operator's click, in words and numbers, before it is made; pure."""

from collections.abc import Sequence

from app.console.panels import ProviderPanel
from app.console.shapes import count, percent
from pricing.slo import Tier

VERBS = {"drain": "Drain", "enable": "Enable", "disable": "Disable"}


def consequences(verb: str, provider_id: str, providers: Sequence[ProviderPanel]) -> tuple[str, ...]:
    """Sentences that say what draining, disabling or enabling a provider changes."""
    chosen = next(panel for panel in providers if panel.account.id == provider_id)
    if verb == "enable":
        return (
            f"It takes new work within a second, up to {count(chosen.capacity)} requests at once.",
            *_shares(chosen, providers, "becomes available again"),
        )
    noun = "request" if chosen.in_flight == 1 else "requests"
    first = f"{count(chosen.in_flight)} in-flight {noun} will finish; no new work goes there."
    return (first, *_shares(chosen, providers, "goes away"), *_orphans(chosen, providers))


def _shares(chosen: ProviderPanel, providers: Sequence[ProviderPanel], becomes: str) -> list[str]:
    sentences: list[str] = []
    for tier in Tier:
        mine = _capacity([chosen], tier)
        others = _capacity([panel for panel in providers if panel is not chosen and _is_taking(panel)], tier)
        if mine:
            sentences.append(
                f"{percent(mine, mine + others)} of {tier.value} capacity {becomes} ({count(mine)} at once)."
            )
    return sentences


def _orphans(chosen: ProviderPanel, providers: Sequence[ProviderPanel]) -> list[str]:
    elsewhere = {model for panel in providers if panel is not chosen and _is_taking(panel) for model in panel.models}
    alone = sorted(set(chosen.models) - elsewhere)
    return [f"Nobody else serves {', '.join(alone)}: its requests will be refused."] if alone else []


def _capacity(providers: Sequence[ProviderPanel], tier: Tier) -> int:
    return sum(
        panel.row.concurrency_max for provider in providers for panel in provider.deployments if tier in panel.tiers
    )


def _is_taking(panel: ProviderPanel) -> bool:
    return panel.account.state == "enabled"
