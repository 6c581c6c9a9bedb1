"""What must be there in a HubSpot account before contacts are sent: properties, subscriptions, static lists."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from personalization.program.models import HubspotDestination
from personalization.stages.export.adapters.base import DestinationError
from personalization.stages.export.adapters.http import Answer, Http
from personalization.stages.export.adapters.hubspot_consent import Consent
from personalization.stages.export.adapters.hubspot_shapes import (
    MOVED_FROM,
    PROPERTY_TYPES,
    Paths,
    property_body,
    words,
)

CONTACTS = "0-1"  # HubSpot's number for the kind of objects that contacts are


class Setup:
    """Checks an account, and makes what is missing."""

    def __init__(self, destination: HubspotDestination, name: str, http: Http, paths: Paths, consent: Consent) -> None:
        self._destination, self._name = destination, name
        self._http, self._paths, self._consent = http, paths, consent

    def properties(self, known: frozenset[str]) -> list[str]:
        """See `Adapter.setup`."""
        existing = self._existing()
        id_property = self._destination.id_property
        kinds = {mapped.name: mapped.type for mapped in self._destination.fields}
        kinds |= {id_property: "text", MOVED_FROM: "text"}
        for name, kind in kinds.items():
            if name in existing:
                self._check(existing[name], kind, unique=name == id_property)
            elif name in known:
                raise DestinationError(
                    f"the property {name} was deleted at HubSpot, and with it the values of all contacts",
                    hint=f"take it out of destinations.yaml, or run `personalization export setup {self._name}`: "
                    "it makes the property again and lets the next run send all contacts",
                )
        missing = {name: kind for name, kind in kinds.items() if name not in existing}
        if missing:
            self._make_group()
        made = {name: kind for name, kind in missing.items() if self._make(name, kind, unique=name == id_property)}
        return [f"property {name} ({PROPERTY_TYPES[kind][0]})" for name, kind in made.items()]

    def all_properties(self) -> list[str]:
        """Names of every property that contacts have."""
        return list(self._existing())

    def has_id_property(self) -> bool:
        """Whether our unique property is there."""
        answer = self._http.call("GET", f"{self._paths.properties}/{self._destination.id_property}")
        return answer.status != 404 and bool(self._expect(answer, "show a property"))

    def subscriptions(self) -> None:
        """Every subscription that opt-outs are written to must be there: else they would be lost."""
        known = self._consent.known_subscriptions()
        missing = [one for one in self._destination.subscription_ids if one not in known]
        if missing:
            there = ", ".join(f"{number} ({name})" for number, name in sorted(known.items())) or "none"
            raise DestinationError(
                f"HubSpot has no active subscription type {', '.join(map(str, missing))}",
                hint=f"`subscription_ids` in destinations.yaml must be among these: {there}",
            )

    def lists(self, known: frozenset[str]) -> tuple[dict[str, str], list[str]]:
        """The id of each campaign's list, and what was made, in words."""
        field = next((one.name for one in self._destination.fields if one.column == "campaign"), "")
        found, made = {}, []
        for campaign, name in self._destination.lists.items():
            path = f"{self._paths.lists}/object-type-id/{CONTACTS}/name/{quote(name, safe='')}"
            answer = self._http.call("GET", path)
            if answer.status == 404:
                if field in known:
                    raise DestinationError(
                        f"the list '{name}' was deleted at HubSpot, and with it who was on it",
                        hint=f"take it out of `lists`, or run `personalization export setup {self._name}`: it makes "
                        "the list again and lets the next run send all contacts",
                    )
                body = {"name": name, "objectTypeId": CONTACTS, "processingType": "MANUAL"}
                answer = self._http.call("POST", self._paths.lists, body=body, repeatable=False)
                if not answer.ok:  # somebody else may have made it meanwhile: HubSpot has each name once
                    there = self._http.call("GET", path)
                    answer = there if there.ok else answer
                made.append(f"list '{name}' (contacts whose {field} is {campaign})")
            shown = self._expect(answer, f"show or make the list '{name}'").body["list"]
            if shown.get("processingType") not in ("MANUAL", "SNAPSHOT"):
                raise DestinationError(
                    f"the list '{name}' at HubSpot is an active one: its own rules say who is on it",
                    hint="give `lists` the name of a static list, or of none: then it is made",
                )
            found[campaign] = str(shown["listId"])
        return found, made

    def _check(self, existing: dict[str, Any], kind: str, *, unique: bool) -> None:
        name, wanted = existing["name"], PROPERTY_TYPES[kind][0]
        if existing["type"] != wanted:
            raise DestinationError(
                f"the property {name} at HubSpot has the type {existing['type']}, destinations.yaml says {wanted}",
                hint="change one of them, or give the field another name",
            )
        if (existing.get("modificationMetadata") or {}).get("readOnlyValue") or existing.get("calculated"):
            raise DestinationError(
                f"the property {name} at HubSpot can't be written", hint="give the field another name"
            )
        if unique and not existing.get("hasUniqueValue"):
            raise DestinationError(
                f"the property {name} at HubSpot does not demand unique values, and HubSpot can't change that",
                hint="name another one as `id_property`; it is made when it is not there",
            )

    def _make_group(self) -> None:
        group = self._destination.property_group
        path = f"{self._paths.properties}/groups"

        def there() -> bool:
            answer = self._expect(self._http.call("GET", path), "list property groups")
            return any(one["name"] == group for one in answer.body["results"])

        if there():
            return
        body = {"name": group, "label": group.replace("_", " ").capitalize()}
        answer = self._http.call("POST", path, body=body, repeatable=False)
        if not answer.ok and not there():
            self._expect(answer, f"add the property group {group}")

    def _existing(self) -> dict[str, dict[str, Any]]:
        """All properties of contacts by name."""
        answer = self._expect(self._http.call("GET", self._paths.properties), "list properties")
        return {str(one["name"]): one for one in answer.body["results"] if not one.get("archived")}

    def _make(self, name: str, kind: str, *, unique: bool) -> bool:
        """Make a property. False when somebody else did meanwhile: HubSpot has each name once."""
        body = property_body(self._destination, name, kind, unique=unique)
        answer = self._http.call("POST", self._paths.properties, body=body, repeatable=False)
        if answer.ok:
            return True
        existing = self._existing()
        if name not in existing:
            self._expect(answer, f"add the property {name}")
        self._check(existing[name], kind, unique=unique)
        return False

    def _expect(self, answer: Answer, what: str) -> Answer:
        if not answer.ok:
            raise DestinationError(f"HubSpot would not {what}: {self._http.redact(words(answer.body))}")
        return answer
