"""How many tokens of each class one request used, and what a token of each class costs."""

from dataclasses import dataclass
from enum import StrEnum

from pricing.money import PicoUsd, Rate


class TokenClass(StrEnum):
    """The four kinds of token that a price book prices."""

    INPUT = "input"
    CACHED = "cached"
    CACHE_WRITE = "cache_write"
    OUTPUT = "output"


class UsageError(ValueError):
    """Counts that cannot be: negative, or more cached tokens than there were input tokens."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Disjoint token counts of one request: every input token is counted in exactly one of the three input classes.

    Attributes:
        input: input tokens computed afresh and not written to a cache on the customer's behalf.
        cached: input tokens read from a prefix cache.
        cache_write: input tokens computed afresh and kept in a prefix cache at the customer's request.
        output: generated tokens, reasoning included.
    """

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0

    def __post_init__(self) -> None:
        if min(self.input, self.cached, self.cache_write, self.output) < 0:
            raise UsageError(f"token counts must not be negative: {self}")

    @property
    def input_total(self) -> int:
        """All input tokens, whatever their class."""
        return self.input + self.cached + self.cache_write


def usage_from_totals(prompt: int, completion: int, cached: int = 0, cache_write: int = 0) -> Usage:
    """Builds disjoint counts from the OpenAI wire's inclusive ones, where ``prompt`` contains the cached tokens.

    Raises:
        UsageError: negative counts, or more cached and written tokens than prompt tokens.

    >>> usage_from_totals(prompt=100, completion=7, cached=64)
    Usage(input=36, cached=64, cache_write=0, output=7)
    """
    fresh = prompt - cached - cache_write
    if fresh < 0:
        raise UsageError(f"{cached} cached + {cache_write} written tokens exceed the {prompt} prompt tokens")
    return Usage(input=fresh, cached=cached, cache_write=cache_write, output=completion)


@dataclass(frozen=True, slots=True)
class Rates:
    """Price of one token of each class, in pico-USD per token."""

    input: Rate
    cached: Rate
    cache_write: Rate
    output: Rate

    @property
    def input_dearest(self) -> Rate:
        """The dearest an input token can be; what a quote reserves before the cache's answer is known."""
        return Rate(max(self.input, self.cached, self.cache_write))

    def input_pico(self, usage: Usage) -> PicoUsd:
        """Price of all input tokens of ``usage``, in pico-USD."""
        return PicoUsd(self.input * usage.input + self.cached * usage.cached + self.cache_write * usage.cache_write)

    def output_pico(self, tokens: int) -> PicoUsd:
        """Price of ``tokens`` output tokens, in pico-USD."""
        return PicoUsd(self.output * tokens)

    def by_class(self) -> dict[TokenClass, Rate]:
        """The rates keyed by class, in the order in which a price list shows them."""
        return {
            TokenClass.INPUT: self.input,
            TokenClass.CACHED: self.cached,
            TokenClass.CACHE_WRITE: self.cache_write,
            TokenClass.OUTPUT: self.output,
        }
