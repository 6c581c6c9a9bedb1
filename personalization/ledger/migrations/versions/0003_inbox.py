"""Webhook inbox."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("seq", BIG_ID, autoincrement=False, nullable=False, comment="1, 2, 3, … without gaps"),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column(
            "event_key", sa.Text, nullable=False, comment="the sender's id of the event: what comes again counts once"
        ),
        sa.Column(
            "event_at",
            sa.BigInteger,
            comment="when it happened, in the sender's words; missing when it does not say",
        ),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column(
            "digest", sa.Text, nullable=False, comment="keyed: tells whether the same event came with other content"
        ),
        sa.Column("key_id", sa.Text, nullable=False, comment="the vault key from which the body's key is derived"),
        sa.Column("body", sa.LargeBinary, comment="encrypted; missing once it was erased"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_inbox"),
        sa.UniqueConstraint("source", "event_key", name="uq_inbox_source_event_key"),
    )
    op.create_table(
        "inbox_conflicts",
        sa.Column("seq", sa.BigInteger, nullable=False, comment="the event that came first"),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, comment="of the later one, encrypted; missing once it was erased"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", "digest", name="pk_inbox_conflicts"),
        sa.ForeignKeyConstraint(["seq"], ["inbox.seq"], name="fk_inbox_conflicts_seq"),
    )
    op.create_table(
        "inbox_watermarks",
        sa.Column("consumer", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False, comment="everything up to it is applied, or a dead letter"),
        sa.Column("advanced_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("consumer", name="pk_inbox_watermarks"),
    )
    op.create_table(
        "inbox_dead_letters",
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column(
            "state",
            sa.Text,
            nullable=False,
            comment="dead; replay: to be tried again; settled: it was understood after all",
        ),
        sa.Column("reason", sa.Text, nullable=False, comment="without anything of the body's content"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_inbox_dead_letters"),
        sa.ForeignKeyConstraint(["seq"], ["inbox.seq"], name="fk_inbox_dead_letters_seq"),
        sa.CheckConstraint("state in ('dead', 'replay', 'settled')", name="ck_inbox_dead_letters_state"),
    )
    op.create_index("ix_inbox_dead_letters_state", "inbox_dead_letters", ["state"])
    _no_removal()


def _no_removal() -> None:
    """A row of the inbox is never removed: an event whose id was forgotten would count again."""
    message = "inbox is append-only"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"create trigger inbox_no_delete before delete on inbox begin select raise(abort, '{message}'); end")
        return
    op.execute(
        "create function inbox_refuse() returns trigger language plpgsql as "
        f"$$ begin raise exception '{message}'; end $$"
    )
    op.execute("create trigger inbox_no_delete before delete on inbox for each row execute function inbox_refuse()")
    op.execute(
        "create trigger inbox_no_truncate before truncate on inbox for each statement execute function inbox_refuse()"
    )
