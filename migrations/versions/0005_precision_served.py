"""At which precision a deployment serves, and an answer was served."""

from alembic import op
from sqlalchemy import Connection, text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KNOWN = ("fp4", "int4", "fp8", "int8", "bf16", "fp16", "q4_k_m", "q5_k_m", "q6_k", "q8_0", "f16")
MODES = ("agg", "disagg")


def upgrade() -> None:
    """Adds ``precision`` to both tables, and fills it in for deployments whose id is one of ours and names it.

    Usage events stay as they were written: what served an old one was not kept, and its precision is empty.
    """
    connection = op.get_bind()
    for table in ("deployment", "usage_event"):
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN precision VARCHAR(32) DEFAULT '' NOT NULL"))
    _guard_the_new_column(connection)
    rows = connection.execute(text("SELECT id, deployment_id FROM deployment")).all()
    for offer_id, deployment_id in rows:
        if precision := precision_in(str(deployment_id)):
            statement = text("UPDATE deployment SET precision = :precision WHERE id = :id")
            connection.execute(statement, {"precision": precision, "id": offer_id})


def downgrade() -> None:
    """Refuses: what answers were served at would be forgotten, and a receipt would say less than when it was given."""
    raise RuntimeError("the precision of answers cannot be forgotten; restore the database from a backup instead")


def precision_in(deployment_id: str) -> str:
    """The precision that a deployment id of ours names, ``hardware-engine-precision-mode-…``; empty for any other.

    >>> precision_in("b200-trtllm-fp4-agg-tp2ep1"), precision_in("h100-vllm-fp8-guess-agg-tp8"), precision_in("acme-1")
    ('fp4', 'fp8?', '')
    """
    parts = deployment_id.lower().split("-")
    at = next((index for index, part in enumerate(parts) if part in MODES), 0)
    is_guessed = at > 0 and parts[at - 1] == "guess"
    name = parts[at - 2 if is_guessed else at - 1] if at > 1 else ""
    return f"{name}?" if is_guessed and name in KNOWN else name if name in KNOWN else ""


def _guard_the_new_column(connection: Connection) -> None:
    """The trigger that refuses changes names its columns: it is made anew with the new one among them."""
    if connection.dialect.name == "sqlite":
        find = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'usage_event_no_update'"
        drop = "DROP TRIGGER usage_event_no_update"
    else:
        find = (
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'usage_event_no_update' "
            "AND tgrelid = 'usage_event'::regclass"
        )
        drop = "DROP TRIGGER usage_event_no_update ON usage_event"
    definition = str(connection.execute(text(find)).scalar_one())
    before, on, after = definition.partition(" ON ")
    connection.execute(text(drop))
    connection.exec_driver_sql(f"{before}, precision{on}{after}")
