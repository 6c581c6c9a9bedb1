"""Which content a table has, without reading it again: a hash over its rows, noted at the table itself.

A note goes away when the table is made anew, and `Session` takes it away with every write, in the same transaction. So
a table whose rows may be others has none. Whoever changes rows by other means calls `Session.set_note(table, None)`.
"""

from __future__ import annotations

from personalization.warehouse.duck import Session

_CONTENT = "content "
ABSENT = "absent"


def content_version(session: Session, table: str) -> str:
    """The hash over all rows of `schema.name`, whatever their order; `absent` when there is no such table.

    The table is read only when it was written since the hash was noted.
    """
    if not session.has_table(table):
        return ABSENT
    noted = session.note(table)
    if noted is not None and noted.startswith(_CONTENT):
        return noted.removeprefix(_CONTENT)
    found = session.fingerprint(table)
    session.set_note(table, _CONTENT + found)
    return found
