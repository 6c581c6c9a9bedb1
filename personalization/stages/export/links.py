"""Each person's own links to the preference page and to unsubscribe, as values of a destination's fields.

The same person has the same link at a destination until it is revoked or the key changes, so unchanged input makes no
export. A link acts for the person: it is shown in no plan, log or error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from personalization.as_of import AsOf
from personalization.errors import ProgramError
from personalization.stages.export.adapters.registry import destination_of
from personalization.warehouse import Session

if TYPE_CHECKING:
    from personalization.runtime import Runtime

DECISIONS = "decisions.decisions"


def link_table(session: Session, runtime: Runtime, name: str, as_of: AsOf) -> pa.Table:
    """`customer_token`, and a column for each kind of link that the destination's fields ask for.

    Raises
    ------
    ProgramError
        `serve.public_url` does not say where the pages are.
    """
    fields = destination_of(runtime.program, name).fields
    kinds = sorted({field.link for field in fields if field.link})
    columns: dict[str, pa.Array] = {"customer_token": pa.array([], pa.string())}
    if kinds:
        url = runtime.program.settings.serve.public_url
        if url is None:
            raise ProgramError(
                f"destination '{name}' has fields with links, but nothing says where the pages are",
                at=runtime.program.position("destinations", ("destinations", name)),
                hint="set serve.public_url in program.yaml, e.g. https://mail.example.com",
            )
        people = [
            token
            for (token,) in session.rows(
                f"select distinct customer_token from {DECISIONS} where as_of = ? and outcome = 'send'",  # noqa: S608
                [as_of.day],
            )
        ]
        columns["customer_token"] = pa.array(people, pa.string())
        for kind in kinds:
            issued = runtime.ledger.links.issue(runtime.keys, kind, people, name)
            columns[kind] = pa.array([f"{url.rstrip('/')}/{kind}/{link}" for link in issued], pa.string())
    return pa.table(columns)
