"""`personalization rules …` and `personalization schema`: help with writing the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personalization.commands.common import AsOfOption, JsonFlag, current_runtime, day_of, out, print_json
from personalization.errors import DataError

app = typer.Typer(help="Understand a rule before it is written into the program.", no_args_is_help=True)


@app.command()
def explain(
    expression: Annotated[str, typer.Argument(help="A rule, in quotes: \"orders_84d >= 2 AND did('open')\".")],
    customer: Annotated[
        str | None, typer.Option(help="Say whether it holds for this customer token, clause by clause.")
    ] = None,
    as_of: AsOfOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say a rule in words, and what it looks at; with --customer also why it holds or not."""
    from personalization.rules import describe, parse_rule, program_rules, rule_origin
    from personalization.rules import explain as explain_rule

    runtime = current_runtime()
    rules = program_rules(runtime.program)
    rule = parse_rule(expression, rules.catalog, origin=rule_origin())
    found: dict[str, object] = {
        "expression": expression,
        "words": describe(rule),
        "fields": {name: rules.catalog.fields[name].title for name in sorted(rule.fields)},
        "segments": sorted(rule.segments),
    }
    if customer:
        from personalization.rules import gather_facts

        day = day_of(runtime, as_of, latest=True)
        with runtime.warehouse.connect(read_only=True) as session:
            facts = gather_facts(session, [rule], day, customer)
        if facts is None:
            raise DataError(f"no customer '{customer}' has a profile for {day.key}", hint="give the customer's token")
        trace = explain_rule(rule, facts)
        found["clauses"] = list(trace.lines())
        found["holds"] = trace.holds
    if as_json:
        print_json(found)
        return
    out.print(f"{found['words']}", markup=False, soft_wrap=True)
    for name, title in found["fields"].items():  # type: ignore[attr-defined]
        out.print(f"  {name}: {title}", markup=False, soft_wrap=True)
    for line in found.get("clauses", []):  # type: ignore[attr-defined]
        out.print(line, markup=False, soft_wrap=True)


def schema(
    folder: Annotated[Path | None, typer.Argument(help="Where to write them; default: program/.schema.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a JSON Schema for each program file, so that an editor completes and checks them while you type."""
    from personalization.program.json_schema import write_schemas

    written = write_schemas(folder or current_runtime().workspace.program / ".schema")
    if as_json:
        print_json([str(path) for path in written])
        return
    for path in written:
        out.print(str(path))
    out.print(
        "\nEditors with a YAML language server use them when the first line of a file is, for instance:\n"
        "  # yaml-language-server: $schema=.schema/segments.json",
        markup=False,
    )
