"""Everything held about a person, gathered from every place, with nothing of anybody else in it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb

from personalization.errors import PersonalizationError
from personalization.ledger.requests import Request
from personalization.privacy.access_destinations import held_by_destinations
from personalization.privacy.inbox_events import SOMEBODY_ELSE, events_of
from personalization.privacy.inventory import AREAS, CATEGORIES, area_of
from personalization.privacy.person import Person, find_person
from personalization.privacy.places import LEDGER, Fate
from personalization.privacy.relations import ledger_rows, ledger_tables, parquet, rows_of, tables

if TYPE_CHECKING:
    from personalization.runtime import Runtime

# Shown in a form of their own, and the log of requests: its entries say nothing that the requests don't.
_SHOWN_ELSEWHERE = {"vault_items", "vault_subjects", "consent_events", "privacy_log", "inbox", "inbox_conflicts"}
Rows = list[dict[str, Any]]


def gather(runtime: Runtime, asked: str | Person, request: Request, at: datetime) -> dict[str, Any]:
    """Everything that is held about a person, as plain values.

    Returns
    -------
    dict
        `request`, `made_at`, `identifiers`, `vault`, `consent` (with what the person was told), `agreed` (where each
        purpose stands), `explanation` (of the newest decisions, in words), `messages`, `held_by_platforms` (records by
        destination, in its own form), `not_read` (destinations that could not be read, and why), `ledger`, `files`,
        `warehouse` (rows by table), `purposes` (what each kind of data is for).
    """
    person = asked if isinstance(asked, Person) else find_person(runtime, asked)
    held, failed = held_by_destinations(runtime, person)
    document: dict[str, Any] = {
        "document": "access",
        "request": request.request_id,
        "received_at": request.received_at,
        "made_at": at,
        "company": runtime.program.settings.name,
        "platforms": {name: destination.platform for name, destination in runtime.program.destinations.items()},
        "identifiers": list(person.tokens),
        "vault": [{"field": item.field, "value": item.value, "source": item.source} for item in person.held],
        "agreed": _agreed(runtime, person),
        "consent": _consent(runtime, person),
        "explanation": _explanation(runtime, person),
        "messages": [
            {
                "source": event.row.source,
                "received_at": event.row.received_at,
                "happened_at": event.row.event_at,
                "content": event.body,
            }
            for event in events_of(runtime, person.tokens)
        ],
        "ledger": _ledger(runtime, person),
        "held_by_platforms": held,
        "not_read": failed,
        "files": _files(runtime, person),
        "warehouse": _warehouse(runtime, person),
    }
    document["purposes"] = _purposes(document)
    return dict(_without_others(document, set(person.tokens)))


_TOKEN = re.compile(r"t1_[a-z][a-z0-9]{0,7}_[a-z2-7]{32}")


def _without_others(node: Any, own: set[str]) -> Any:
    """The document without tokens of others, which a correction of identities, for example, can name."""
    if isinstance(node, dict):
        return {key: _without_others(value, own) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_others(value, own) for value in node]
    if isinstance(node, str) and "t1_" in node:
        return _TOKEN.sub(lambda match: match[0] if match[0] in own else SOMEBODY_ELSE, node)
    return node


def _agreed(runtime: Runtime, person: Person) -> Rows:
    states = runtime.ledger.consent.person(person.tokens, runtime.program.purposes)
    return [
        {
            "purpose": name,
            "title": _text(runtime.program.purposes[name].title),
            "state": state.state,
            "in_words": _in_words(state.state, runtime.program.purposes[name].lawful_basis),
            "since": state.effective_at,
        }
        for name, state in states.items()
    ]


def _in_words(state: str, lawful_basis: str) -> str:
    if state == "granted":
        return "you agreed"
    if state == "withdrawn":
        return "you withdrew or objected"
    if lawful_basis == "consent":
        return "you never agreed: it is not done"
    return f"allowed without your consent ({lawful_basis.replace('_', ' ')}) until you object"


def _consent(runtime: Runtime, person: Person) -> Rows:
    """Every statement with its proof, and the text that was shown."""
    rows = []
    for recorded in runtime.ledger.consent.history(person.tokens):
        event = recorded.event
        told = _told(runtime, event.purpose, event.notice_version)
        rows.append(
            {
                "purpose": event.purpose,
                "action": event.action,
                "said_at": event.effective_at,
                "recorded_at": recorded.recorded_at,
                "source": event.source,
                "method": event.method,
                "lawful_basis": event.lawful_basis,
                "notice_version": event.notice_version,
                "notice_sha256": event.notice_sha256,
                "what_you_were_told": _text(told, event.locale) if told else None,
                "evidence": None if event.evidence is None else dict(event.evidence),
                "entered_by": event.actor,
                "event_id": event.event_id,
            }
        )
    return rows


def _told(runtime: Runtime, purpose: str, version: str | None) -> Any:
    known = runtime.program.purposes.get(purpose)
    notices = known.notices if known else []
    return next((notice.text for notice in notices if notice.version == version), None)


def _text(text: Any, locale: str | None = None) -> str:
    """A text of the program in the person's language, or in the first one."""
    if isinstance(text, dict):
        return str(text.get(locale or "", next(iter(text.values()))))
    return str(text)


