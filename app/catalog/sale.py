"""A model on sale; pure."""

from dataclasses import dataclass

NAME_MAX = 180
DESCRIPTION_MAX = 2000


class SaleError(ValueError):
    """A model that cannot be put on sale as described."""


@dataclass(frozen=True, slots=True)
class ModelOnSale:
    """A model that customers can name.

    Attributes:
        name: the public name; may contain ``/``.
        title: how it is called in lists.
        context_max: prompt plus answer, in tokens.
        bytes_per_token: mean bytes of request text per input token, as declared; gateways learn their own.
        created_at_us: when it was first put on sale, µs since the epoch.

    Raises:
        SaleError: no or too long a name, or numbers that are not positive.
    """

    name: str
    title: str
    context_max: int
    created_at_us: int
    description: str = ""
    owned_by: str = "goodput"
    bytes_per_token: float = 4.0

    def __post_init__(self) -> None:
        for what, text, most in (("name", self.name, NAME_MAX), ("title", self.title, NAME_MAX)):
            if not text or len(text) > most or not text.isprintable() or text != text.strip():
                raise SaleError(f"{what}: expected 1 to {most} printable letters without spaces around, got {text!r}")
        if len(self.description) > DESCRIPTION_MAX:
            raise SaleError(f"{self.name}: a description has at most {DESCRIPTION_MAX} letters")
        if self.context_max < 1 or not self.bytes_per_token > 0:
            raise SaleError(
                f"{self.name}: context_max and bytes_per_token must be above 0, got {self.context_max} and "
                f"{self.bytes_per_token}"
            )
