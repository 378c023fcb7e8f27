"""Prompts of a wanted length that no prefix cache has seen: seeded, so that a measurement can be repeated."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_TEXT = (
    "time year people way day man thing life child world school state family student group country problem "
    "hand part place case week company system program question work number night point home water room mother "
    "area money story fact month right study book eye job word business issue side kind head house service "
    "friend father power hour game line end member law car city name"
)
WORDS = tuple(_TEXT.split())
"""Short and frequent: nearly every tokenizer spends one token on each."""
TAG_DIGITS = 12
TOKENS_PER_WORD_ASSUMED = 1.0
OVERHEAD_ASSUMED = 12.0
"""Tokens of a chat template and the tag, where the backend does not count."""


@dataclass(frozen=True, slots=True)
class Ruler:
    """How many tokens a prompt of so many words has: overhead + words · per_word.

    Attributes:
        is_assumed: the backend counts no tokens, so that nothing could be learned.
    """

    per_word: float = TOKENS_PER_WORD_ASSUMED
    overhead: float = OVERHEAD_ASSUMED
    is_assumed: bool = True

    def words_for(self, tokens: int) -> int:
        """Words that come closest to ``tokens``, at least one."""
        return max(1, round((tokens - self.overhead) / self.per_word))


def ruler_from(short: tuple[int, int], long: tuple[int, int]) -> Ruler:
    """Learns from two prompts, each as (words, tokens).

    >>> ruler_from((10, 32), (30, 52)).words_for(100)
    78
    """
    words, tokens = long[0] - short[0], long[1] - short[1]
    if words <= 0 or tokens <= 0:
        return Ruler()
    per_word = tokens / words
    return Ruler(per_word, short[1] - short[0] * per_word, is_assumed=False)


class Prompts:
    """An endless supply of prompts; each begins with a tag of its own."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def messages(self, words: int) -> list[dict[str, Any]]:
        """The messages of one request of so many words."""
        tag = "".join(f"{digit:x}" for digit in self._random.integers(0, 16, TAG_DIGITS))
        chosen = self._random.integers(0, len(WORDS), words)
        return [{"role": "user", "content": " ".join([tag, *(WORDS[index] for index in chosen)])}]
