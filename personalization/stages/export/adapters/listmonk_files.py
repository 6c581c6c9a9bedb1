"""Imports to listmonk as they are sent, and its log of them as it is read. No request is made here."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from personalization.program.models import ListmonkDestination
from personalization.stages.export.adapters.listmonk_shapes import Subscriber, Wish, name_of

SPLIT_FLAGS = (6, 0)  # the first version whose imports can overwrite attributes and leave subscriptions alone
_SKIPPED = re.compile(r"skipping (?:invalid attributes JSON on )?line (\d+)\b[:.]?\s*(?:\S*@\S*: )?(.*)")


def adding_params(destination: ListmonkDestination, list_id: int) -> str:
    """The parameters of an import that adds who is not there, and touches nothing of who is."""
    return json.dumps(
        {
            "mode": "subscribe",
            "subscription_status": destination.new_contacts,
            "overwrite": False,
            "overwrite_userinfo": False,
            "overwrite_subscription_status": False,
            "delim": ",",
            "lists": [list_id],
        }
    )


def rewriting_params(list_id: int, version: tuple[int, int] | None) -> str:
    """The parameters of an import that rewrites attributes and subscribes nobody, whoever it finds.

    Before version 6 `overwrite` also sets the status of subscriptions: such an import names no lists, and so touches
    none. Later versions have a flag of its own for each, and must be told a list: whoever is not on it, any more or
    yet, comes onto it as unsubscribed.
    """
    if version is not None and version < SPLIT_FLAGS:
        return json.dumps(
            {
                "mode": "subscribe",
                "subscription_status": "unsubscribed",
                "overwrite": True,
                "overwrite_subscription_status": False,
                "delim": ",",
                "lists": [],
            }
        )
    return json.dumps(
        {
            "mode": "subscribe",
            "subscription_status": "unsubscribed",
            "overwrite": False,
            "overwrite_userinfo": True,
            "overwrite_subscription_status": False,
            "delim": ",",
            "lists": [list_id],
        }
    )


def adding_file(destination: ListmonkDestination, rows: Sequence[tuple[Wish, Subscriber | None]]) -> bytes:
    """The CSV of an import that adds. Whoever is there already only joins the list."""
    return _import_file(
        (wanted.address, name_of(wanted.address), None if known else {destination.attribute: wanted.attribute({})})
        for wanted, known in rows
    )


def rewriting_file(destination: ListmonkDestination, rows: Sequence[tuple[Wish, Subscriber]]) -> bytes:
    """The CSV of an import that rewrites: name and attributes of others as they were read a moment ago."""
    return _import_file(
        (
            wanted.address,
            known.name or name_of(wanted.address),
            {**known.attribs, destination.attribute: wanted.attribute(known.ours)},
        )
        for wanted, known in rows
    )


def _import_file(rows: Iterable[tuple[str, str, Mapping[str, Any] | None]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("email", "name", "attributes"))
    for address, name, attributes in rows:
        text = "" if attributes is None else json.dumps(attributes, ensure_ascii=False, separators=(",", ":"))
        writer.writerow((address, name, text))
    return buffer.getvalue().encode()


def skipped_lines(log: str) -> dict[int, str]:
    """Rows that an import left out, by their number in the file (the first is 1), with listmonk's words."""
    found = (_SKIPPED.search(line) for line in log.splitlines())
    return {int(match[1]): match[2].partition(": [")[0].strip() or "skipped" for match in found if match}
