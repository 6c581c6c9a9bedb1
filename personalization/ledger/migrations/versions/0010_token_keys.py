"""Which token key is in use, and what has to stay as it was under earlier ones."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "token_key_changes",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False, comment="the token key in use from here on"),
        sa.Column("earlier_key", sa.Text, comment="the one before it; missing for the first one of a ledger"),
        sa.Column("consent_seq", sa.BigInteger, nullable=False, comment="the end of the consent chain at the change"),
        sa.Column("consent_head_before", sa.Text, nullable=False),
        sa.Column("consent_head", sa.Text, nullable=False, comment="of the same events under the new tokens"),
        sa.Column("log_seq", sa.BigInteger, nullable=False, comment="the end of the privacy log at the change"),
        sa.Column("log_head_before", sa.Text, nullable=False),
        sa.Column("log_head", sa.Text, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_token_key_changes"),
    )
    op.create_table(
        "former_heads",
        sa.Column("chain", sa.Text, nullable=False, comment="consent or privacy_log"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, comment="of the change that made it another"),
        sa.Column(
            "hash", sa.Text, nullable=False, comment="what audits, or the mark beside the ledger, hold of that entry"
        ),
        sa.PrimaryKeyConstraint("chain", "seq", "number", name="pk_former_heads"),
    )
    op.create_table(
        "kept_draws",
        sa.Column("salt", sa.Text, nullable=False, comment="of the holdout, or of a version of an experiment"),
        sa.Column("customer_token", sa.Text, nullable=False),
        sa.Column(
            "draw", sa.Text, nullable=False, comment="a whole number below 2**64 in the group that was drawn before"
        ),
        sa.PrimaryKeyConstraint("salt", "customer_token", name="pk_kept_draws"),
    )
    op.create_table(
        "kept_external_ids",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("customer_token", sa.Text, nullable=False),
        sa.Column(
            "sealed",
            sa.LargeBinary,
            nullable=False,
            comment="by what id the destination knows the customer, encrypted",
        ),
        sa.PrimaryKeyConstraint("destination", "customer_token", name="pk_kept_external_ids"),
    )
    op.create_table(
        "kept_people",
        sa.Column("customer_token", sa.Text, nullable=False, comment="stands for a person with several identifiers"),
        sa.PrimaryKeyConstraint("customer_token", name="pk_kept_people"),
    )
