"""One index instead of two for each way to look up a release, and one row for what a destination calls a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

STATE = "state in ('reserved', 'kept')"
TOKENS = ("customer_token", "address_token")


def upgrade() -> None:
    for token in TOKENS:
        op.drop_index(f"ix_sends_{token}", "sends")
    with op.batch_alter_table("sends", table_args=(sa.CheckConstraint(STATE, name="ck_sends_state"),)) as sends:
        for token in TOKENS:
            sends.drop_constraint(f"uq_sends_campaign_version_{token}", type_="unique")
            sends.create_unique_constraint(f"uq_sends_{token}_campaign_version", [token, "campaign", "version"])
    op.create_table(
        "outbox_receipts",
        sa.Column("run", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("batch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column(
            "receipt", sa.Text, nullable=False, comment="how the destination names the batch, when it works later"
        ),
        sa.ForeignKeyConstraint(["run"], ["export_runs.run"], name="fk_outbox_receipts_run"),
        sa.PrimaryKeyConstraint("run", "batch", name="pk_outbox_receipts"),
    )
