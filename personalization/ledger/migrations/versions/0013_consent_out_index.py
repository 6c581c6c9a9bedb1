"""An index of the few consent events that opt somebody out, which every plan and cut asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

OPTED_OUT = sa.text("action in ('expire', 'object', 'withdraw')")


def upgrade() -> None:
    op.create_index(
        "ix_consent_events_out",
        "consent_events",
        ["purpose", "seq", "subject_token"],
        sqlite_where=OPTED_OUT,
        postgresql_where=OPTED_OUT,
    )
