"""Where a deployment runs."""

from alembic import op
from sqlalchemy import text

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds ``region``; nobody knows where what is registered already runs, so that it stays empty."""
    op.get_bind().execute(text("ALTER TABLE deployment ADD COLUMN region VARCHAR(64) DEFAULT '' NOT NULL"))


def downgrade() -> None:
    """Takes it away again."""
    op.get_bind().execute(text("ALTER TABLE deployment DROP COLUMN region"))
