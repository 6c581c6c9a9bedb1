"""`personalization consent …`: where somebody stands, with the proof, and the links that let them decide themselves."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from personalization.commands.common import JsonFlag, current_runtime, out, print_json

if TYPE_CHECKING:
    from personalization.ledger.consent import Recorded
    from personalization.runtime import Runtime
    from personalization.serve.pages.visitor import Visitor

app = typer.Typer(help="Look at what people agreed to, and give them their links.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="EMAIL", help="An e-mail address of the person.")]


class Page(StrEnum):
    """The pages a link can lead to."""

    PREFERENCES = "preferences"
    UNSUBSCRIBE = "unsubscribe"


@app.command()
def show(email: Address, as_json: JsonFlag = False) -> None:
    """Say for each purpose where a person stands and how that is proven; and everything they ever said."""
    runtime = current_runtime()
    visitor = _visitor(runtime, email)
    purposes = [_purpose(runtime, visitor, name) for name in runtime.program.purposes]
    suppressed = _suppressed(runtime, visitor)
    choices = visitor.choices
    if as_json:
        print_json(
            {
                "identifiers": sorted(visitor.identifiers.every),
                "purposes": purposes,
                "suppressed": suppressed,
                "topics": choices.topics,
                "frequency": choices.frequency,
                "history": [_said(each) for each in visitor.history],
            }
        )
        return
    table = Table("purpose", "state", "since", "method", "notice", "source", title="Where they stand")
    for row in purposes:
        proof = row["proof"] or {}
        state = row["state"] + (f" (to be confirmed until {row['waiting_until'][:10]})" if row["waiting_until"] else "")
        notice = (
            f"{proof['notice_version']} {(proof['notice_sha256'] or '')[:8]}" if proof.get("notice_version") else ""
        )
        table.add_row(
            row["purpose"], state, (row["since"] or "")[:19], proof.get("method") or "", notice, proof.get("source", "")
        )
    out.print(table)
    if suppressed:
        out.print(
            f"[yellow]On the do-not-mail list:[/yellow] {', '.join(suppressed)}. Nothing is sent, whatever is above."
        )
    topics = ", ".join(name for name, yes in choices.topics.items() if yes)
    out.print(f"Topics: {topics or 'none chosen'}. How often: {choices.frequency or 'not chosen'}.")
    history = Table("no.", "said", "purpose", "action", "method", "recorded", title="Everything they said")
    for each in visitor.history:
        event = each.event
        history.add_row(
            str(each.seq),
            event.effective_at.isoformat()[:19],
            event.purpose,
            event.action,
            event.method or event.source,
            each.recorded_at.isoformat()[:19],
        )
    out.print(history)


@app.command()
def link(
    email: Address,
    page: Annotated[Page, typer.Option(help="The page it opens.")] = Page.PREFERENCES,
    confirm: Annotated[
        str | None, typer.Option(metavar="PURPOSE", help="Instead: the second step of a double opt-in that is waiting.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="For how many days it works.")] = 30,
    as_json: JsonFlag = False,
) -> None:
    """Print a person's own link, to be sent to that person and nobody else: it acts for them."""
    from datetime import timedelta

    from personalization.errors import DataError, ProgramError
    from personalization.ledger.schema import now
    from personalization.serve.pages.visitor import confirm_until

    runtime = current_runtime()
    visitor = _visitor(runtime, email)
    url = runtime.program.settings.serve.public_url
    if url is None:
        raise ProgramError(
            "program.yaml does not say where the pages are",
            at=runtime.program.position("program", ()),
            hint="set serve.public_url, e.g. https://mail.example.com",
        )
    kind, scope, expires_at = str(page), "support", now() + timedelta(days=days)
    if confirm is not None:
        grant = visitor.waiting.get(confirm)
        if grant is None or confirm_until(grant) < now():
            raise DataError(
                f"nothing of '{confirm}' waits to be confirmed by this person",
                hint="`personalization consent show EMAIL` tells what they said",
            )
        kind, scope, expires_at = "confirm", str((grant.evidence or {})["double_opt_in_id"]), confirm_until(grant)
    [text] = runtime.ledger.links.issue(runtime.keys, kind, [visitor.link.subject_token], scope, expires_at=expires_at)
    address = f"{url.rstrip('/')}/{kind}/{text}"
    if as_json:
        print_json({"page": kind, "link": address, "expires_at": expires_at.isoformat()})
        return
    out.print(address, soft_wrap=True, markup=False)


