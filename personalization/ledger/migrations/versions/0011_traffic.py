"""Requests a day, circuit breakers, repairs, and rows that were removed from the outbox after their time."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "export_requests",
        sa.Column("account", sa.Text, nullable=False, comment="the destination, or what its limits call the account"),
        sa.Column("day", sa.Text, nullable=False, comment="YYYY-MM-DD in the program's time zone"),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "day", name="pk_export_requests"),
    )
    op.create_table(
        "export_circuits",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False, comment="requests in a row that failed"),
        sa.Column("retry_at", sa.BigInteger, comment="when it is tried again; missing while the circuit is closed"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("destination", name="pk_export_circuits"),
    )
    op.create_table(
        "export_repairs",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("repair_hash", sa.Text, nullable=False),
        sa.Column("contacts", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_export_repairs"),
    )
    op.add_column(
        "export_runs",
        sa.Column("removed", sa.Text, comment="JSON: how many rows of each state were removed after their time"),
    )
