"""Export runs, outbox, acknowledged state, leases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "export_runs",
        sa.Column("run", BIG_ID, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("as_of", sa.Text, nullable=False, comment="business day, YYYY-MM-DD"),
        sa.Column(
            "state", sa.Text, nullable=False, comment="open, closed or failed; an open run is continued by the next one"
        ),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("mapping_version", sa.Text, nullable=False),
        sa.Column("desired", sa.Integer, nullable=False, comment="contacts that the decisions want at the destination"),
        sa.Column("unchanged", sa.Integer, nullable=False, comment="of these, acknowledged already as they are"),
        sa.Column(
            "planned", sa.Integer, nullable=False, comment="rows put into the outbox: what the books must account for"
        ),
        sa.Column("adds", sa.Integer, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("removes", sa.Integer, nullable=False),
        sa.Column("retractions", sa.Integer, nullable=False),
        sa.Column("guard", sa.Text, comment="what the mass-change guard found, when it found something"),
        sa.Column("override", sa.Text, comment="who let the run pass the guard, and why"),
        sa.Column("problem", sa.Text, comment="why the run stopped early"),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("run", name="pk_export_runs"),
        sa.CheckConstraint("state in ('open', 'closed', 'failed')", name="ck_export_runs_state"),
    )
    op.create_index("ix_export_runs_destination_as_of", "export_runs", ["destination", "as_of"])
    op.create_table(
        "outbox",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("customer_token", sa.Text, nullable=False),
        sa.Column("address_token", sa.Text, comment="the contact at the destination; missing only for invalid rows"),
        sa.Column("campaign", sa.Text),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column(
            "payload", sa.Text, nullable=False, comment="canonical JSON of the mapped fields, without identifiers"
        ),
        sa.Column("row_hash", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, comment="how often it was on its way"),
        sa.Column("batch", sa.Integer, comment="number of the request batch within the run"),
        sa.Column("receipt", sa.Text, comment="how the destination names the batch, when it works later"),
        sa.Column("epoch", sa.BigInteger, nullable=False, comment="of the lease under which it changed last"),
        sa.Column("cut_at", sa.BigInteger, comment="when consent and suppressions were read for it last"),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("resolved_run", sa.BigInteger, comment="the later run in which an uncertain row became certain"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.ForeignKeyConstraint(["run"], ["export_runs.run"], name="fk_outbox_run"),
        sa.CheckConstraint("operation in ('retract', 'remove', 'change', 'add')", name="ck_outbox_operation"),
        sa.CheckConstraint(
            "state in ('planned', 'cut', 'in_flight', 'acked', 'rejected', 'uncertain', 'held', 'suppressed', "
            "'invalid')",
            name="ck_outbox_state",
        ),
    )
    op.create_index("ix_outbox_run_state", "outbox", ["run", "state"])
    op.create_index("ix_outbox_destination_state", "outbox", ["destination", "state"])
    op.create_index("ix_outbox_destination_address_token", "outbox", ["destination", "address_token"])
    op.create_table(
        "acknowledged",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("address_token", sa.Text, nullable=False),
        sa.Column("customer_token", sa.Text, nullable=False),
        sa.Column("campaign", sa.Text),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column(
            "state",
            sa.Text,
            nullable=False,
            comment="present; removed: known there, fields cleared; retracted: opted out",
        ),
        sa.Column("row_hash", sa.Text, nullable=False, comment="empty when nothing of ours is there"),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("run", sa.BigInteger, nullable=False),
        sa.Column("acked_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("destination", "address_token", name="pk_acknowledged"),
        sa.CheckConstraint("state in ('present', 'removed', 'retracted')", name="ck_acknowledged_state"),
    )
    op.create_table(
        "leases",
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, comment="grows with every holder: the fencing token"),
        sa.Column("holder", sa.Text, nullable=False, comment="one holding; a process can hold, release and hold again"),
        sa.Column("process", sa.Text, nullable=False, comment="host, pid and start of the holder's process"),
        sa.Column("acquired_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("resource", name="pk_leases"),
    )
