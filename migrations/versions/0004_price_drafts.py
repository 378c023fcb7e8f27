"""Drafts of price books, withdrawals of scheduled ones, and what made each book."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables and ``price_book.origin``; every book so far was derived."""
    connection = op.get_bind()
    script = Path(__file__).with_suffix(f".{connection.dialect.name}.sql")
    for statement in script.read_text().strip().split("\n\n"):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """Refuses: a withdrawn book would come into force."""
    raise RuntimeError("withdrawals of price books cannot be forgotten; restore the database from a backup instead")
