"""`personalization privacy …`: show what is held about a person, erase it, prove both, and report on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalization.commands.common import JsonFlag, current_runtime, err, out, print_json
from personalization.errors import PersonalizationError, PrivacyError

if TYPE_CHECKING:
    from personalization.ledger.requests import Request
    from personalization.runtime import Runtime

app = typer.Typer(
    help="Show what is held about a person, erase it, prove both, and report on it.", no_args_is_help=True
)

Person = Annotated[str, typer.Argument(help="E-mail address, telephone number, customer id, or customer token.")]
RequestOption = Annotated[
    str | None, typer.Option("--request", metavar="ID", help="The request it answers; default: the person's open one.")
]
MannerOption = Annotated[str, typer.Option("--manner", help="How the request came, for the record: letter, e-mail, …")]


@app.command()
def erase(
    person: Person,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be erased.")] = False,
    request: RequestOption = None,
    manner: MannerOption = "command line",
    as_json: JsonFlag = False,
) -> None:
    """Erase a person everywhere, for good, and prove it by a byte scan and a signed receipt.

    Safe to repeat: an erasure that was interrupted goes on where it was. Exit code 9 when anything is left.
    """
    from personalization.privacy.erase import erase as erase_person
    from personalization.privacy.found import found_of

    runtime = current_runtime()
    with surroundings(runtime):
        found = found_of(runtime, person)
        if dry_run:
            _print_found(found, as_json)
            return
        if not as_json:
            _print_found(found, as_json)
        if not yes:
            typer.confirm("Erase all of this for good? The person stays suppressed.", abort=True)
        erased = erase_person(
            runtime,
            person,
            at=datetime.now(UTC),
            manner=manner,
            request_id=request,
            on_progress=lambda step: err.print(f"  {step}", style="dim"),
        )
    if as_json:
        print_json(
            {
                "request": erased.request.request_id,
                "receipt": str(erased.receipt),
                "steps": erased.steps,
                "sources": erased.sources,
            }
        )
        return
    out.print("[green]Erased.[/green] A byte scan of the state folder found nothing of the person.")
    out.print(f"Receipt: {erased.receipt}", soft_wrap=True)
    if erased.sources:
        out.print("[yellow]Your own source files still name the person:[/yellow]")
        for source in erased.sources:
            out.print(f"  {source}")
        out.print("Delete the rows there too. What comes from there again stays suppressed, but it is held again.")


@app.command()
def export(
    person: Person,
    request: RequestOption = None,
    manner: MannerOption = "command line",
    as_json: JsonFlag = False,
) -> None:
    """Make a copy of everything held about a person: data.json and a readable page, in var/privacy/<request>/."""
    from personalization.privacy.answer import make_copy

    runtime = current_runtime()
    with surroundings(runtime):
        copy = make_copy(runtime, person, at=datetime.now(UTC), manner=manner, request_id=request)
    if as_json:
        shown = {"request": copy.request.request_id, "folder": str(copy.folder), "rows": copy.rows}
        print_json({**shown, "not_read": copy.not_read})
    else:
        out.print(
            f"{copy.rows:,} rows are in {copy.folder}: index.html to read, data.json to take elsewhere.", soft_wrap=True
        )
        out.print("Only this user can read them. Make sure who asks before you hand them out.")
    if copy.not_read:
        said = "; ".join(f"{name}: {problem}" for name, problem in copy.not_read.items())
        raise PrivacyError(
            f"the copy is not complete: {said}",
            hint="remove the cause and run it again; the request stays open until then",
        )


@app.command()
def work(as_json: JsonFlag = False) -> None:
    """Work off open requests: copies at once, erasures once they are approved (or at once, see program.yaml)."""
    from personalization.privacy.answer import work_off

    runtime = current_runtime()
    with surroundings(runtime):
        done = work_off(runtime, datetime.now(UTC))
    if as_json:
        print_json(
            [{"request": each.request.request_id, "outcome": each.outcome, "waits": each.waits} for each in done]
        )
        return
    if not done:
        out.print("No privacy request is open.")
    for each in done:
        out.print(f"{each.request.request_id}: {each.outcome or each.waits}", soft_wrap=True)


@app.command()
def audit(
    month: Annotated[str, typer.Option("--month", metavar="YYYY-MM", help="The month to report on.")],
    anew: Annotated[bool, typer.Option("--anew", help="Look at everything again instead of reproducing.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Don't read the destinations back.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the compliance report of a month, signed. Made again it is the same. Exit code 9 with critical findings."""
    from personalization.privacy.audit import audit as make_audit

    runtime = current_runtime()
    with surroundings(runtime):
        made = make_audit(runtime, month, datetime.now(UTC), anew=anew, read_platforms=not offline)
    if as_json:
        print_json(
            {
                "month": month,
                "folder": str(made.folder),
                "reproduced": made.again,
                "findings": [vars(finding) for finding in made.findings],
            }
        )
    else:
        styles = {"critical": "red bold", "warning": "yellow", "note": "dim"}
        for finding in made.findings:
            out.print(f"[{styles[finding.severity]}]{finding.severity}[/]", end=" ")
            out.print(f"{finding.title}: {finding.detail}", markup=False, soft_wrap=True)
        if not made.findings:
            out.print("[green]No findings.[/green]")
        out.print(
            f"{'Reproduced, the same bytes' if made.again else 'Report'}: {made.folder / 'index.html'}", soft_wrap=True
        )
    if made.critical:
        raise typer.Exit(PrivacyError.exit_code)


