"""Reads of the ledger: balances and the journal."""

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.ledger import chart
from app.ledger.holds import Balance
from app.ledger.models import AccountRow
from pricing.money import NanoUsd


async def balance(session: AsyncSession, customer_id: str) -> Balance:
    """A customer's wallet; an unknown customer's is empty."""
    wallet = chart.wallet(customer_id)
    found = await session.exec(select(AccountRow.posted, AccountRow.held).where(col(AccountRow.id) == wallet))
    posted, held = found.first() or (0, 0)
    return Balance(NanoUsd(posted), NanoUsd(held))
