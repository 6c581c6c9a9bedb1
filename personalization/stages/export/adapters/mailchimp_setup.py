"""A Mailchimp list before members are written: is it there, with all merge fields, and of the right types?"""

from __future__ import annotations

from personalization.program.models import MailchimpDestination
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.mailchimp_shapes import EXTERNAL_ID, FIELD_TYPES, words


class Setup:
    """Checks a list, and makes what is missing."""

    def __init__(self, destination: MailchimpDestination, name: str, http: Http) -> None:
        self._destination, self._name, self._http = destination, name, http
        self._list = f"/lists/{destination.list_id}"

    def run(self, known: frozenset[str]) -> list[str]:
        """See `Adapter.setup`."""
        answer = self._http.call("GET", self._list)
        if answer.status == 404:
            raise DestinationError(
                f"Mailchimp has no list '{self._destination.list_id}' in this account",
                hint="`list_id` is the audience ID: Audience, Settings, Audience name and defaults",
            )
        expect(self._http, answer, "show the list")
        existing = self._existing()
        wanted = {field.name: FIELD_TYPES[field.type] for field in self._destination.fields} | {EXTERNAL_ID: "text"}
        for tag, kind in wanted.items():
            if tag in existing:
                _check_type(tag, existing[tag], kind)
            elif tag in known:
                raise DestinationError(
                    f"the merge field {tag} was deleted at Mailchimp, and with it the values of all contacts",
                    hint=f"take it out of destinations.yaml, or run `personalization export setup {self._name}`: "
                    "it makes the field again and lets the next run send all contacts",
                )
        missing = {tag: kind for tag, kind in wanted.items() if tag not in existing}
        return [f"merge field {tag} ({kind})" for tag, kind in missing.items() if self._make(tag, kind)]

    def _existing(self) -> dict[str, str]:
        """Types of the list's merge fields by tag."""
        answer = self._http.call("GET", f"{self._list}/merge-fields", query={"count": 1000})
        fields = expect(self._http, answer, "show fields").body["merge_fields"]
        return {field["tag"]: field["type"] for field in fields}

    def _make(self, tag: str, kind: str) -> bool:
        """Make a merge field. False when somebody else did meanwhile: Mailchimp has each tag once."""
        body = {"tag": tag, "name": tag, "type": kind, "public": False}
        answer = self._http.call("POST", f"{self._list}/merge-fields", body=body, repeatable=False)
        if answer.ok:
            return True
        existing = self._existing()
        if tag not in existing:
            expect(self._http, answer, f"add {tag}")
        _check_type(tag, existing[tag], kind)
        return False


def expect(http: Http, answer: Answer, what: str) -> Answer:
    """A good answer. Raises `DestinationError` in Mailchimp's words for another one."""
    if not answer.ok:
        raise DestinationError(f"Mailchimp would not {what}: {http.redact(words(answer))}")
    return answer


def _check_type(tag: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise DestinationError(
            f"the merge field {tag} at Mailchimp has the type {found}, destinations.yaml says {wanted}",
            hint="change one of them; Mailchimp can't change a field's type, only delete it and make a new one",
        )
