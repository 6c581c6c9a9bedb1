"""Lists, subscribers and subscriptions of the listmonk sandbox, in SQLite: listmonk answers SQL, so the sandbox must.

The statements do what listmonk's own do (queries/subscribers.sql); the expressions that clients send are PostgreSQL,
of which SQLite understands comparisons, `->>` and, after a translation, casts such as `(…)::FLOAT`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

STATUSES = ("enabled", "disabled", "blocklisted")
SUBSCRIPTIONS = ("unconfirmed", "confirmed", "unsubscribed")
_LOCAL = r"[^\s\"(),:;<>@\[\]\\.]+(?:\.[^\s\"(),:;<>@\[\]\\.]+)*"
_ADDRESS = re.compile(rf"{_LOCAL}@(?:{_LOCAL}|\[(?:\d{{1,3}}\.){{3}}\d{{1,3}}\])")
_CAST = re.compile(r"(\([^()]*\)|[\w.]+(?:->>?'[^']*')*)::(\w+)")
_AFFINITY = {"float": "real", "numeric": "real", "int": "integer", "integer": "integer", "text": "text"}
_CHUNK = 500
SPARES_BLOCKLISTED = (5, 0)  # imports before it give the blocklisted a subscription; nobody mails them all the same
NAMES_NOBODY = (2, 5)  # before it everybody needs a name
_SCHEMA = """
create table if not exists lists (
    id integer primary key autoincrement, uuid text, name text, type text, optin text, status text default 'active',
    tags text default '[]', created_at text, updated_at text
);
create table if not exists subscribers (
    id integer primary key autoincrement, uuid text, email text unique, name text, attribs text not null default '{}',
    status text default 'enabled', created_at text, updated_at text
);
create table if not exists subscriber_lists (
    subscriber_id integer references subscribers on delete cascade, list_id integer references lists on delete cascade,
    status text, created_at text, updated_at text, primary key (subscriber_id, list_id)
);
create table if not exists sent_optins (subscriber_id integer, list_id integer);
create table if not exists campaign_views (subscriber_id integer, campaign_id integer, created_at text);
create table if not exists link_clicks (subscriber_id integer, campaign_id integer, url text, created_at text);
create table if not exists bounces (
    id integer primary key autoincrement, subscriber_id integer, campaign_id integer, type text, created_at text
);
"""


class Data:
    """What a listmonk server keeps.

    Parameters
    ----------
    path : Path, optional
        SQLite file; None forgets everything at the end.
    list_name : str
        Of the first list; the second, "Opt-in list", asks new subscribers to confirm.
    """

    def __init__(self, path: Path | None, list_name: str) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._list_name = list_name
        self.version = (0, 0)
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("pragma foreign_keys = on")
        self._db.execute("pragma case_sensitive_like = on")  # as in PostgreSQL
        self._db.executescript(_SCHEMA)
        if not self.lists():
            self._add_first_lists()

    def forget(self) -> None:
        activity = ("campaign_views", "link_clicks", "bounces")
        for table in ("subscriber_lists", "subscribers", "lists", "sent_optins", *activity, "sqlite_sequence"):
            self._db.execute(f"delete from {table}")  # noqa: S608
        self._add_first_lists()

    @contextmanager
    def together(self) -> Iterator[None]:
        """All or nothing."""
        self._db.execute("begin")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def lists(self) -> list[dict[str, Any]]:
        return [_list(row) for row in self._db.execute("select * from lists order by id")]

    def counted(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """A list with its subscribers by status."""
        rows = self._db.execute(
            "select status, count(*) from subscriber_lists where list_id = ? group by status", (entry["id"],)
        )
        statuses = dict(rows.fetchall())
        return {**entry, "subscriber_count": sum(statuses.values()), "subscriber_statuses": statuses}

    def add_list(self, name: str, kind: str, optin: str, tags: Sequence[str]) -> dict[str, Any]:
        now = moment()
        cursor = self._db.execute(
            "insert into lists (uuid, name, type, optin, tags, created_at, updated_at) values (?, ?, ?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), name, kind, optin, json.dumps(list(tags)), now, now),
        )
        return next(entry for entry in self.lists() if entry["id"] == cursor.lastrowid)

    def delete_list(self, key: int) -> None:
        self._db.execute("delete from lists where id = ?", (key,))

    def subscribers(
        self, where: str, list_ids: Sequence[int], status: str, order: str, limit: int, offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of subscribers, and how many there are. Raises `sqlite3.Error` when the expression is not SQL."""
        condition = f"({_as_sqlite(where)})" if where else "true"
        if list_ids:
            joined = ",".join(str(int(key)) for key in list_ids)
            condition = re.sub(r"\bsubscriber_lists\.(updated_at|status)\b", r"l.\1", condition)
            on_list = f"l.subscriber_id = subscribers.id and l.list_id in ({joined}) and (? = '' or l.status = ?)"
            condition = f"exists (select 1 from subscriber_lists l where {on_list} and {condition})"  # noqa: S608
        bound = (status, status) if list_ids else ()
        self._db.execute("pragma query_only = on")  # listmonk runs it in a transaction that can only read
        try:
            total = self._db.execute(f"select count(*) from subscribers where {condition}", bound).fetchone()[0]  # noqa: S608
            query = f"select * from subscribers where {condition} order by {order} limit {limit} offset {offset}"  # noqa: S608
            rows = self._db.execute(query, bound).fetchall()
        finally:
            self._db.execute("pragma query_only = off")
        return self._shown(rows), int(total)

    def subscriber(self, key: int) -> dict[str, Any] | None:
        found = self._shown(self._db.execute("select * from subscribers where id = ?", (key,)).fetchall())
        return found[0] if found else None

    def insert(
        self, email: str, name: str, status: str, attribs: Mapping[str, Any], list_ids: Sequence[int], preconfirm: bool
    ) -> dict[str, Any]:
        """Raises `sqlite3.IntegrityError` when the address is there already."""
        now = moment()
        cursor = self._db.execute(
            "insert into subscribers (uuid, email, name, attribs, status, created_at, updated_at)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (str(uuid.uuid4()), email, name, json.dumps(attribs), status, now, now),
        )
        key = int(cursor.lastrowid or 0)
        given = "unsubscribed" if status == "blocklisted" else "confirmed" if preconfirm else "unconfirmed"
        for entry in self.lists():
            if entry["id"] in list_ids:
                self._db.execute(
                    "insert into subscriber_lists values (?, ?, ?, ?, ?)", (key, entry["id"], given, now, now)
                )
        if not preconfirm:
            self._ask_to_confirm(key, list_ids)
        return self.subscriber(key) or {}

    def _ask_to_confirm(self, key: int, list_ids: Sequence[int] | None) -> None:
        """Mail somebody who has not confirmed; no lists, and none named: for all of theirs."""
        for entry in (self.subscriber(key) or {}).get("lists", []):
            unconfirmed = entry["optin"] == "double" and entry["subscription_status"] == "unconfirmed"
            if unconfirmed and (not list_ids or entry["id"] in list_ids):
                self._db.execute("insert into sent_optins values (?, ?)", (key, entry["id"]))

    def sent_optins(self) -> list[dict[str, Any]]:
        rows = self._db.execute(
            "select s.email, o.list_id from sent_optins o join subscribers s on s.id = o.subscriber_id order by o.rowid"
        )
        return [dict(row) for row in rows]

    def update(
        self,
        key: int,
        email: str,
        name: str,
        status: str,
        attribs: Mapping[str, Any],
        list_ids: Sequence[int] | None,
        preconfirm: bool = False,
    ) -> dict[str, Any]:
        """`update-subscriber-with-lists`: empty texts leave what is there; lists replace the subscriptions if given."""
        now = moment()
        self._db.execute(
            "update subscribers set email = iif(? <> '', ?, email), name = iif(? <> '', ?, name),"
            " status = iif(? <> '', ?, status), attribs = ?, updated_at = ? where id = ?",
            (email, email, name, name, status, status, json.dumps(attribs), now, key),
        )
        if list_ids is not None:
            kept = ",".join(str(int(entry)) for entry in list_ids)
            query = f"delete from subscriber_lists where subscriber_id = ? and list_id not in ({kept})"  # noqa: S608
            self._db.execute(query, (key,))
            for entry in list_ids:
                given = "unsubscribed" if status == "blocklisted" else "confirmed" if preconfirm else "unconfirmed"
                self._db.execute(
                    "insert into subscriber_lists select ?, id, ?, ?, ? from lists where id = ? on conflict do update"
                    " set status = iif(? = 'unsubscribed' or status = 'unconfirmed', excluded.status, status)",
                    (key, given, now, now, entry, given),
                )
        if not preconfirm:
            self._ask_to_confirm(key, list_ids)
        return self.subscriber(key) or {}

    def upsert(
        self,
        email: str,
        name: str,
        attribs: Mapping[str, Any],
        list_ids: Sequence[int],
        subscription: str,
        overwrite_info: bool,
        overwrite_subscription: bool,
    ) -> None:
        """`upsert-subscriber`, as imports do it: attributes are replaced whole, or left."""
        now = moment()
        key, status = self._db.execute(
            "insert into subscribers (uuid, email, name, attribs, status, created_at, updated_at)"
            " values (?, ?, ?, ?, 'enabled', ?, ?) on conflict (email) do update set"
            " name = iif(?, excluded.name, name), attribs = iif(?, excluded.attribs, attribs),"
            " updated_at = excluded.updated_at returning id, status",
            (str(uuid.uuid4()), email, name, json.dumps(attribs), now, now, overwrite_info, overwrite_info),
        ).fetchone()
        for entry in list_ids:
            self._db.execute(
                "insert into subscriber_lists values (?, ?, ?, ?, ?) on conflict do update set"
                " updated_at = excluded.updated_at, status = iif(?, excluded.status, status)",
                (
                    key,
                    entry,
                    "unsubscribed" if status == "blocklisted" and self.version >= SPARES_BLOCKLISTED else subscription,
                    now,
                    now,
                    overwrite_subscription,
                ),
            )

    def blocklist_address(self, email: str, name: str, attribs: Mapping[str, Any]) -> None:
        """`upsert-blocklist-subscriber`."""
        self.upsert(email, name, attribs, [], "unsubscribed", False, False)
        (key,) = self._db.execute("select id from subscribers where email = ?", (email,)).fetchone()
        self.blocklist([key])

    def blocklist(self, keys: Sequence[int]) -> None:
        now = moment()
        rows = [(now, key) for key in keys]
        self._db.executemany("update subscribers set status = 'blocklisted', updated_at = ? where id = ?", rows)
        self._db.executemany(
            "update subscriber_lists set status = 'unsubscribed', updated_at = ? where subscriber_id = ?", rows
        )

    def subscribe(self, keys: Sequence[int], list_ids: Sequence[int], status: str) -> None:
        """`add-subscribers-to-lists`: a status that is given is written over what is there."""
        now = moment()
        self._db.executemany(
            "insert into subscriber_lists values (?, ?, ?, ?, ?) on conflict do update set"
            " status = iif(? <> '', ?, status)",
            [(key, entry, status or "unconfirmed", now, now, status, status) for key in keys for entry in list_ids],
        )

    def unsubscribe(self, keys: Sequence[int], list_ids: Sequence[int]) -> None:
        self._db.executemany(
            "update subscriber_lists set status = 'unsubscribed', updated_at = ?"
            " where subscriber_id = ? and list_id = ?",
            [(moment(), key, entry) for key in keys for entry in list_ids],
        )

    def remove(self, keys: Sequence[int], list_ids: Sequence[int]) -> None:
        self._db.executemany(
            "delete from subscriber_lists where subscriber_id = ? and list_id = ?",
            [(key, entry) for key in keys for entry in list_ids],
        )

    def delete(self, keys: Sequence[int]) -> None:
        self._db.executemany("delete from subscribers where id = ?", [(key,) for key in keys])

    def recipients(self) -> list[str]:
        """Everybody on a list who neither left it nor is blocklisted."""
        rows = self._db.execute(
            "select distinct s.email from subscribers s join subscriber_lists l on l.subscriber_id = s.id"
            " where s.status = 'enabled' and l.status <> 'unsubscribed' order by s.id"
        )
        return [row["email"] for row in rows]

    def happened(self, event: Mapping[str, Any]) -> None:
        """What an event leaves behind: listmonk keeps no record of what it sent."""
        found = self._db.execute("select id from subscribers where email = ?", (event["address"],)).fetchone()
        if found is None:
            return
        key, campaign, at = int(found["id"]), int(event["campaign"]), _utc_text(event["at"])
        if event["kind"] == "opened":
            self._db.execute("insert into campaign_views values (?, ?, ?)", (key, campaign, at))
        elif event["kind"] == "clicked":
            self._db.execute("insert into link_clicks values (?, ?, ?, ?)", (key, campaign, event["url"], at))
        elif event["kind"] == "unsubscribed":
            self._db.execute(
                "update subscriber_lists set status = 'unsubscribed', updated_at = ? where subscriber_id = ?", (at, key)
            )
        elif event["kind"] in ("bounced", "complained"):
            kind = "complaint" if event["kind"] == "complained" else "hard" if event["hard"] else "soft"
            self._db.execute(
                "insert into bounces (subscriber_id, campaign_id, type, created_at) values (?, ?, ?, ?)",
                (key, campaign, kind, at),
            )
            if kind != "soft":
                self.blocklist([key])

    def bounces(self) -> list[dict[str, Any]]:
        """The newest first."""
        rows = self._db.execute(
            "select b.id, b.type, b.created_at, b.subscriber_id, b.campaign_id, s.email, s.uuid as subscriber_uuid"
            " from bounces b left join subscribers s on s.id = b.subscriber_id order by b.created_at desc, b.id desc"
        )
        return [dict(row) for row in rows]

    def activity(self, key: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """How often a subscriber viewed each campaign and clicked each link, and when last."""
        views = self._db.execute(
            "select campaign_id as id, count(*) as view_count, max(created_at) as last_viewed_at from campaign_views"
            " where subscriber_id = ? group by campaign_id",
            (key,),
        )
        clicks = self._db.execute(
            "select campaign_id, url, count(*) as click_count, max(created_at) as last_clicked_at from link_clicks"
            " where subscriber_id = ? group by campaign_id, url",
            (key,),
        )
        return [dict(row) for row in views], [dict(row) for row in clicks]

    def _add_first_lists(self) -> None:
        self.add_list(self._list_name, "private", "single", [])
        self.add_list("Opt-in list", "public", "double", [])

    def _shown(self, rows: Sequence[sqlite3.Row]) -> list[dict[str, Any]]:
        lists = {entry["id"]: entry for entry in self.lists()}
        shown = [{**dict(row), "attribs": json.loads(row["attribs"]), "lists": []} for row in rows]
        by_id = {row["id"]: row for row in shown}
        keys = list(by_id)
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"select * from subscriber_lists where subscriber_id in ({marks}) order by list_id"  # noqa: S608
            for entry in self._db.execute(query, chunk):
                by_id[entry["subscriber_id"]]["lists"].append(
                    {
                        "subscription_status": entry["status"],
                        "subscription_created_at": entry["created_at"],
                        "subscription_updated_at": entry["updated_at"],
                        "subscription_meta": {},
                        **lists[entry["list_id"]],
                    }
                )
        return shown


def sanitised(address: Any) -> str | None:
    """The address as listmonk keeps it, in lower case; None when it is none."""
    if not isinstance(address, str) or len(address) > 1000:
        return None
    lowered = address.strip().lower()
    return lowered if _ADDRESS.fullmatch(lowered) else None


def default_name(address: str, version: tuple[int, int]) -> str:
    """What listmonk calls somebody without a name; nothing before version 2.5, which takes nobody without one."""
    if version < NAMES_NOBODY:
        return ""
    return " ".join(part.capitalize() for part in address.partition("@")[0].replace(".", " ").split())


def moment() -> str:
    return datetime.now(UTC).isoformat()


def _utc_text(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).isoformat()


def _as_sqlite(expression: str) -> str:
    def cast(match: re.Match[str]) -> str:
        return f"cast({match[1]} as {_AFFINITY.get(match[2].lower(), 'text')})"

    return _CAST.sub(cast, expression)


def _list(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "tags": json.loads(row["tags"]), "description": ""}
