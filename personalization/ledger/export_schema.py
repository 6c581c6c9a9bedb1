"""The ledger's tables for exports: runs with their books, the outbox, what destinations acknowledged, leases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    literal_column,
    text,
)

from personalization.ledger.schema import BigId, Instant, metadata

OPERATIONS = ("retract", "remove", "change", "add")
STATES = ("planned", "cut", "in_flight", "acked", "rejected", "uncertain", "held", "suppressed", "invalid")


def one_of_these(column: str, values: tuple[str, ...]) -> str:
    return f"{column} in ({', '.join(repr(value) for value in values)})"


def _only(which: str) -> dict[str, Any]:
    return {"sqlite_where": text(which), "postgresql_where": text(which)}


export_runs = Table(
    "export_runs",
    metadata,
    Column("run", BigId, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("as_of", Text, nullable=False, comment="business day, YYYY-MM-DD"),
    Column("state", Text, nullable=False, comment="open, closed or failed; an open run is continued by the next one"),
    Column("plan_hash", Text, nullable=False),
    Column("mapping_version", Text, nullable=False),
    Column("desired", Integer, nullable=False, comment="contacts that the decisions want at the destination"),
    Column("unchanged", Integer, nullable=False, comment="of these, acknowledged already as they are"),
    Column("planned", Integer, nullable=False, comment="rows put into the outbox: what the books must account for"),
    Column("adds", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("removes", Integer, nullable=False),
    Column("retractions", Integer, nullable=False),
    Column("guard", Text, comment="what the mass-change guard found, when it found something"),
    Column("override", Text, comment="who let the run pass the guard, and why"),
    Column("problem", Text, comment="why the run stopped early"),
    Column("removed", Text, comment="JSON: how many rows of each state were removed after their time"),
    Column("epoch", BigInteger, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    CheckConstraint(one_of_these("state", ("open", "closed", "failed")), name="ck_export_runs_state"),
    Index(None, "destination", "as_of"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("run", BigInteger, ForeignKey("export_runs.run"), nullable=False),
    Column("destination", Text, nullable=False),
    Column("customer_token", Text, nullable=False),
    Column("address_token", Text, comment="the contact at the destination; missing only for invalid rows"),
    Column("campaign", Text),
    Column("purpose", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("payload", Text, nullable=False, comment="canonical JSON of the mapped fields, without identifiers"),
    Column("row_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("attempt", Integer, nullable=False, comment="how often it was on its way"),
    Column("batch", Integer, comment="number of the request batch within the run"),
    Column(
        "receipt", Text, comment="how the destination names the batch, when it works later"
    ),  # now in the next table
    Column("epoch", BigInteger, nullable=False, comment="of the lease under which it changed last"),
    Column("cut_at", Instant, comment="when consent and suppressions were read for it last"),
    Column("changed_at", Instant, nullable=False),
    Column("resolved_run", BigInteger, comment="the later run in which an uncertain row became certain"),
    CheckConstraint(one_of_these("operation", OPERATIONS), name="ck_outbox_operation"),
    CheckConstraint(one_of_these("state", STATES), name="ck_outbox_state"),
    Index(None, "run", "state"),
    Index(None, "destination", "address_token"),
    Index("ix_outbox_uncertain", "destination", **_only("state = 'uncertain'")),
    Index("ix_outbox_rejected", "destination", **_only("state = 'rejected'")),
    Index("ix_outbox_retractions", "run", "state", **_only("operation = 'retract'")),
)

outbox_batches = Table(
    "outbox_batches",
    metadata,
    Column("run", BigInteger, ForeignKey("export_runs.run"), primary_key=True, autoincrement=False),
    Column("batch", Integer, primary_key=True, autoincrement=False),
    Column("receipt", Text, comment="how the destination names the batch, when it works later"),
)

# Written out, not as parameters: else SQLite does not see that an index of such rows alone is enough.
IS_UNCERTAIN = outbox.c.state == literal_column("'uncertain'")
IS_REJECTED = outbox.c.state == literal_column("'rejected'")
IS_RETRACTION = outbox.c.operation == literal_column("'retract'")

acknowledged = Table(
    "acknowledged",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("address_token", Text, primary_key=True),
    Column("customer_token", Text, nullable=False),
    Column("campaign", Text),
    Column("purpose", Text, nullable=False),
    Column(
        "state", Text, nullable=False, comment="present; removed: known there, fields cleared; retracted: opted out"
    ),
    Column("row_hash", Text, nullable=False, comment="empty when nothing of ours is there"),
    Column("payload", Text, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("acked_at", Instant, nullable=False),
    CheckConstraint(one_of_these("state", ("present", "removed", "retracted")), name="ck_acknowledged_state"),
    Index(None, "destination", "customer_token"),
)

export_retries = Table(
    "export_retries",
    metadata,
    Column("destination", Text, primary_key=True),
    Column(
        "up_to_run",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="rejections up to it do not count any more",
    ),
    Column("recorded_at", Instant, nullable=False),
)

export_requests = Table(
    "export_requests",
    metadata,
    Column("account", Text, primary_key=True, comment="the destination, or what its limits call the account"),
    Column("day", Text, primary_key=True, comment="YYYY-MM-DD in the program's time zone"),
    Column("requests", BigInteger, nullable=False),
)

export_circuits = Table(
    "export_circuits",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("failures", Integer, nullable=False, comment="requests in a row that failed"),
    Column("retry_at", Instant, comment="when it is tried again; missing while the circuit is closed"),
    Column("reason", Text, nullable=False),
    Column("changed_at", Instant, nullable=False),
)

export_audiences = Table(
    "export_audiences",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("tags", Text, nullable=False, comment="JSON: the tag of each campaign"),
    Column("run", BigInteger, nullable=False, comment="the newest run whose contacts they hold"),
)

export_repairs = Table(
    "export_repairs",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("destination", Text, nullable=False),
    Column("repair_hash", Text, nullable=False),
    Column("contacts", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("resource", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False, comment="grows with every holder: the fencing token"),
    Column("holder", Text, nullable=False, comment="one holding; a process can hold, release and hold again"),
    Column("process", Text, nullable=False, comment="host, pid and start of the holder's process"),
    Column("acquired_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
