"""Links in e-mails that act for the person they were sent to: opaque, signed, revocable, the same whenever made.

A link says by itself whom it is for (see `Keyring.seal_links`), so millions of them need no table. The ledger keeps
only what ends them: revocations, each of which raises the number that a valid link must hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, insert, select

from personalization.errors import DataError, did_you_mean
from personalization.ledger.links_schema import link_revocations
from personalization.ledger.schema import from_micros, now, to_micros

if TYPE_CHECKING:
    from personalization.ledger.keys import Keyring
    from personalization.ledger.ledger import Ledger

KINDS = ("preferences", "unsubscribe", "confirm")
_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Link:
    """What a link says.

    Attributes
    ----------
    kind : str
        `preferences`, `unsubscribe` or `confirm`: a link opens no other page than its own.
    subject_token : str
        An identifier token of the person, as it is now, also when token keys were replaced since.
    scope : str
        The destination or campaign it went out with; for `confirm` the id of the grant it confirms.
    """

    kind: str
    subject_token: str
    scope: str
    expires_at: datetime | None


class LinkRefused(Exception):
    """A link that changes nothing."""


class UnknownLink(LinkRefused):
    """It was never made by us, was cut or altered, or belongs to another page."""


class ExpiredLink(LinkRefused):
    """It was valid, and is no longer: expired or revoked."""


class Links:
    """Makes, reads and revokes links. See `Ledger.links`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def issue(
        self,
        keys: Keyring,
        kind: str,
        subjects: Sequence[str],
        scope: str = "",
        *,
        expires_at: datetime | None = None,
        connection: Connection | None = None,
    ) -> list[str]:
        """The links of some people, in their order: the part of the address after the page's name.

        Parameters
        ----------
        kind : str
            One of KINDS.
        subjects : sequence of str
            An identifier token of each person.
        scope : str
            What the link went out with; a single link is revoked by it.
        expires_at : datetime, optional
            With a time zone; default: it works until it is revoked. What goes into mailings must not expire: an
            unsubscribe link has to work for at least 30 days after the mail (CAN-SPAM, 15 USC 7704(a)(3)), and the
            same link is in every mail.
        """
        if kind not in KINDS:
            raise DataError(f"there are no '{kind}' links", hint=did_you_mean(kind, KINDS))
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            revoked = _Revocations(reader)
        until = "" if expires_at is None else str(to_micros(expires_at))
        return keys.seal_links(
            [
                _SEPARATOR.join(
                    (kind[0], str(revoked.generation(subject, kind, scope)), until, scope, subject)
                ).encode()
                for subject in subjects
            ]
        )

    def read(self, keys: Keyring, kind: str, text: str, at: datetime, *, connection: Connection | None = None) -> Link:
        """What a link of a kind says at a moment.

        Raises
        ------
        UnknownLink
            Forged, cut, altered, of another kind, or made with keys that are gone.
        ExpiredLink
            Expired or revoked.
        """
        content = keys.open_link(text)
        parts = content.decode().split(_SEPARATOR) if content is not None else []
        if len(parts) != 5 or parts[0] != kind[0]:
            raise UnknownLink
        _, generation, until, scope, subject = parts
        subject = keys.current_token(subject)  # the link may have gone out under an earlier token key
        expires_at = from_micros(int(until)) if until else None
        with nullcontext(connection) if connection is not None else self._ledger.read() as reader:
            revoked = _Revocations(reader)
        if (expires_at is not None and at > expires_at) or int(generation) != revoked.generation(subject, kind, scope):
            raise ExpiredLink
        return Link(kind, subject, scope, expires_at)

    @staticmethod
    def say_the_same(keys: Keyring, first: str, second: str) -> bool:
        """Whether two links are of one kind, person, scope and end, and none was issued after a revocation."""
        said = []
        for text in (first, second):
            content = keys.open_link(text)
            if content is None:
                return False
            *rest, subject = content.decode().split(_SEPARATOR)
            said.append((*rest, keys.current_token(subject)))
        return said[0] == said[1]

    def revoke(
        self,
        subject: str,
        reason: str,
        *,
        kind: str | None = None,
        scope: str | None = None,
        connection: Connection | None = None,
    ) -> None:
        """End all links of a person that are out, or those of one kind or scope. Links issued from now on work."""
        with nullcontext(connection) if connection is not None else self._ledger.begin() as writer:
            last: int = writer.execute(select(func.coalesce(func.max(link_revocations.c.seq), 0))).scalar_one()
            writer.execute(
                insert(link_revocations).values(
                    seq=last + 1, subject_token=subject, kind=kind, scope=scope, reason=reason, recorded_at=now()
                )
            )


class _Revocations:
    """How often which links were revoked."""

    def __init__(self, reader: Connection) -> None:
        columns = link_revocations.c
        rows = reader.execute(select(columns.subject_token, columns.kind, columns.scope))
        self._counts = Counter((row.subject_token, row.kind, row.scope) for row in rows)

    def generation(self, subject: str, kind: str, scope: str) -> int:
        if not self._counts:
            return 0
        covering: Iterable[tuple[str, str | None, str | None]] = (
            (subject, each_kind, each_scope) for each_kind in (None, kind) for each_scope in (None, scope)
        )
        return sum(self._counts[each] for each in covering)
