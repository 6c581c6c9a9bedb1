"""What the exporter and an adapter say to each other. docs/add-a-platform.md walks through adding a platform."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

from personalization.errors import ExportError
from personalization.ledger.outbox import Outcome
from personalization.ledger.schema import now


@dataclass(frozen=True)
class Clock:
    """Time as adapters and exporter use it, replaced in tests."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = now


class DestinationError(ExportError):
    """The destination refuses, or can't be used as it is set up. Nothing of the batch was applied."""


class Postponed(Exception):
    """The destination took nothing and asks to come back."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


class Lost(Exception):
    """A request may or may not have been applied."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Limits:
    """What a platform takes at once.

    Attributes
    ----------
    rows : int, optional
        Contacts in one batch; None: all in one.
    urgent_rows : int, optional
        Retractions go ahead of everything else in batches of at most this many; None: with everything else.
    open_batches : int
        Batches that may be worked on by the platform at the same time.
    text_bytes : int, optional
        Longest text value in UTF-8 bytes.
    patience : float
        Seconds to wait for a platform to take, or to finish, a batch.
    consistency : float
        Seconds after which a read shows what was confirmed before.
    """

    rows: int | None = None
    urgent_rows: int | None = None
    open_batches: int = 1
    text_bytes: int | None = None
    patience: float = 900.0
    consistency: float = 10.0


OptOutReason = Literal["unsubscribed", "bounced", "complained"]


class Contact(NamedTuple):
    """One contact as an adapter sees it, with the address. Never shown in a repr, a log or an error.

    Attributes
    ----------
    id : int
        Of the outbox row; outcomes refer to it.
    operation : str
        add, change: bring `values` there. remove: clear our values, keep the contact. retract: opt the contact out.
    address : str
        E-mail address, from the vault.
    external_id : str
        The customer's token in the destination's own namespace.
    values : dict
        Canonical text by field name; None where the value is unknown.
    opt_out : {"unsubscribed", "bounced", "complained"}
        Of a retraction: why. Platforms that know the difference are told; all of them stop mailing.
    """

    id: int
    operation: str
    address: str
    external_id: str
    values: dict[str, str | None]
    opt_out: OptOutReason = "unsubscribed"

    def __repr__(self) -> str:
        return f"Contact({self.id}, {self.operation}, {self.external_id})"


class Prepared(NamedTuple):
    """A contact and what will be sent for it, rendered before the cut."""

    contact: Contact
    request: Any

    def __repr__(self) -> str:
        return f"Prepared({self.contact})"


@dataclass(frozen=True)
class Batch:
    """Rows that passed the same cut and leave together.

    Attributes
    ----------
    run, number : int
        The export run and the batch within it: the same after a crash.
    as_of, plan_hash : str
        For the destination's own records.
    rows : list of Prepared
        In the order they were planned.
    deadline : float
        On the clock's `monotonic`: nothing of the batch may leave later, because its cut is too old then.
    receipt : str, optional
        How the platform named the batch, when that is known already.
    """

    run: int
    number: int
    as_of: str
    plan_hash: str
    rows: list[Prepared]
    deadline: float
    receipt: str | None = None

    @property
    def ids(self) -> list[int]:
        return [row.contact.id for row in self.rows]


@dataclass(frozen=True)
class Sent:
    """What came of sending a batch at once, or the name under which the platform works on it.

    An outcome with the state `planned` says that the row certainly did not arrive and is to be cut again, after
    `retry_after` seconds; or not at all in this run, when the platform `refused`.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    receipt: str | None = None
    retry_after: float | None = None
    refused: DestinationError | None = None


@dataclass(frozen=True)
class Holding:
    """One contact as a destination holds it, read back.

    Attributes
    ----------
    address : str
        Never shown.
    active : bool
        Whether the destination would mail it.
    values : dict
        Field name to text; empty where the destination has no value.
    """

    address: str = field(repr=False)
    active: bool
    values: dict[str, str]

    @property
    def personalised(self) -> bool:
        return any(self.values.values())


class Adapter(Protocol):
    """One destination of one platform.

    An adapter never changes a contact's status to anything but opted out: there is no operation for it.
    """

    limits: Limits

    def setup(self, known_fields: frozenset[str]) -> list[str]:
        """Check the account and make missing fields, before the first batch of a run.

        Parameters
        ----------
        known_fields : frozenset of str
            Fields that were there at the last acknowledged export. One of these that is gone was deleted by somebody,
            and is an error: the contacts have lost its values.

        Returns
        -------
        list of str
            What was made, in words.

        Raises
        ------
        DestinationError
        """

    def prepare(self, contacts: Sequence[Contact]) -> tuple[list[Prepared], list[Outcome]]:
        """Render what will be sent. Contacts that the platform can't take come back as `invalid` outcomes."""

    def send(self, batch: Batch) -> Sent:
        """Send a batch before its deadline.

        Raises
        ------
        Postponed
            Nothing of it arrived.
        Lost
            Nobody knows how much of it arrived.
        DestinationError
            Nothing of it arrived, and nothing will until a person does something.
        """

    def collect(self, receipt: str, batch: Batch) -> list[Outcome] | None:
        """The outcomes of a batch the platform works on; None while it does."""

    def reconcile(self, batch: Batch) -> list[Outcome] | None:
        """Find out what became of rows that may or may not have arrived, by looking at the destination.

        None while it can't be told yet, because the destination may still be working on them. The state `planned`
        says that a row is not there as it should be.
        """

    def holdings(self) -> Iterator[Holding]:
        """Every contact of the destination, as it is there now. Reads only.

        Raises
        ------
        ExportError
            It can't be read.
        """

    def shown(self, addresses: Sequence[str], external_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Everything the destination shows about people, in its own form, for the copy that a person may ask for.

        Reads only. Arguments and errors as those of `erase`.
        """

    def erase(self, addresses: Sequence[str], external_ids: Sequence[str]) -> int:
        """Delete people for good, with everything the destination keeps about them; not the same as opting them out.

        Done again it changes nothing, so that an interrupted erasure can be repeated.

        Parameters
        ----------
        addresses : sequence of str
            Every address under which the destination may know them. One it does not know is no error.
        external_ids : sequence of str
            Their tokens in the destination's own namespace, for destinations that can look for them.

        Returns
        -------
        int
            How many contacts were deleted.

        Raises
        ------
        DestinationError, Postponed, Lost
            Some may still be there.
        """
