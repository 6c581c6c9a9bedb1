"""`personalization inbox …`: look at the webhook events that came, and try again what was not understood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from personalization.commands.apply import apply
from personalization.commands.common import JsonFlag, current_runtime, out, print_json

if TYPE_CHECKING:
    from personalization.ledger.inbox_dead import DeadLetter

app = typer.Typer(help="Look at the webhook events that came, and apply them.", no_args_is_help=True)
app.command()(apply)


@app.command()
def status(as_json: JsonFlag = False) -> None:
    """Say how many events came from each source, how far each consumer is, and what could not be understood."""
    runtime = current_runtime()
    inbox = runtime.ledger.inbox
    counts, conflicts, letters = inbox.counts(), inbox.conflicts(), inbox.dead_letters.all()
    last, watermarks = inbox.last_seq(), inbox.watermarks()
    sources = [
        {
            "source": source,
            "events": events,
            "newest": newest.isoformat(),
            "conflicts": conflicts.get(source, 0),
            "dead": sum(letter.source == source for letter in letters),
        }
        for source, events, newest in counts
    ]
    if as_json:
        consumers = {name: {"applied": at, "waiting": last - at} for name, at in watermarks.items()}
        print_json({"last": last, "sources": sources, "consumers": consumers})
        return
    if not sources:
        out.print("Nothing came yet.")
        return
    table = Table(
        "source",
        "events",
        "newest",
        "conflicts",
        "dead letters",
        title=f"{last} event{'' if last == 1 else 's'}",
        title_justify="left",
    )
    for row in sources:
        table.add_row(*(str(value)[:19] for value in row.values()))
    out.print(table)
    for name, at in watermarks.items():
        out.print(f"{name}: applied up to {at}, {last - at} waiting")
    if conflicts:
        out.print("conflicts: an event came again under its id with other content; the first is kept")
    if letters:
        out.print("dead letters: see `personalization inbox dead`")


@app.command()
def dead(as_json: JsonFlag = False) -> None:
    """List the events that could not be understood, and why."""
    letters = current_runtime().ledger.inbox.dead_letters.all()
    if as_json:
        print_json([_letter(letter) for letter in letters])
        return
    if not letters:
        out.print("There are no dead letters.")
        return
    table = Table("row", "source", "came", "tried", "state", "why")
    for letter in letters:
        came = f"{letter.received_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(letter.seq), letter.source, came, str(letter.attempts), letter.state, letter.reason)
    out.print(table)
    out.print(
        "Look at one with `personalization inbox show ROW`; mend the program, then `personalization inbox replay`."
    )


@app.command()
def show(
    row: Annotated[int, typer.Argument(help="Its number, as `inbox status` and `inbox dead` give it.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the values, which may be personal data.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show one event; its values only with --reveal."""
    from personalization.webhooks.decode import Unreadable
    from personalization.webhooks.senders import SENDERS
    from personalization.webhooks.show import masked
    from personalization.webhooks.sources import webhook_sources

    runtime = current_runtime()
    (event,) = runtime.ledger.inbox.get([row])
    body = event.body(runtime.keys)
    source = webhook_sources(runtime.program).get(event.source)
    content: Any = None
    if body is not None and source is not None:
        try:
            content = SENDERS[source.sender].read(body)
            content = content if reveal else masked(content)
        except Unreadable as problem:
            content = body.decode("utf-8", "backslashreplace") if reveal else f"({len(body)} bytes: {problem})"
    elif body is not None:
        content = body.decode("utf-8", "backslashreplace") if reveal else f"({len(body)} bytes)"
    details = {
        "row": event.seq,
        "source": event.source,
        "event_key": event.event_key,
        "event_at": event.event_at.isoformat() if event.event_at else None,
        "received_at": event.received_at.isoformat(),
        "body": content if body is not None else "(erased)",
    }
    if as_json:
        print_json(details)
        return
    import json

    for name, value in details.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2, default=str, ensure_ascii=False)
        out.print(f"{name}: {text}", markup=False, soft_wrap=True)


@app.command()
def replay(
    rows: Annotated[list[int] | None, typer.Argument(help="Numbers of dead letters; all when left out.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try dead letters again, with the program as it is now. Opt-outs and consent in them count at once."""
    from personalization.webhooks.replay import replay as replay_letters

    runtime = current_runtime()
    _ = runtime.ledger.vault(runtime.keys)  # refuses the keys of another ledger
    outcomes = replay_letters(runtime.program, runtime.ledger, runtime.keys, rows or None)
    if as_json:
        print_json([{"row": one.seq, "source": one.source, "state": one.state, "why": one.reason} for one in outcomes])
        return
    if not outcomes:
        out.print("There are no dead letters.")
    for one in outcomes:
        out.print(f"{one.seq} {one.source}: {_STATES[one.state]}" + (f": {one.reason}" if one.reason else ""))


_STATES = {
    "settled": "understood",
    "replay": "understood; the next run applies the rest of it",
    "dead": "still not understood",
}


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "row": letter.seq,
        "source": letter.source,
        "event_key": letter.event_key,
        "received_at": letter.received_at.isoformat(),
        "state": letter.state,
        "why": letter.reason,
        "attempts": letter.attempts,
    }
