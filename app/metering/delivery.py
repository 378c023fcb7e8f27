"""Records when each chunk of one answer was handed to the customer's transport, and turns that into a timeline.

The clock is the caller's: nanoseconds since the first byte of the request was read. They become integer µs here and
nowhere else: times round up, excuses round down, so that rounding never makes a late token good.
"""

from dataclasses import dataclass, field

from pricing.goodput import Timeline

NS_PER_US = 1_000


@dataclass(slots=True)
class Delivery:
    """The growing record of one answer.

    Attributes:
        is_streamed: False when the whole answer leaves as one body.
        content_bytes: bytes of content handed over so far.
        content_events: how many events carried content so far; each is at least one token.
    """

    is_streamed: bool
    content_bytes: int = 0
    content_events: int = 0
    _at_us: list[int] = field(default_factory=list[int])
    _excused_us: list[int] = field(default_factory=list[int])
    _bytes_through: list[int] = field(default_factory=list[int])
    _tokens_through: list[int | None] = field(default_factory=list[int | None])
    _excused_ns: int = 0
    _tokens_said: int = 0

    def record(
        self, at_ns: int, content_bytes: int, content_events: int = 1, *, tokens: int | None = None, refused_ns: int = 0
    ) -> None:
        """Notes that the transport accepted a chunk.

        Args:
            at_ns: when, in ns since the request was read.
            content_bytes: bytes of content, reasoning and tool arguments in it; chunks without any are no tokens.
            content_events: how many events carried them.
            tokens: output tokens so far, where the backend says.
            refused_ns: how long the transport refused this chunk before it took it; the customer's own time.
        """
        self.excuse(refused_ns)
        if content_bytes <= 0:
            return
        self.content_bytes += content_bytes
        self.content_events += content_events
        self._at_us.append(-(-at_ns // NS_PER_US))
        self._excused_us.append(self._excused_ns // NS_PER_US)
        self._bytes_through.append(self.content_bytes)
        self._tokens_through.append(tokens)
        if tokens is not None and tokens > self._tokens_said:
            self._tokens_said = tokens

    def excuse(self, refused_ns: int) -> None:
        """Notes for how long the transport refused bytes while a token was waiting: the customer's own time."""
        self._excused_ns += refused_ns

    @property
    def first_token_us(self) -> int | None:
        """When the first content was handed over, in µs since the request was read."""
        return self._at_us[0] if self._at_us else None

    @property
    def tokens_counted(self) -> int:
        """A count of output tokens that is never above the truth: the backend's last word, else one per event."""
        return max(self._tokens_said, self.content_events)

    def timeline(self, tokens: int, *, hidden_tokens: int = 0, tokens_max: int | None = None) -> Timeline:
        """The delivery as a timeline of ``tokens`` output tokens.

        A token belongs to the chunk that completes it. Where only the final count is known, the tokens through chunk
        j are ``floor(tokens · bytes through j / all bytes)``. Hidden (reasoning) tokens take the time of the first
        visible chunk and count before it.

        Args:
            tokens: all output tokens, hidden ones included.
            hidden_tokens: of them, generated but never shown.
            tokens_max: cut the timeline after so many tokens (what was reserved); None keeps all.
        """
        if not self._at_us or tokens <= 0:
            return Timeline((), (), (), streamed=self.is_streamed)
        hidden = min(hidden_tokens, tokens)
        through = self._spread(tokens, hidden)
        limit = tokens if tokens_max is None else min(tokens, tokens_max)
        return Timeline(
            tuple(_never_falling(self._at_us)),
            tuple(min(count, limit) for count in through),
            tuple(self._excused_us),
            streamed=self.is_streamed,
        )

    def _spread(self, tokens: int, hidden: int) -> list[int]:
        visible = tokens - hidden
        through: list[int] = []
        last = 0
        for bytes_through, said in zip(self._bytes_through, self._tokens_through, strict=True):
            count = hidden + visible * bytes_through // self.content_bytes if said is None else said
            last = min(max(last, count), tokens)
            through.append(last)
        through[-1] = tokens
        return through


def _never_falling(values: list[int]) -> list[int]:
    """A clock that is read twice in one µs may tie; one that steps back is held at its highest reading."""
    highest = 0
    steady: list[int] = []
    for value in values:
        highest = max(highest, value)
        steady.append(highest)
    return steady
