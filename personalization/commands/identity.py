"""`personalization identity …`: why identifiers are one person, and corrections of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from personalization.commands.common import JsonFlag, current_runtime, out, print_json

if TYPE_CHECKING:
    from personalization.runtime import Runtime

app = typer.Typer(help="Say why identifiers are one person, and correct it.", no_args_is_help=True)

WHO = "Your own customer id, an e-mail address, or an identifier token."
By = Annotated[str, typer.Option("--by", help="Who decides it; kept in the ledger.")]
Why = Annotated[str, typer.Option("--why", help="Why; kept in the ledger.")]


@app.command()
def explain(who: Annotated[str, typer.Argument(help=WHO)], as_json: JsonFlag = False) -> None:
    """Say which records and keys make a person, what was corrected, and whose opt-outs count as well."""
    from personalization.stages.decisions.customer import find_customer
    from personalization.stages.sync.identity_explain import explain_identity

    runtime = current_runtime()
    with runtime.warehouse.connect(read_only=True) as session:
        person = find_customer(session, runtime.keys, who)
        explanation = explain_identity(session, runtime.ledger, person)
    if as_json:
        print_json(explanation.to_dict())
    else:
        out.print(explanation.to_text(), markup=False, soft_wrap=True)


@app.command()
def split(
    first: Annotated[str, typer.Argument(help=WHO)],
    second: Annotated[str, typer.Argument(help="Who is another person: an id, an address, or a token.")],
    by: By,
    why: Why,
    as_json: JsonFlag = False,
) -> None:
    """Record that two identifiers are two people; counts from the next run on. Opt-outs go on covering both."""
    _correct("split", first, second, by, why, as_json)


@app.command()
def link(
    first: Annotated[str, typer.Argument(help=WHO)],
    second: Annotated[str, typer.Argument(help="Who is the same person: an id, an address, or a token.")],
    by: By,
    why: Why,
    as_json: JsonFlag = False,
) -> None:
    """Record that two identifiers are one person; counts from the next run on."""
    _correct("link", first, second, by, why, as_json)


@app.command()
def undo(
    number: Annotated[int, typer.Argument(help="Number of the correction.")],
    by: By,
    why: Why,
    as_json: JsonFlag = False,
) -> None:
    """Take a correction back; counts from the next run on. The record of it stays."""
    undone = current_runtime().ledger.identity_corrections.undo(number, actor=by, reason=why)
    if as_json:
        print_json({"undone": undone.id, "kind": undone.kind})
        return
    out.print(f"Correction {undone.id} ({undone.kind}) no longer holds from the next run on.")


@app.command("corrections")
def corrections(as_json: JsonFlag = False) -> None:
    """List the corrections that hold."""
    holding = current_runtime().ledger.identity_corrections.holding()
    if as_json:
        print_json([asdict(each) for each in holding])
        return
    for each in holding:
        out.print(
            f"{each.id}: {each.kind} {each.first_token} {each.second_token} by {each.actor}: {each.reason}",
            markup=False,
            soft_wrap=True,
        )
    if not holding:
        out.print("No correction holds.")


def _correct(kind: str, first: str, second: str, by: str, why: str, as_json: bool) -> None:
    runtime = current_runtime()
    tokens = [_token(runtime, asked) for asked in (first, second)]
    number = runtime.ledger.identity_corrections.add(kind, *tokens, actor=by, reason=why)
    if as_json:
        print_json({"correction": number, "kind": kind, "tokens": tokens})
        return
    out.print(f"Correction {number} ({kind}) is recorded; it counts from the next run on.")


def _token(runtime: Runtime, asked: str) -> str:
    """The identifier's own token. Raises `DataError` when no record names it."""
    from personalization.errors import DataError
    from personalization.ledger import normalise_email, normalise_id

    if asked.startswith("t1_"):
        token, named = runtime.keys.current_token(asked), f"the token {asked}"
    elif "@" in asked:
        token, named = runtime.keys.token("email", normalise_email(asked) or asked), "this e-mail address"
    else:
        token, named = runtime.keys.token("customer", normalise_id(asked) or ""), f"the id '{asked.strip()}'"
    with runtime.warehouse.connect(read_only=True) as session:
        known = session.value("select count(*) from landed.identity where identifier_token = ?", [token])
    if not known:
        raise DataError(f"no record names {named}", hint="is it written as the source writes it?")
    return token
