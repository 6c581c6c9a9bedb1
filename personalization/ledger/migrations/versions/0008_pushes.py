"""How far things are, and how long each opt-out took to every platform."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "progress",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_progress"),
    )
    op.create_table(
        "opt_out_pushes",
        sa.Column("outbox_id", BIG_ID, nullable=False, comment="the retraction that was acknowledged"),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("opted_out_at", sa.BigInteger, nullable=False, comment="when the ledger had the opt-out on its disk"),
        sa.Column("pushed_at", sa.BigInteger, nullable=False, comment="when the destination acknowledged it"),
        sa.ForeignKeyConstraint(["outbox_id"], ["outbox.id"], name="fk_opt_out_pushes_outbox_id_outbox"),
        sa.PrimaryKeyConstraint("outbox_id", name="pk_opt_out_pushes"),
    )
    op.create_index("ix_opt_out_pushes_destination_pushed_at", "opt_out_pushes", ["destination", "pushed_at"])
