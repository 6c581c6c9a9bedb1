"""When somebody asked for rejected contacts to be tried again at once."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "export_retries",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("up_to_run", sa.BigInteger, nullable=False, comment="rejections up to it do not count any more"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("destination", "up_to_run", name="pk_export_retries"),
    )
