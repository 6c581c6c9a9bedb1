"""Shapes of Mailchimp's API: what is written to it and how its answers are read. No request is made here.

Nothing here can subscribe anyone who is on the list already: upserts carry `status_if_new`, which counts for new
addresses only, and no `status`; the only statuses ever written to a member are `unsubscribed` and, for an address
whose mail bounces, `cleaned`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from personalization.program.models import DestinationField, MailchimpDestination
from personalization.stages.export.adapters.base import Contact, DestinationError, Lost
from personalization.stages.export.adapters.http import Answer

EXTERNAL_ID = "EXTERNALID"
OUT = ("unsubscribed", "cleaned")
FIELD_TYPES = {"text": "text", "number": "number", "date": "date"}
_TAG = re.compile(r"[A-Z0-9_]{1,10}")
_DATA_CENTRE = re.compile(r"[a-z]+[0-9]+")

Value = str | int | float


@dataclass(frozen=True)
class MemberCall:
    """One call for one member: `body` is what it changes, `stored` what the answer must then show."""

    method: str
    path: str
    body: Mapping[str, Any]
    stored: Mapping[str, Value]

    @property
    def opts_out(self) -> bool:
        return self.body.get("status") in OUT

    @property
    def cleans(self) -> bool:
        """Whether the mailbox is what is wrong, and not what the person said."""
        return self.body.get("status") == "cleaned"

    @property
    def only_fields(self) -> MemberCall:
        """For somebody who is out already: a cleaned address must not hide that its owner unsubscribed."""
        return MemberCall(self.method, self.path, {"merge_fields": self.body["merge_fields"]}, self.stored)

    @property
    def only_opt_out(self) -> MemberCall:
        """The opt-out without anything that could make it fail."""
        return MemberCall("PATCH", self.path, {"status": "unsubscribed"}, {})


def field_problems(fields: Sequence[DestinationField]) -> list[tuple[int, str]]:
    """Which fields can't be merge fields, and why."""
    return [
        (number, f"'{field.name}' can't be a merge field: at most 10 characters of A-Z, 0-9 and _")
        if not _TAG.fullmatch(field.name)
        else (number, f"{EXTERNAL_ID} is where the customer's token goes: choose another name")
        for number, field in enumerate(fields)
        if not _TAG.fullmatch(field.name) or field.name == EXTERNAL_ID
    ]


def data_centre_url(api_key: str) -> str:
    """The API's address, from the data centre at the end of the key."""
    data_centre = api_key.rpartition("-")[2]
    if "-" not in api_key or not _DATA_CENTRE.fullmatch(data_centre):
        raise DestinationError(
            "the Mailchimp API key does not end with a data centre, such as -us6",
            hint="copy the whole key from Mailchimp: Account & billing, Extras, API keys",
        )
    return f"https://{data_centre}.api.mailchimp.com/3.0"


def member_call(destination: MailchimpDestination, contact: Contact) -> MemberCall:
    """The call that does to a member what a contact's operation says."""
    path = f"/lists/{destination.list_id}/members/{subscriber_hash(contact.address)}"
    if contact.operation in ("remove", "retract"):
        cleared: dict[str, Value] = {field.name: "" for field in destination.fields}
        status = {"status": "unsubscribed"} if contact.operation == "retract" else {}
        if status and contact.opt_out == "bounced":
            status = {"status": "cleaned"}
        return MemberCall("PATCH", path, {**status, "merge_fields": cleared}, cleared)
    values: dict[str, Value] = {EXTERNAL_ID: contact.external_id}
    for field in destination.fields:
        value = contact.values.get(field.name)
        if value is not None:
            values[field.name] = float(Decimal(value)) if field.type == "number" else value
        elif field.null == "clear":
            values[field.name] = ""
    body = {
        "email_address": contact.address,
        "status_if_new": destination.new_contacts,
        "merge_fields": values,
    }
    return MemberCall("PUT", path, body, values)


def subscriber_hash(address: str) -> str:
    """How Mailchimp names a member."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def batch_body(calls: Sequence[tuple[str, MemberCall]]) -> dict[str, Any]:
    """The body of `POST /batches`; each call's answer comes back under its id."""
    return {
        "operations": [
            {
                "method": call.method,
                "path": call.path,
                "body": json.dumps(call.body, ensure_ascii=False, separators=(",", ":")),
                "operation_id": operation_id,
            }
            for operation_id, call in calls
        ]
    }


def batch_answers(archive: bytes, receipt: str) -> dict[str, Answer]:
    """The answers in the tar.gz of a batch's results, by operation id. Raises `Lost` when it can't be read."""
    answers = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as files:
            for entry in files:
                content = files.extractfile(entry) if entry.isfile() else None
                for result in json.load(content) if content else []:
                    body = json.loads(result["response"]) if result["response"] else None
                    answers[str(result["operation_id"])] = Answer(int(result["status_code"]), body)
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise Lost(f"Mailchimp's results of batch {receipt} can't be read: {type(error).__name__}") from None
    return answers


def differing_fields(stored: Mapping[str, Value], member: Mapping[str, Any]) -> list[str]:
    """Merge fields in which a member does not show what it should. Mailchimp ignores unknown fields without a word."""
    shown = member.get("merge_fields") or {}
    return sorted(tag for tag, value in stored.items() if not _same(shown.get(tag), value))


def words(answer: Answer) -> str:
    """The platform's own words about why it refused."""
    body = answer.body if isinstance(answer.body, dict) else {}
    said = [str(body[key]) for key in ("title", "detail") if body.get(key)]
    errors = body.get("errors") or []
    fields = [f"{error.get('field')}: {error.get('message')}" for error in errors if isinstance(error, dict)]
    return ": ".join(said) + (f" ({'; '.join(fields)})" if fields else "") or f"status {answer.status}"


def _same(shown: Any, value: Value) -> bool:
    if value == "":
        return shown in (None, "")
    if isinstance(value, str):
        return unicodedata.normalize("NFC", str(shown)).strip() == value.strip()
    try:
        return Decimal(str(shown)) == Decimal(str(value))
    except InvalidOperation:
        return False