@app.command()
def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is overdue.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove what has been kept long enough, as `privacy` of program.yaml says. Records of requests stay."""
    from personalization.privacy.retention import expire, overdue

    runtime, now = current_runtime(), datetime.now(UTC)
    if dry_run:
        found = overdue(runtime, now)
    else:
        expired = expire(runtime, now)
        found = {**expired.rows, "copies": expired.copies, "message_bodies": expired.bodies}
        found = {kind: count for kind, count in found.items() if count}
    if as_json:
        print_json({"overdue" if dry_run else "removed": found})
        return
    listed = ", ".join(f"{count:,} {kind}" for kind, count in found.items()) or "nothing"
    out.print(f"{'Overdue' if dry_run else 'Removed'}: {listed}.")


@app.command()
def verify(
    document: Annotated[Path, typer.Argument(help="A receipt.json or audit.json.")],
    as_json: JsonFlag = False,
) -> None:
    """Check that a receipt or audit is genuine: unchanged, and signed with this installation's key."""
    from personalization.privacy.receipt import verify as verify_document

    runtime = current_runtime()
    found = verify_document(document, runtime.keys)
    if as_json:
        print_json({"ok": True, "document": found["document"], "public_key": found["signature"]["public_key"]})
        return
    out.print(f"[green]Genuine:[/green] {found['document']}, signed with {found['signature']['public_key']}.")


@app.command("verify-ledger")
def verify_ledger(as_json: JsonFlag = False) -> None:
    """Check the ledger: its file, the chain of consent events, the privacy log. Names the first wrong entry.

    Both chains were made anew with each new token key: the old heads are listed, as they are signed in the privacy log.
    """
    from personalization.ledger.token_rotation import signed_changes

    runtime = current_runtime()
    ledger = runtime.ledger
    consent, log = ledger.verify(), ledger.requests.state()
    changes = signed_changes(ledger, runtime.keys)
    if as_json:
        print_json(
            {
                "ok": True,
                "consent": {"events": consent.seq, "head": consent.head},
                "privacy_log": {"entries": log.seq, "head": log.head},
                "token_keys": changes,
            }
        )
        return
    out.print(f"[green]The ledger is sound.[/green] {consent.seq:,} consent events, head {consent.head[:16]}…")
    out.print(f"{log.seq:,} entries in the privacy log, head {log.head[:16]}…")
    for each in changes:
        before, after = each["consent_head_before"][:16], each["consent_head"][:16]
        out.print(f"{each['at']}: token key {each['from']} became {each['to']} (signed); the head of the first")
        out.print(f"  {each['consent_events']:,} consent events, {before}…, became {after}….")


