"""Indexes of the few rows of the outbox that are looked for, instead of one that each step changes."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

FEW = {
    "ix_outbox_uncertain": (["destination"], "state = 'uncertain'"),
    "ix_outbox_rejected": (["destination"], "state = 'rejected'"),
    "ix_outbox_retractions": (["run", "state"], "operation = 'retract'"),
}


def upgrade() -> None:
    op.drop_index("ix_outbox_destination_state", "outbox")
    for name, (columns, which) in FEW.items():
        op.create_index(name, "outbox", columns, sqlite_where=sa.text(which), postgresql_where=sa.text(which))
    op.create_index("ix_acknowledged_destination_customer_token", "acknowledged", ["destination", "customer_token"])
