"""The market opens: every table, index and trigger of the first release, as SQL beside this file."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes an empty database ours."""
    connection = op.get_bind()
    script = Path(__file__).with_suffix(f".{connection.dialect.name}.sql")
    for statement in script.read_text().strip().split("\n\n"):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """Refuses: there is no going back to a market without books."""
    raise RuntimeError("the first migration cannot be undone; restore the database from a backup instead")
