"""Which tags of a destination are known to hold the contacts of their campaigns, and since which run."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "export_audiences",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False, comment="JSON: the tag of each campaign"),
        sa.Column("run", sa.BigInteger, nullable=False, comment="the newest run whose contacts they hold"),
        sa.PrimaryKeyConstraint("destination", name="pk_export_audiences"),
    )
