"""Send ledger, identity corrections, generations of the ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "sends",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("campaign", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False, comment="of the campaign's content: each version is mailed once"),
        sa.Column("customer_token", sa.Text, nullable=False),
        sa.Column("address_token", sa.Text, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column(
            "day",
            sa.Text,
            nullable=False,
            comment="business day of the release, YYYY-MM-DD in the program's time zone",
        ),
        sa.Column("as_of", sa.Text, nullable=False, comment="business day of the decision"),
        sa.Column(
            "state", sa.Text, nullable=False, comment="reserved: nothing left yet; kept: it did, or nobody knows"
        ),
        sa.Column("outbox_id", sa.BigInteger, nullable=False, comment="the outbox row that holds the slot"),
        sa.Column(
            "ended_day", sa.Text, comment="business day on which the contact left the audience: it can't come back"
        ),
        sa.Column("reserved_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sends"),
        sa.UniqueConstraint("campaign", "version", "customer_token", name="uq_sends_campaign_version_customer_token"),
        sa.UniqueConstraint("campaign", "version", "address_token", name="uq_sends_campaign_version_address_token"),
        sa.CheckConstraint("state in ('reserved', 'kept')", name="ck_sends_state"),
    )
    for column in ("customer_token", "address_token", "outbox_id", "day"):
        op.create_index(f"ix_sends_{column}", "sends", [column])
    op.create_table(
        "identity_corrections",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("first_token", sa.Text, nullable=False),
        sa.Column("second_token", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False, comment="who decided it"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("undone_by", sa.Text),
        sa.Column("undone_reason", sa.Text),
        sa.Column("undone_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_identity_corrections"),
        sa.CheckConstraint("kind in ('split', 'link')", name="ck_identity_corrections_kind"),
    )
    op.create_table(
        "generations",
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("generation", sa.Text, nullable=False, comment="random; the same in no other ledger"),
        sa.Column("actor", sa.Text, comment="who reconciled the ledger with its destinations; empty for the first one"),
        sa.Column("reason", sa.Text),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_generations"),
    )
