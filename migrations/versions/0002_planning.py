"""Inputs of derivation, priced models and plans as dated rows; what the repricer and the return loop remember."""

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the tables; a market that has prices gets its inputs written at its next start."""
    connection = op.get_bind()
    script = Path(__file__).with_suffix(f".{connection.dialect.name}.sql")
    for statement in script.read_text().strip().split("\n\n"):
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    """Takes the tables away, with what was metered and proposed."""
    for table in ("plan_proposal", "planning_state", "pricing_input", "priced_model"):
        op.drop_table(table)