@app.command()
def requests(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """List privacy requests with their deadlines, the most urgent first."""
    from rich.table import Table

    now = datetime.now(UTC)
    known = current_runtime().ledger.requests.all()
    shown = sorted((request for request in known if everything or request.is_open), key=lambda found: found.due_at)
    if as_json:
        print_json([_as_dict(request, now) for request in shown])
        return
    if not shown:
        out.print("No privacy request is open.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("request", "received", "due", "status", "how it came"):
        table.add_column(heading, no_wrap=heading != "how it came")
    for request in shown:
        late = request.is_overdue(now)
        left = (request.due_at - now).days
        deadline = f"{request.due_at:%Y-%m-%d}"
        if request.is_open:
            deadline += " [red]overdue[/red]" if late else f", {left} days"
        table.add_row(
            request.request_id,
            f"{request.received_at:%Y-%m-%d}",
            deadline,
            request.outcome or request.basis or request.status,
            request.manner,
        )
    out.print(table)


@app.command("open")
def open_request(
    kind: Annotated[str, typer.Argument(help="access, erasure or opt_out_sale.")],
    person: Person,
    manner: MannerOption = "command line",
    received: Annotated[
        str | None, typer.Option("--received", metavar="YYYY-MM-DD", help="When it came; default: now.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Note a request that came by letter, e-mail or telephone, so that its deadline is watched."""
    from personalization.privacy.person import find_person

    runtime = current_runtime()
    at = datetime.now(UTC)
    if received:
        try:
            at = datetime.fromisoformat(received).replace(tzinfo=UTC)
        except ValueError:
            raise PersonalizationError(f"'{received}' is not a day", hint="write it as 2026-11-25") from None
    request = runtime.ledger.requests.get(
        runtime.ledger.requests.open(kind, find_person(runtime, person).tokens[0], manner, at)
    )
    if as_json:
        print_json(_as_dict(request, at))
        return
    out.print(f"{request.request_id}: to be answered by {request.due_at:%Y-%m-%d}.")


@app.command()
def approve(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    who: Annotated[str, typer.Option("--by", help="Your name, for the record.")],
) -> None:
    """Let an erasure that was asked for on the preference page be carried out."""
    current_runtime().ledger.requests.approve(request, who, datetime.now(UTC))
    out.print(f"{request} is approved by {who}: `personalization privacy work` carries it out.")


@app.command()
def deny(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    basis: Annotated[str, typer.Option("--basis", help="On what ground of the law; kept with the request.")],
) -> None:
    """Refuse a request. The person has to be told why, and that they may complain."""
    current_runtime().ledger.requests.deny(request, basis, datetime.now(UTC))
    out.print(f"{request} is denied: {basis}")


@app.command()
def extend(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    until: Annotated[str, typer.Option("--until", metavar="YYYY-MM-DD", help="The new deadline.")],
    reason: Annotated[str, typer.Option("--because", help="Why; the person has to be told.")],
) -> None:
    """Put a deadline off, by at most two months."""
    try:
        day = datetime.fromisoformat(until).replace(tzinfo=UTC)
    except ValueError:
        raise PersonalizationError(f"'{until}' is not a day", hint="write it as 2026-11-25") from None
    current_runtime().ledger.requests.extend(request, day, reason, datetime.now(UTC))
    out.print(f"{request} is due on {until}.")


@contextmanager
def surroundings(runtime: Runtime) -> Iterator[None]:
    """The demo's stand-in for Mailchimp runs while its destinations are used."""
    from personalization.demo import demo_environment, is_demo

    if not is_demo(runtime):
        yield
        return
    with demo_environment(runtime):
        yield


def _print_found(found: Any, as_json: bool) -> None:
    if as_json:
        print_json(found.to_dict())
        return
    for line in found.lines():
        out.print(line, markup=False)


def _as_dict(request: Request, now: datetime) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(request), "is_open": request.is_open, "is_overdue": request.is_overdue(now)}
