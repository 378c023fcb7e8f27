"""Who may see which model, at hand in this process: a tuned model is its customer's alone.

A model that was approved a moment ago is private before this process has read its row: names in a customer's namespace
are theirs by their form.
"""

from collections.abc import Iterable, Mapping

from app.catalog.book_cache import keep_fresh
from app.db import Database
from app.logs import get_logger
from app.tuning import repository
from app.tuning.tuned import is_namespaced, namespace_of

REFRESH_S = 1.0


class AudienceView:
    """Whose every tuned model is.

    Args:
        database: where they are registered.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._owners: Mapping[str, str] = {}

    def may_see(self, model: str, customer_id: str | None) -> bool:
        """Whether a model exists for a customer; None asks for somebody who did not say who they are."""
        owner = self._owners.get(model)
        if owner is not None:
            return owner == customer_id
        if not is_namespaced(model):
            return True
        return customer_id is not None and model.startswith(f"{namespace_of(customer_id)}/")

    def visible(self, models: Iterable[str], customer_id: str | None) -> tuple[str, ...]:
        """Those of some models that exist for a customer."""
        return tuple(model for model in models if self.may_see(model, customer_id))

    async def refresh(self) -> None:
        """Reads whose they are again."""
        async with self._database.reading() as session:
            self._owners = await repository.owners(session)

    async def run(self, every_s: float = REFRESH_S) -> None:
        """Refreshes for as long as the process runs."""
        await keep_fresh(self.refresh, every_s, get_logger("app.tuning"))
