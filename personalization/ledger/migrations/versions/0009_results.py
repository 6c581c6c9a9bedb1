"""How far the results of each destination have been read."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "results_progress",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, comment="what is read in one go at that platform, e.g. campaigns"),
        sa.Column(
            "cursor", sa.Text, nullable=False, comment="JSON: where the next read begins; holds nothing of people"
        ),
        sa.Column("batches", sa.BigInteger, nullable=False, comment="files that landed"),
        sa.Column("rows", sa.BigInteger, nullable=False, comment="rows that landed, each once"),
        sa.Column("rejected", sa.BigInteger, nullable=False, comment="of them, those that can't be used"),
        sa.Column(
            "opt_outs", sa.BigInteger, nullable=False, comment="opt-outs, hard bounces and complaints that were new"
        ),
        sa.Column("completed_at", sa.BigInteger, comment="when it was last read to its end"),
        sa.Column("problem", sa.Text, comment="why the last read ended early; without addresses and secrets"),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("destination", "kind", name="pk_results_progress"),
    )
