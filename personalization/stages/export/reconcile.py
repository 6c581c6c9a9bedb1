"""After a ledger was restored from a backup: take over from the destinations what it has forgotten.

Opt-outs come back as suppressions, contacts as contents to be sent again, and whoever holds a campaign of ours as
mailed: so nobody is mailed against their will, and nothing twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from personalization.ledger import normalise_email
from personalization.ledger.contacts import Contacts
from personalization.ledger.engine import bulk_insert, one_of
from personalization.ledger.export_schema import acknowledged
from personalization.ledger.generation import Generations
from personalization.ledger.leases import Lease
from personalization.ledger.schema import now, to_micros
from personalization.ledger.sends_schema import sends
from personalization.program.mailing import mails
from personalization.stages.export.holdings import Holding, holdings
from personalization.stages.export.planner import IDENTITY

if TYPE_CHECKING:
    from personalization.runtime import Runtime

_ACKNOWLEDGED = tuple(column.name for column in acknowledged.c)
_SENDS = tuple(column.name for column in sends.c if column.name not in ("id", "ended_day"))


@dataclass(frozen=True)
class Reconciled:
    """What was taken over from a destination.

    Attributes
    ----------
    opted_out : int
        Contacts that are opted out there and were not suppressed here.
    unknown : int
        Contacts with values of ours that the ledger did not know of.
    mailed : int
        Contacts in the audience of a campaign that the ledger did not know to have been released.
    """

    destination: str
    opted_out: int
    unknown: int
    mailed: int


def reconcile(runtime: Runtime, *, actor: str, reason: str) -> list[Reconciled]:
    """Read all destinations back, take over what the ledger lacks, and let it export again.

    Raises
    ------
    ExportError
        A destination can't be read, or is being exported to. What was taken over stays; the ledger does not export.
    """
    ledger = runtime.ledger
    found = []
    for name in runtime.program.destinations:
        with ledger.leases.held(f"export:{name}") as lease:
            found.append(_destination(runtime, name, lease))
    marks = Generations(ledger, runtime.workspace.ledger_mark)
    marks.begin(actor, reason)
    marks.note()
    return found


def _destination(runtime: Runtime, name: str, lease: Lease) -> Reconciled:
    ledger, keys = runtime.ledger, runtime.keys
    read = [
        (normalise_email(holding.address), holding)
        for holding in holdings(runtime.program, name, runtime.workspace, runtime.ledger)
    ]
    listed = [(address, holding) for address, holding in read if address]
    tokens = keys.tokens("email", [address for address, _ in listed])
    held = dict(zip(tokens, (holding for _, holding in listed), strict=True))
    out = [number for number, (_, holding) in enumerate(listed) if not holding.active]
    erased = keys.suppression_tokens([listed[number][0] for number in out])
    Contacts(ledger).forget(lease, name)
    with ledger.begin() as connection:
        lease.hold(connection)
        opted_out = ledger.suppressions.add(
            [tokens[number] for number in out], "unsubscribed", name, connection=connection
        )
        ledger.suppressions.add(erased, "unsubscribed", name, connection=connection)
        ours = {token: holding for token, holding in held.items() if holding.personalised}
        people = _people(runtime, list(ours))
        unknown = _acknowledge(runtime, connection, name, ours, people)
        mailed = _release(runtime, connection, name, ours, people)
    return Reconciled(name, opted_out, unknown, mailed)


def _people(runtime: Runtime, addresses: Sequence[str]) -> dict[str, str]:
    """The person of each address token; an address that no record names stands for itself."""
    with runtime.warehouse.connect() as session:
        if not session.has_table(IDENTITY):
            return {}
        query = f"select identifier_token, customer_token from {IDENTITY} where identifier_token in (select unnest(?))"  # noqa: S608
        return dict(session.rows(query, [list(addresses)]))


def _acknowledge(
    runtime: Runtime, connection: Connection, name: str, ours: dict[str, Holding], people: dict[str, str]
) -> int:
    """Contacts the ledger does not know: there, with contents that are to be sent again."""
    columns = acknowledged.c
    query = select(columns.address_token).where(
        columns.destination == name, one_of(connection, columns.address_token, sorted(ours))
    )
    known: set[str] = set(connection.execute(query).scalars())
    moment = to_micros(now())
    rows: list[tuple[Any, ...]] = []
    for token in sorted(ours.keys() - known):
        campaign = _campaign(runtime, name, ours[token])
        purpose = runtime.program.campaigns[campaign].purpose if campaign else next(iter(runtime.program.purposes))
        values = {
            "destination": name,
            "address_token": token,
            "customer_token": people.get(token, token),
            "campaign": campaign,
            "purpose": purpose,
            "state": "present",
            "row_hash": "",
            "payload": "{}",
            "run": 0,
            "acked_at": moment,
        }
        rows.append(tuple(values[column] for column in _ACKNOWLEDGED))
    bulk_insert(connection, acknowledged, _ACKNOWLEDGED, rows)
    return len(rows)


def _release(
    runtime: Runtime, connection: Connection, name: str, ours: dict[str, Holding], people: dict[str, str]
) -> int:
    """Slots of the send ledger for contacts in the audience of a campaign that the destination mails."""
    versions = mails(runtime.program, name)
    day, moment = now().date().isoformat(), to_micros(now())
    wanted = {}
    for token, holding in ours.items():
        campaign = _campaign(runtime, name, holding)
        if campaign in versions:
            wanted[campaign, versions[campaign], token] = people.get(token, token)
    taken = set()
    for campaign, version in {key[:2] for key in wanted}:
        rows = connection.execute(
            select(sends.c.customer_token, sends.c.address_token).where(
                sends.c.campaign == campaign, sends.c.version == version
            )
        ).all()
        taken |= {(campaign, version, token) for row in rows for token in row}
    new: list[tuple[Any, ...]] = []
    for (campaign, version, token), customer in wanted.items():
        if {(campaign, version, token), (campaign, version, customer)} & taken:
            continue
        taken |= {(campaign, version, token), (campaign, version, customer)}
        new.append((campaign, version, customer, token, name, day, day, "kept", 0, moment))
    bulk_insert(connection, sends, _SENDS, new)
    return len(new)


def _campaign(runtime: Runtime, name: str, holding: Holding) -> str | None:
    """The campaign that a contact is in the audience of, when the destination has a field for it."""
    for mapped in runtime.program.destinations[name].fields:
        if mapped.column == "campaign" and holding.values.get(mapped.name) in runtime.program.campaigns:
            return holding.values[mapped.name]
    return None
