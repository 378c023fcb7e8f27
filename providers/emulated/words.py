"""Plausible readable text, made up: an endless loop of short sentences, one piece of text per token."""

import random
from dataclasses import dataclass
from typing import Final

PIECES: Final = 4_096
_OPENERS: Final = ("The", "A", "This", "Each", "Every", "One", "That", "Another")
_ADJECTIVES: Final = (
    *("quiet", "early", "bright", "careful", "distant", "gentle", "narrow", "patient", "rapid", "simple"),
    *("steady", "useful", "warm", "wide", "clear", "honest", "modest", "plain", "second", "familiar"),
)
_NOUNS: Final = (
    *("river", "engine", "letter", "garden", "market", "window", "harbour", "signal", "lantern", "teacher"),
    *("bridge", "journey", "answer", "question", "village", "pattern", "workshop", "valley", "promise", "number"),
    *("captain", "library", "machine", "orchard", "station", "theory", "voice", "weather", "printer", "café"),
)
_VERBS: Final = (
    *("follows", "carries", "measures", "explains", "repeats", "crosses", "remembers", "prepares", "shapes", "keeps"),
    *("gathers", "answers", "balances", "describes", "improves", "watches", "guides", "changes", "counts", "finds"),
)
_JOINERS: Final = ("and", "while", "because", "so", "until", "before", "when", "though")
_PLACES: Final = ("near", "above", "behind", "beside", "beyond", "inside", "around", "across")


@dataclass(frozen=True, slots=True)
class Text:
    """A loop of pieces; token i of an answer that starts at piece s is piece (s + i) mod the length of the loop.

    Attributes:
        pieces: text of each token, its leading space included.
        starts: pieces at which a sentence begins.
    """

    pieces: tuple[str, ...]
    starts: tuple[int, ...]

    def start_for(self, choice: int) -> int:
        """The sentence start that a number chooses."""
        return self.starts[choice % len(self.starts)]

    def piece(self, start: int, index: int) -> str:
        """Text of token ``index`` of an answer; the first one has no leading space."""
        text = self.pieces[(start + index) % len(self.pieces)]
        return text.lstrip() if index == 0 else text

    def between(self, start: int, first: int, end: int) -> str:
        """Text of tokens ``first`` … ``end`` − 1 of an answer."""
        return "".join(self.piece(start, index) for index in range(first, end))


def text(seed: int) -> Text:
    """Makes the loop for a seed; equal seeds give equal text.

    >>> loop = text(7)
    >>> loop == text(7), loop == text(8), len(loop.pieces) >= PIECES
    (True, False, True)
    """
    rng = random.Random(seed)  # noqa: S311 (made-up sentences, nothing secret)
    pieces: list[str] = []
    starts: list[int] = []
    while len(pieces) < PIECES:
        starts.append(len(pieces))
        pieces += _sentence(rng)
    return Text(tuple(pieces), tuple(starts))


def _sentence(rng: random.Random) -> list[str]:
    words = [rng.choice(_OPENERS), rng.choice(_ADJECTIVES), *_clause(rng)]
    while rng.random() < 0.4:  # noqa: PLR2004 (how long sentences grow)
        words += [rng.choice(_JOINERS), "the", *_clause(rng)]
    return [" " + word for word in words] + ["."]


def _clause(rng: random.Random) -> list[str]:
    clause = [rng.choice(_NOUNS), rng.choice(_VERBS), "the", rng.choice(_ADJECTIVES), rng.choice(_NOUNS)]
    if rng.random() < 0.5:  # noqa: PLR2004 (every other clause says where)
        clause += [rng.choice(_PLACES), "a", rng.choice(_NOUNS)]
    return clause
