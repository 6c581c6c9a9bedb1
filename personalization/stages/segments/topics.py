"""What people chose to read about, as fields of the profile: `topic_<name>` is true, false, or unknown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.rules import Rule
from personalization.rules.catalog import topic_field
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.ledger import Ledger

IDENTITY = "landed.identity"
CHOSEN = "_chosen_topics"
_SCHEMA = pa.schema([("customer_token", pa.string()), ("name", pa.string()), ("value", pa.string())])
NOTHING_CHOSEN = _SCHEMA.empty_table()


def read_topics(session: Session, ledger: Ledger, as_of: AsOf, among: str | None = None) -> pa.Table:
    """The latest choice of topics of each person before `as_of`: `customer_token`, `name`, `value`.

    `among`: a table of the column `customer_token`; of these customers only.
    """
    from personalization.ledger.preferences import TOPIC, customer_choices

    snapshot = ledger.preferences.snapshot(TOPIC, effective_before=as_of.instant)
    if not len(snapshot) or not session.has_table(IDENTITY):
        return NOTHING_CHOSEN
    only = f"where customer_token in (from {among})" if among else ""
    identity = session.arrow(f"select identifier_token, customer_token from {IDENTITY} {only}")  # noqa: S608
    return customer_choices(snapshot, identity).cast(_SCHEMA)


def topics_version(topics: Iterable[str], chosen: pa.Table) -> str:
    """A short text that changes with the topics and with what people chose."""
    found = hashlib.sha256(repr(sorted(topics)).encode())
    for column in chosen.sort_by([("customer_token", "ascending"), ("name", "ascending")]).columns:
        found.update("\x1f".join(column.to_pylist()).encode())
    return found.hexdigest()[:16]


def reads_topics(rule: Rule) -> bool:
    """Whether a rule by itself looks at a topic."""
    return any(name.startswith(topic_field("")) for name in rule.fields)


def topic_columns(topics: Iterable[str]) -> str:
    """Select list of the topics' fields, each with a comma before it, from `topics_query` as `t`."""
    return "".join(f", t.{topic_field(name)}" for name in topics)


def topics_query(topics: Iterable[str]) -> str:
    """One row a customer who chose anything, from the registered table `_chosen_topics`.

    Names are checked by the program's models.
    """
    columns = "".join(
        f", bool_or(value = 'true') filter (where name = '{name}') as {topic_field(name)}" for name in topics
    )
    return f"(select customer_token{columns} from {CHOSEN} group by customer_token)"  # noqa: S608