def _explanation(runtime: Runtime, person: Person) -> str | None:
    """The newest decisions about the person in words: facts, score and what it rests on, segments, gates."""
    from personalization.stages.decisions.explain import explain_decision

    if not runtime.workspace.warehouse.exists():
        return None
    with runtime.warehouse.connect() as session:
        if not session.has_table("decisions.decisions"):
            return None
        day = session.value(
            "select max(as_of) from decisions.decisions where list_contains($tokens, customer_token)",
            {"tokens": list(person.tokens)},
        )
    if day is None:
        return None
    try:
        return explain_decision(runtime, person.tokens[0], None, runtime.as_of(day.isoformat())).to_text()
    except (PersonalizationError, duckdb.CatalogException):
        # the program was changed since, or its tables are being rebuilt; the rows themselves are in the copy anyhow
        return None


def _ledger(runtime: Runtime, person: Person) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    with runtime.ledger.read() as connection:
        for name, table in sorted(ledger_tables().items()):
            if name in _SHOWN_ELSEWHERE or (name in LEDGER and LEDGER[name].fate is Fate.NONE):
                continue
            rows = list(ledger_rows(connection, table, person.tokens))
            if rows:
                found[name] = rows
    return found


def _files(runtime: Runtime, person: Person) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    with duckdb.connect() as engine:
        engine.execute("set timezone = 'UTC'")
        for folder in (runtime.workspace.landing, runtime.workspace.history):
            for path in sorted(folder.rglob("*.parquet")):
                rows = rows_of(engine, parquet(engine, path), person.tokens).to_pylist()
                if rows:
                    found[str(path.relative_to(runtime.workspace.state))] = rows
    return found


def _warehouse(runtime: Runtime, person: Person) -> dict[str, Rows]:
    if not runtime.workspace.warehouse.exists():
        return {}
    found: dict[str, Rows] = {}
    with runtime.warehouse.connect() as session:
        for relation in tables(session.raw):
            rows = rows_of(session.raw, relation, person.tokens).to_pylist()
            if rows:
                found[relation.name] = rows
    return found


def _purposes(document: dict[str, Any]) -> Rows:
    """What the kinds of data that were found are for."""
    names = [f"ledger.{name}" for name in document["ledger"]] + [*document["files"], *document["warehouse"]]
    found = {area.category for area in map(area_of, names) if area}
    found |= {"identifiers"} if document["vault"] else set()
    found |= {"consent"} if document["consent"] else set()
    found |= {"messages"} if document["messages"] else set()
    ordered = dict.fromkeys(area.category for area in AREAS if area.category in found)
    return [
        {
            "title": CATEGORIES[name].title,
            "purpose": CATEGORIES[name].purpose,
            "basis": CATEGORIES[name].basis,
            "kept": CATEGORIES[name].kept,
            "recipients": CATEGORIES[name].recipients,
        }
        for name in ordered
    ]
