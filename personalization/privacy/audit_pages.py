"""The audit for people: one page of HTML, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from personalization.privacy.pages import render, shown

_HIDDEN = "< 10 *"


def audit_page(document: Mapping[str, Any]) -> str:
    """The audit as HTML."""
    return render("audit.html.j2", a=document, sections=list(_sections(document)))


def audit_markdown(document: Mapping[str, Any]) -> str:
    """The audit as Markdown."""
    lines = [f"# Compliance audit {document['month']}", ""]
    lines += [f"{document['observed']['program']['name']}, made {document['made_at']}", "", "## Findings", ""]
    lines += [
        f"- **{finding['severity']}**: {finding['title']}. {finding['detail']}" for finding in document["findings"]
    ] or ["None."]
    for heading, note, rows in _sections(document):
        lines += ["", f"## {heading}", ""]
        if note:
            lines += [note, ""]
        if rows:
            names = list(rows[0])
            lines += [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
            lines += [f"| {' | '.join(_text(row.get(name)) for name in names)} |" for row in rows]
        else:
            lines.append("Nothing.")
    signature = document["signature"]
    lines += ["", "## Sign-off", "", "Reviewed by: ______________________  on: ______________", ""]
    lines += [f"Signed with {signature['algorithm']} {signature['public_key']}: `{signature['value']}`", ""]
    return "\n".join(lines)


def findings_table(findings: Sequence[Any]) -> str:
    """Findings as a Markdown table; a clean audit says so."""
    if not findings:
        return "no findings"
    lines = ["| severity | finding | detail |", "|---|---|---|"]
    return "\n".join(lines + [f"| {f.severity} | {f.title} | {_text(f.detail)} |" for f in findings])


_Rows = Sequence[Mapping[str, Any]]


def _sections(document: Mapping[str, Any]) -> Iterator[tuple[str, str, _Rows]]:
    """Every section as heading, note and rows."""
    consent, requests, observed = document["consent"], document["privacy_requests"], document["observed"]
    hidden = f"* fewer than {document['smallest_count']}, or withheld so that such a count can't be worked out."
    yield (
        "Where consent stands at the end of the month",
        f"Identifiers by purpose. {hidden}",
        [
            {
                "purpose": row["purpose"],
                "basis": row["lawful_basis"],
                "granted": _count(row["granted"]),
                "withdrawn": _count(row["withdrawn"]),
                "grants with proof": "" if row["proven_share"] is None else f"{100 * row['proven_share']:.1f} %",
            }
            for row in consent["standing"]
        ],
    )
    yield "What was said in the month", f"Statements. {hidden}", _cells(consent["statements"])
    yield "Which notice people had seen", f"Statements. {hidden}", _cells(consent["statements_by_notice"])
    yield "Newly suppressed", f"Identifiers. {hidden}", _cells(document["suppressions"]["added"])
    cuts, speed = observed["cuts"], observed["opt_out_speed"]
    yield (
        "Opt-outs",
        "An opt-out counts from the moment it is recorded: the next cut sees it.",
        [
            {"measure": "opt-outs recorded in the month", "value": _count(consent["opt_outs"])},
            {"measure": "Sec-GPC signals received", "value": shown(consent["browser_signals"]["received"])},
            {"measure": "of these applied", "value": shown(consent["browser_signals"]["applied"])},
            {"measure": "cuts checked", "value": shown(cuts["cuts"])},
            {"measure": "rows checked", "value": shown(cuts["rows"])},
            {"measure": "rows that left after an opt-out", "value": shown(cuts["violations"])},
            {"measure": "opt-outs passed on to platforms", "value": shown(speed["retractions"])},
            {"measure": "seconds until acknowledged there: p50, p95, longest", "value": _speeds(speed)},
        ],
    )
    yield (
        "Privacy requests",
        _requests_note(requests),
        [
            {
                "request": row["request"],
                "nature": row["nature"],
                "how it came": row["manner"],
                "received": row["received"][:10],
                "due": row["due"][:10],
                "answered": (row["answered"] or "")[:10],
                "answer": row["answer"] or row["basis_of_denial"] or row["status"],
                "nothing left": row["nothing_left"],
            }
            for row in requests["requests"]
        ],
    )
    yield (
        "Handed over to recipients",
        "Contacts added, changed or opted out, by destination.",
        [
            {key: row[key] for key in ("destination", "runs", "planned", "handed_over", "open_books")}
            for row in observed["exports"]
        ],
    )
    yield (
        "What platforms hold, read back",
        "",
        [
            {"destination": row["destination"], "result": row["problem"]}
            if "problem" in row
            else {
                "destination": row["destination"],
                "result": f"{row['acknowledged']:,} acknowledged, {row['found']:,} found",
                **{kind.replace("_", " "): row[kind] for kind in ("missing", "stale", "extra", "opted_out_but_active")},
            }
            for row in observed["platforms"]
        ],
    )
    yield (
        "Addresses found outside the vault",
        "Logs, reports, storage and tables were searched.",
        observed["identifiers_in_files"],
    )
    yield (
        "Kept longer than allowed",
        "",
        [{"what": kind, "count": count} for kind, count in observed["retention_overdue"].items()],
    )
    yield (
        "Keys",
        "Names and fingerprints, never keys.",
        [
            {"kind": row["kind"], "key": row["key"], "fingerprint": row["fingerprint"], "age in days": row["age_days"]}
            for row in observed["keys"]
        ],
    )
    yield (
        "Keys replaced in the month",
        "",
        [{"at": row["at"][:10], "kind": row["kind"], "what": _rotation(row)} for row in requests["rotations"]],
    )
    yield (
        "Data inventory",
        "",
        [
            {
                "data": row["title"],
                "purpose": row["purpose"],
                "basis": row["basis"],
                "kept": row["kept"],
                "recipients": row["recipients"],
            }
            for row in document["inventory"]
            if row["personal"]
        ],
    )
    chains, numbers = document["chains"], document["read_up_to"]
    yield (
        "Ledger",
        "What this audit rests on. Made again, it gives the same bytes.",
        [
            {"record": "consent events", "up to": numbers["consent"], "hash": chains["consent_head"]},
            {"record": "privacy log", "up to": numbers["privacy_log"], "hash": chains["privacy_log_head"]},
            {"record": "suppressions", "up to": numbers["suppressions"], "hash": None},
        ],
    )
    yield (
        "Program and code",
        "",
        [
            {"program": row["program"][:16], "code": row["code"], "runs": row["runs"]}
            for row in observed["program"]["runs"]
        ],
    )


def _cells(found: Mapping[str, Any]) -> _Rows:
    """A table of counts with totals."""
    rows = []
    for row in [*found["rows"], ""] if found["rows"] else []:
        entry: dict[str, Any] = {found["row"]: row or "all"}
        entry |= {column: _count(found["cells"][f"{row}|{column}"]) for column in found["columns"]}
        entry["all"] = _count(found["cells"][f"{row}|" if row else "|"])
        rows.append(entry)
    return rows


def _count(count: int | None) -> str:
    return _HIDDEN if count is None else f"{count:,}"


def _speeds(speed: Mapping[str, Any]) -> str:
    return "" if speed["p50"] is None else ", ".join(f"{speed[name]:g}" for name in ("p50", "p95", "max"))


def _requests_note(requests: Mapping[str, Any]) -> str:
    received = ", ".join(f"{count} {kind}" for kind, count in requests["received"].items()) or "none"
    days = (
        ""
        if requests["median_days"] is None
        else f" Median {requests['median_days']:g} days, mean {requests['mean_days']:g}."
    )
    return f"Received: {received}. Answered: {requests['answered']}, denied: {requests['denied']}.{days}"


def _rotation(row: Mapping[str, Any]) -> str:
    if "retired" in row:
        return f"{row['retired']} retired"
    return f"{', '.join(row['from']) or 'nothing'} replaced by {row['to']}, {row['data_keys']:,} data keys"


def _text(value: Any) -> str:
    return shown(value).replace("|", "\\|").replace("\n", " ")
