"""Members of the Mailchimp sandbox: upsert, status rules, tags, the bulk call.

The rule that matters most: nobody who unsubscribed, bounced or was deleted for good can be subscribed through the
API; `status_if_new` counts for addresses that are new to the list only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from personalization.sandbox.answers import Problem, invalid, not_found
from personalization.sandbox.mailchimp_fields import MergeFields
from personalization.sandbox.store import Store

STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
MAX_BULK = 500
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]+\.[^@\s<>,;]+")
_HASH = re.compile(r"[0-9a-f]{32}")
_REQUIRED = "Required fields were not provided: {}"


class Members:
    """The members of one list, by the MD5 of their lower-case address."""

    def __init__(self, store: Store, list_id: str, fields: MergeFields) -> None:
        self._store = store
        self._list_id = list_id
        self._fields = fields
        self._members, self._tags, self._forgotten = (f"{kind}:{list_id}" for kind in ("members", "tags", "forgotten"))

    @property
    def all(self) -> Mapping[str, Any]:
        return self._store.all(self._members)

    def get(self, key: str) -> dict[str, Any]:
        member = self.all.get(self._hash(key))
        if member is None or member["status"] == "archived":
            raise not_found()
        return self.shown(member)

    def upsert(self, key: str, body: Mapping[str, Any], *, skip_required: bool = False) -> dict[str, Any]:
        """PUT: `status_if_new` for an address new to the list, `status` (which may be left out) for a known one."""
        address = _address(body.get("email_address"))
        member = self._known(self._hash(key))
        if member is None:
            if self._hash(key) != _md5(address):
                raise invalid("The subscriber hash is not the MD5 of the lower-case address.", [])
            status = body.get("status_if_new") or body.get("status")
            if status is None:
                raise invalid(_SCHEMA, [("status_if_new", _REQUIRED.format("status_if_new"))])
            return self._add(address, _status(status, "status_if_new"), body, skip_required=skip_required)
        return self._change(member, body, skip_required=skip_required)

    def change(self, key: str, body: Mapping[str, Any], *, skip_required: bool = False) -> dict[str, Any]:
        """PATCH: only what is given."""
        member = self._known(self._hash(key))
        if member is None:
            raise not_found()
        return self._change(member, body, skip_required=skip_required)

    def leave(self, address: str, status: str, at: str) -> None:
        """A recipient unsubscribes, or a mail bounces or is complained about."""
        member = self._known(_md5(address))
        if member is not None:
            self._keep({**member, "status": status, "last_changed": at, "unsubscribed_at": at})

    def archive(self, key: str) -> None:
        member = self._known(self._hash(key))
        if member is None:
            raise not_found()
        self._keep({**member, "status": "archived"})

    def delete_permanently(self, key: str) -> None:
        """The address can't be added through the API again."""
        known = self._hash(key)
        if known not in self.all:
            raise not_found()
        self._store.delete(self._members, known)
        self._store.put(self._forgotten, known, True)

    def bulk(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST /lists/{id}: always answers 200; what failed is in `errors`."""
        members = body.get("members")
        if not isinstance(members, list):
            raise invalid(_SCHEMA, [("members", "Schema describes array, another type found instead")])
        if len(members) > MAX_BULK:
            raise invalid(f"At most {MAX_BULK} members can be sent at once.", [("members", "Too many items")])
        new, updated, errors = [], [], []
        for entry in members:
            address = entry.get("email_address") if isinstance(entry, dict) else None
            try:
                key = _md5(_address(address))
                status = _status(entry.get("status"), "status")
                known = self._known(key)
                if known is None:
                    new.append(self._add(entry["email_address"], status, entry, skip_required=False))
                elif not body.get("update_existing"):
                    errors.append(_bulk_error(address, "is already a list member", "ERROR_CONTACT_EXISTS"))
                else:
                    updated.append(self._change(known, entry, skip_required=False))
            except Problem as problem:
                first = (problem.errors or [{}])[0]
                errors.append(_bulk_error(address, problem.detail, "ERROR_GENERIC", first))
        return {
            "new_members": new,
            "updated_members": updated,
            "errors": errors,
            "total_created": len(new),
            "total_updated": len(updated),
            "error_count": len(errors),
        }

    def tag(self, key: str, body: Mapping[str, Any]) -> None:
        """POST …/tags: activates and deactivates tags; an unknown tag is made."""
        member = self._known(self._hash(key))
        if member is None:
            raise not_found()
        tags = body.get("tags")
        if not isinstance(tags, list) or not all(
            isinstance(tag, dict) and tag.get("name") and tag.get("status") in ("active", "inactive") for tag in tags
        ):
            raise invalid(_SCHEMA, [("tags", "Each tag needs a name and the status active or inactive")])
        held = {tag["name"]: tag for tag in member["tags"]}
        for tag in tags:
            if tag["status"] == "inactive":
                held.pop(tag["name"], None)
                continue
            known = self._store.get(self._tags, tag["name"])
            number = known or len(self._store.all(self._tags)) + 1
            if not known:
                self._store.put(self._tags, tag["name"], number)
            held[tag["name"]] = {"id": number, "name": tag["name"]}
        self._keep({**member, "tags": list(held.values())})

    def lose_field(self, tag: str) -> None:
        """A deleted merge field takes its values with it: a new field of the same tag starts empty."""
        for member in list(self.all.values()):
            if tag in member["merge_fields"]:
                values = {name: value for name, value in member["merge_fields"].items() if name != tag}
                self._keep({**member, "merge_fields": values})

    def shown(self, member: Mapping[str, Any]) -> dict[str, Any]:
        """A member as answers show it: every merge field of the list has a value, `""` when it was never set."""
        return {
            "id": member["id"],
            "email_address": member["email_address"],
            "unique_email_id": member["id"][:10],
            "contact_id": member["id"],
            "email_type": member["email_type"],
            "status": member["status"],
            "merge_fields": {tag: member["merge_fields"].get(tag, "") for tag in self._fields.by_tag},
            "timestamp_opt": member["timestamp_opt"],
            "last_changed": member["last_changed"],
            "list_id": self._list_id,
            "tags_count": len(member["tags"]),
            "tags": member["tags"],
        }

    def _known(self, key: str) -> dict[str, Any] | None:
        member = self.all.get(key)
        return None if member is None or member["status"] == "archived" else member

    def _add(self, address: str, status: str, body: Mapping[str, Any], *, skip_required: bool) -> dict[str, Any]:
        key = _md5(address)
        if self._store.get(self._forgotten, key):
            raise Problem(
                400,
                "Forgotten Email Not Subscribed",
                f"{address} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get "
                "back on the list.",
            )
        values = self._fields.check(body.get("merge_fields", {}), new_member=True, skip_required=skip_required)
        moment = _now()
        member = {
            "id": key,
            "email_address": address,
            "email_type": body.get("email_type", "html"),
            "status": status,
            "merge_fields": values,
            "tags": [],
            "timestamp_opt": moment if status == "subscribed" else "",
            "last_changed": moment,
        }
        self._keep(member)
        names = [{"name": name, "status": "active"} for name in body.get("tags", [])]
        if names:
            self.tag(key, {"tags": names})
        return self.shown(self.all[key])

    def _change(self, member: dict[str, Any], body: Mapping[str, Any], *, skip_required: bool) -> dict[str, Any]:
        status = member["status"]
        if body.get("status") is not None:
            wanted = _status(body["status"], "status")
            if wanted == "subscribed" and status in ("unsubscribed", "cleaned"):
                raise Problem(
                    400,
                    "Member In Compliance State",
                    f"{member['email_address']} is in a compliance state due to unsubscribe, bounce, or compliance "
                    "review and cannot be subscribed.",
                )
            status = wanted
        values = member["merge_fields"]
        if "merge_fields" in body:
            checked = self._fields.check(body["merge_fields"], new_member=False, skip_required=skip_required)
            values = {**values, **checked}
        moment = _now()
        left = moment if status == "unsubscribed" != member["status"] else member.get("unsubscribed_at")
        changed = {
            **member,
            "status": status,
            "merge_fields": values,
            "last_changed": moment,
            "unsubscribed_at": left,
        }
        self._keep(changed)
        return self.shown(changed)

    def _keep(self, member: dict[str, Any]) -> None:
        self._store.put(self._members, member["id"], member)

    @staticmethod
    def _hash(key: str) -> str:
        """Mailchimp takes the MD5 or the address itself."""
        return key if _HASH.fullmatch(key) else _md5(key)


_SCHEMA = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."


def _md5(address: str) -> str:
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _address(value: Any) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise invalid(
            "Please provide a valid email address.", [("email_address", "This value should be a valid email.")]
        )
    return value


def _status(value: Any, name: str) -> str:
    if value not in STATUSES:
        raise invalid(_SCHEMA, [(name, f"Value must be one of: {', '.join(STATUSES)}")])
    return str(value)


def _bulk_error(address: Any, error: str, code: str, first: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {
        "email_address": address or "",
        "error": error,
        "error_code": code,
        "field": (first or {}).get("field", ""),
        "field_message": (first or {}).get("message", ""),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
