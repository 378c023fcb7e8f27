"""Contracts, credentials and ways of access of providers, customers' tuned models, and usage that was not believed."""

import re
from pathlib import Path

from alembic import op
from sqlalchemy import Connection, text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("tuned_model", "usage_dispute", "provider_contract", "provider_credential", "provider_access")
KIND_CHECK = re.compile(r",\s*CONSTRAINT ck_deployment_kind_known CHECK \(kind IN \([^)]*\)\)")


def upgrade() -> None:
    """Adds the tables; a kind of provider is a file from now on, which no constraint of the database can know."""
    connection = op.get_bind()
    script = Path(__file__).with_suffix(f".{connection.dialect.name}.sql")
    for statement in script.read_text().strip().split("\n\n"):
        connection.exec_driver_sql(statement)
    if connection.dialect.name == "sqlite":
        _rebuild_deployment(connection)
    else:
        connection.execute(text("ALTER TABLE deployment DROP CONSTRAINT ck_deployment_kind_known"))


def downgrade() -> None:
    """Takes the tables away, with what was signed; a deployment of a kind that was added since stays as it is."""
    op.drop_index("ix_usage_event_provider_id_finished_at_us", "usage_event")
    for table in TABLES:
        op.drop_table(table)


def _rebuild_deployment(connection: Connection) -> None:
    """SQLite drops no constraint: the table is made anew as it stands, without it, and its rows are moved."""
    stored = text("SELECT sql FROM sqlite_master WHERE tbl_name = 'deployment' AND type = :type AND sql IS NOT NULL")
    table = str(connection.execute(stored, {"type": "table"}).scalar_one())
    indexes = [str(row[0]) for row in connection.execute(stored, {"type": "index"})]
    connection.execute(text("ALTER TABLE deployment RENAME TO deployment_before_0003"))
    connection.execute(text(KIND_CHECK.sub("", table)))
    connection.execute(text("INSERT INTO deployment SELECT * FROM deployment_before_0003"))
    connection.execute(text("DROP TABLE deployment_before_0003"))
    for index in indexes:
        connection.execute(text(index))
