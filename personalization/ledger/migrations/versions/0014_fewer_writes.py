"""One index instead of two for each way to look up a release; a row for each batch, with its name at the platform."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

STATE = "state in ('reserved', 'kept')"
OF_OPEN_RUNS = """
    insert into outbox_batches (run, batch, receipt)
    select run, batch, max(receipt) from outbox
    where batch is not null and run in (select run from export_runs where state = 'open')
    group by run, batch
"""
TOKENS = ("customer_token", "address_token")


def upgrade() -> None:
    for token in TOKENS:
        op.drop_index(f"ix_sends_{token}", "sends")
    with op.batch_alter_table("sends", table_args=(sa.CheckConstraint(STATE, name="ck_sends_state"),)) as sends:
        for token in TOKENS:
            sends.drop_constraint(f"uq_sends_campaign_version_{token}", type_="unique")
            sends.create_unique_constraint(f"uq_sends_{token}_campaign_version", [token, "campaign", "version"])
    op.create_table(
        "outbox_batches",
        sa.Column("run", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("batch", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("receipt", sa.Text, comment="how the destination names the batch, when it works later"),
        sa.ForeignKeyConstraint(["run"], ["export_runs.run"], name="fk_outbox_batches_run"),
        sa.PrimaryKeyConstraint("run", "batch", name="pk_outbox_batches"),
    )
    op.execute(OF_OPEN_RUNS)
