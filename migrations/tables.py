"""Every table of the market, gathered from all rooms."""

from importlib import import_module

from sqlalchemy import MetaData
from sqlmodel import SQLModel

ROOMS = ("audit", "catalog", "fleet", "gateway", "identity", "ledger", "metering", "outbox", "planning", "tuning")


def all_tables() -> MetaData:
    """The metadata of every room's ``models.py``; a test finds a room that is missing here."""
    for room in ROOMS:
        import_module(f"app.{room}.models")
    return SQLModel.metadata
