"""The platforms' sandboxes without a server: filled by the adapters' own shapes, asked by the sandboxes' own rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.program.models import (
    DestinationField,
    HubspotDestination,
    ListmonkDestination,
    MailchimpDestination,
    SalesforceDestination,
)
from personalization.rules.native import Native
from personalization.sandbox.hubspot_contacts import Contacts
from personalization.sandbox.hubspot_lists import Lists
from personalization.sandbox.hubspot_properties import Properties
from personalization.sandbox.listmonk_data import Data
from personalization.sandbox.mailchimp_account import Account
from personalization.sandbox.salesforce_data import DataExtensions
from personalization.sandbox.salesforce_queries import Queries
from personalization.sandbox.store import Store
from personalization.stages.export.adapters import (
    hubspot_shapes,
    listmonk_shapes,
    mailchimp_shapes,
    salesforce_segments,
    salesforce_shapes,
)
from personalization.stages.export.adapters.base import Contact

COLUMNS = {"campaign": "text", "visits": "number", "score": "number", "city": "text", "joined": "date", "vip": "text"}


def mapped(upper: bool) -> list[DestinationField]:
    return [
        DestinationField(
            name=column.upper() if upper else column,
            column=column,
            type=kind,
            null="keep" if column == "campaign" else "clear",
        )
        for column, kind in COLUMNS.items()
    ]


class Mailchimp:
    destination = MailchimpDestination(platform="mailchimp", api_key="k", list_id="l1", fields=mapped(upper=True))
    readings = (
        {"blanks_pass": True, "ignores_case": True},
        {"blanks_pass": False, "ignores_case": False},
    )

    def __init__(self) -> None:
        self._account = Account(Store(), "l1")
        for name, kind in [("EXTERNALID", "text"), *((f.name, f.type) for f in self.destination.fields)]:
            self._ask("POST", "/lists/l1/merge-fields", {"tag": name, "name": name, "type": kind})

    def write(self, contact: Contact) -> None:
        call = mailchimp_shapes.member_call(self.destination, contact)
        self._ask(call.method, call.path, call.body)

    def stranger(self, address: str) -> None:
        path = f"/lists/l1/members/{mailchimp_shapes.subscriber_hash(address)}"
        self._ask("PUT", path, {"email_address": address, "status_if_new": "subscribed"})

    def members(self, native: Native, reading: Mapping[str, bool]) -> set[str]:
        for name, value in reading.items():
            setattr(self._account.segments, name, value)
        made = self._ask("POST", "/lists/l1/segments", {"name": "s", "options": native.content})
        path = f"/lists/l1/segments/{made['id']}"
        found = self._account.handle("GET", f"{path}/members", {"count": "1000"}, None).body["members"]
        self._ask("DELETE", path)
        return {member["email_address"] for member in found}

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._account.handle(method, path, {}, body)
        assert answer.status < 400, answer.body
        return answer.body


class Hubspot:
    destination = HubspotDestination(
        platform="hubspot", access_token="t", subscription_ids=[1001], fields=mapped(upper=False)
    )
    readings = ({"ignores_case": True}, {"ignores_case": False})

    def __init__(self) -> None:
        store = Store()
        properties = Properties(store, {})
        self._contacts = Contacts(store, properties, lambda address: {})
        self._lists = Lists(store, properties.all)
        properties.handle("POST", ["groups"], {"name": "personalization", "label": "P"})
        kinds = {"personalization_id": "text"} | {f.name: f.type for f in self.destination.fields}
        for name, kind in kinds.items():
            properties.handle("POST", [], hubspot_shapes.property_body(self.destination, name, kind))

    def write(self, contact: Contact) -> None:
        wanted = dict(hubspot_shapes.wanted(self.destination, contact).properties)
        known = [key for key, one in self._contacts.all.items() if one["properties"]["email"] == contact.address]
        if known:
            self._contacts.handle("PATCH", known, {}, {"properties": wanted})
        else:
            self._contacts.handle("POST", [], {}, {"properties": {"email": contact.address, **wanted}})

    def stranger(self, address: str) -> None:
        self._contacts.handle("POST", [], {}, {"properties": {"email": address}})

    def members(self, native: Native, reading: Mapping[str, bool]) -> set[str]:
        self._lists.ignores_case = reading["ignores_case"]
        body = {"name": "s", "objectTypeId": "0-1", "processingType": "DYNAMIC", "filterBranch": native.content}
        number = self._lists.handle("POST", [], {}, body).body["list"]["listId"]
        found = self._lists.handle("GET", [number, "memberships"], {}, None).body["results"]
        self._lists.handle("DELETE", [number], {}, None)
        return {self._contacts.all[one["recordId"]]["properties"]["email"] for one in found}


class Listmonk:
    destination = ListmonkDestination(
        platform="listmonk", base_url="u", api_user="a", api_token="t", list=1, fields=mapped(upper=True)
    )
    readings: tuple[dict[str, bool], ...] = ({},)

    def __init__(self) -> None:
        self._data = Data(None, "News")

    def write(self, contact: Contact) -> None:
        wish = listmonk_shapes.wish(self.destination, contact)
        attribs = {"personalization": wish.attribute({})}
        known = [one for one in self._data.subscribers("", [], "", "id", -1, 0)[0] if one["email"] == contact.address]
        if known:
            self._data.update(known[0]["id"], "", "", "", attribs, None)
        else:
            self._data.insert(contact.address, "", "enabled", attribs, [1], True)

    def stranger(self, address: str) -> None:
        self._data.insert(address, "", "enabled", {"personalization": "somebody else's"}, [1], True)

    def members(self, native: Native, reading: Mapping[str, bool]) -> set[str]:
        return {one["email"] for one in self._data.subscribers(str(native.content), [1], "", "id", -1, 0)[0]}


class Salesforce:
    destination = SalesforceDestination(
        platform="salesforce",
        subdomain="x",
        client_id="i",
        client_secret="s",
        data_extension="people",
        fields=mapped(upper=True),
    )
    readings = ({"ignores_case": True}, {"ignores_case": False})

    def __init__(self) -> None:
        store = Store()
        self._data = DataExtensions(store)
        self._queries = Queries(store, self._data)
        columns = salesforce_shapes.columns(self.destination)
        self._make("people", columns)
        self._make("members", columns[:2])

    def _make(self, key: str, columns: list[salesforce_shapes.Column]) -> None:
        fields = [column.body(number) for number, column in enumerate(columns)]
        self._data.create({"name": key, "key": key, "categoryId": 1, "fields": fields})

    def write(self, contact: Contact) -> None:
        row = salesforce_shapes.wanted(self.destination, contact).values
        self._data.upsert(self._data.by_key("people") or {}, {"EmailAddress": contact.address, **row})

    def stranger(self, address: str) -> None:
        self._data.upsert(self._data.by_key("people") or {}, {"EmailAddress": address})

    def members(self, native: Native, reading: Mapping[str, bool]) -> set[str]:
        self._queries.ignores_case = reading["ignores_case"]
        select = salesforce_segments.SalesforceSegments(None, None, self.destination)._select  # type: ignore[arg-type]
        text = select("people", str(native.content))
        body = {"name": "q", "key": f"q{len(text)}{hash(text)}", "queryText": text}
        body |= {"targetName": "members", "targetKey": "members", "targetUpdateTypeId": 0, "categoryId": 1}
        made = self._queries.create(body).body
        self._queries.start(made["queryDefinitionId"], None)
        self._queries._store.delete("queries", made["queryDefinitionId"])
        rows = self._data.read("members", {"$pageSize": "1000"}).body["items"]
        return {row["keys"]["emailaddress"] for row in rows}


PLATFORMS = {"mailchimp": Mailchimp, "hubspot": Hubspot, "listmonk": Listmonk, "salesforce": Salesforce}
