"""Privacy requests, receipts, audits, key rotations."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "privacy_requests",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject_token", sa.Text, nullable=False, comment="any identifier token of the person who asks"),
        sa.Column(
            "manner", sa.Text, nullable=False, comment="how it was received: preference page, e-mail, telephone, …"
        ),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column(
            "due_at", sa.BigInteger, nullable=False, comment="as the law has it; an extension is an entry of the log"
        ),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_privacy_requests"),
        sa.CheckConstraint("kind in ('access', 'erasure', 'opt_out_sale')", name="ck_privacy_requests_kind"),
    )
    op.create_index("ix_privacy_requests_subject_token", "privacy_requests", ["subject_token"])
    op.create_table(
        "privacy_log",
        sa.Column("seq", BIG_ID, nullable=False, autoincrement=False, comment="1, 2, 3, … without gaps"),
        sa.Column(
            "kind", sa.Text, nullable=False, comment="request, status, step, tombstone, receipt, audit or rotation"
        ),
        sa.Column("request_id", sa.Text, comment="missing for what belongs to no request, such as an audit"),
        sa.Column("at", sa.BigInteger, nullable=False, comment="when it happened"),
        sa.Column("content", sa.Text, nullable=False, comment="canonical JSON, without direct identifiers"),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("prev_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_privacy_log"),
    )
    op.create_index("ix_privacy_log_request_id", "privacy_log", ["request_id"])
    op.create_index("ix_privacy_log_kind", "privacy_log", ["kind"])
    for table in ("privacy_requests", "privacy_log"):
        _append_only(table)
    _removable_after_erasure("preference_events", "subject_token")


def _removable_after_erasure(table: str, token: str) -> None:
    """Rows of an append-only table may go once their person was erased, and only then."""
    erased = f"exists (select 1 from suppressions where identifier_token = old.{token} and reason = 'erased')"  # noqa: S608
    message = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"drop trigger {table}_no_delete")
        op.execute(
            f"create trigger {table}_no_delete before delete on {table} when not {erased} "
            f"begin select raise(abort, '{message}'); end"
        )
        return
    op.execute(
        f"create or replace function {table}_refuse() returns trigger language plpgsql as "
        f"$$ begin if tg_op = 'DELETE' and {erased} then return old; end if; "
        f"raise exception '{message}'; end $$"
    )


def _append_only(table: str) -> None:
    """Rows of `table` can be added, never changed or removed: not even by our own mistake."""
    message = f"{table} is append-only"
    if op.get_bind().dialect.name == "sqlite":
        for change in ("update", "delete"):
            op.execute(
                f"create trigger {table}_no_{change} before {change} on {table} "
                f"begin select raise(abort, '{message}'); end"
            )
        return
    op.execute(
        f"create function {table}_refuse() returns trigger language plpgsql as "
        f"$$ begin raise exception '{message}'; end $$"
    )
    op.execute(
        f"create trigger {table}_no_change before update or delete on {table} "
        f"for each row execute function {table}_refuse()"
    )
    op.execute(
        f"create trigger {table}_no_truncate before truncate on {table} "
        f"for each statement execute function {table}_refuse()"
    )