@app.command()
def revoke(
    email: Address,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")],
    page: Annotated[Page | None, typer.Option(help="Only links to this page.")] = None,
    destination: Annotated[
        str | None, typer.Option(help="Only links that went out with this destination; `support` for those of `link`.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """End a person's links that are out, because they got into wrong hands. The next export sends new ones."""
    runtime = current_runtime()
    visitor = _visitor(runtime, email)
    own = sorted(visitor.identifiers.subjects | visitor.identifiers.emails)
    with runtime.ledger.begin() as connection:
        for token in own:
            runtime.ledger.links.revoke(
                token, reason, kind=page and str(page), scope=destination, connection=connection
            )
    if as_json:
        print_json({"revoked": own})
        return
    out.print("The links that are out don't work any more; the next export sends new ones.")


def _visitor(runtime: Runtime, email: str) -> Visitor:
    """The person with an address. Raises `DataError` when nobody is known by it."""
    from personalization.errors import DataError
    from personalization.ledger import normalise_email
    from personalization.ledger.links import Link
    from personalization.serve.pages.visitor import look

    address = normalise_email(email)
    if address is None:
        raise DataError("that is not an e-mail address", hint="write it as in ann@example.com")
    token = runtime.keys.token("email", address)
    visitor = look(runtime.ledger, runtime.keys, runtime.program, Link("preferences", token, "", None))
    if not visitor.history and not visitor.held:
        raise DataError("nobody is known by that address", hint="it was never synced, or the person was erased")
    subject = min(visitor.identifiers.subjects, default=token)
    return look(runtime.ledger, runtime.keys, runtime.program, Link("preferences", subject, "", None))


def _purpose(runtime: Runtime, visitor: Visitor, name: str) -> dict[str, Any]:
    from personalization.serve.pages.visitor import confirm_until

    purpose, state, waiting = runtime.program.purposes[name], visitor.states[name], visitor.waiting.get(name)
    proof = next((each for each in visitor.history if each.event.event_id == state.event_id), None)
    return {
        "purpose": name,
        "lawful_basis": purpose.lawful_basis,
        "state": state.state,
        "since": state.effective_at.isoformat() if state.effective_at else None,
        "waiting_until": confirm_until(waiting).isoformat() if waiting else None,
        "proof": _said(proof) if proof else None,
    }


def _said(recorded: Recorded) -> dict[str, Any]:
    event = recorded.event
    return {
        "seq": recorded.seq,
        "event_id": event.event_id,
        "purpose": event.purpose,
        "action": event.action,
        "effective_at": event.effective_at.isoformat(),
        "recorded_at": recorded.recorded_at.isoformat(),
        "source": event.source,
        "method": event.method,
        "notice_version": event.notice_version,
        "notice_sha256": event.notice_sha256,
        "locale": event.locale,
        "jurisdiction": event.jurisdiction,
        "evidence": dict(event.evidence or {}),
        "actor": event.actor,
    }


def _suppressed(runtime: Runtime, visitor: Visitor) -> list[str]:
    tokens = visitor.identifiers.every | {runtime.keys.suppression_token(address) for address in visitor.addresses}
    listed = runtime.ledger.suppressions.snapshot()
    pairs = zip(listed["identifier_token"].to_pylist(), listed["reason"].to_pylist(), strict=True)
    return sorted({reason for token, reason in pairs if token in tokens})
