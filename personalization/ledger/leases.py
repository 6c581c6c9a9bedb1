"""Leases: who may work on a destination now. Each holder gets a higher epoch, and every write checks it (fencing).

A holder that was stopped, or killed while its child lived on, finds its epoch outdated and can write nothing more.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select, update

from personalization.errors import ExportError
from personalization.ledger.export_schema import leases
from personalization.ledger.process import is_gone, this_process
from personalization.ledger.schema import now

if TYPE_CHECKING:
    from personalization.ledger.ledger import Ledger

LEASE_SECONDS = 120.0


class LeaseHeld(ExportError):
    """Another process works on it."""


class LeaseLost(ExportError):
    """Another holder has taken over: whatever this process still wanted to do, it must not."""


@dataclass(frozen=True)
class Lease:
    """The right to work on `resource` while no one with a higher epoch does."""

    resource: str
    epoch: int
    holder: str
    seconds: float

    def hold(self, connection: Connection) -> None:
        """Check the epoch and extend the lease, inside the transaction that relies on it.

        Raises
        ------
        LeaseLost
            Another holder took over; the transaction must not go on.
        """
        columns = leases.c
        held = connection.execute(
            update(leases)
            .where(columns.resource == self.resource, columns.epoch == self.epoch, columns.holder == self.holder)
            .values(expires_at=now() + timedelta(seconds=self.seconds))
        ).rowcount
        if held != 1:
            raise LeaseLost(
                f"the lease on '{self.resource}' (epoch {self.epoch}) was taken over by another process",
                hint="this process stopped without sending anything more; the other one finishes the work",
            )


class Leases:
    """All leases of a ledger. See `Ledger.leases`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @contextmanager
    def held(self, resource: str, seconds: float = LEASE_SECONDS) -> Iterator[Lease]:
        """Hold a lease during the block.

        A lease is taken over when it has expired, or at once when its process on this machine is gone.

        Parameters
        ----------
        resource : str
            E.g. `export:mailchimp`.
        seconds : float
            How long it lasts without a renewal; every use renews it.

        Raises
        ------
        ExportError
            Another process holds it.
        """
        lease = self.acquire(resource, seconds)
        try:
            yield lease
        finally:
            self.release(lease)

    def acquire(self, resource: str, seconds: float = LEASE_SECONDS) -> Lease:
        """Take a lease. Prefer `held`. Raises `ExportError` when another process holds it."""
        with self._ledger.begin() as connection:
            moment = now()
            known = connection.execute(select(leases).where(leases.c.resource == resource)).one_or_none()
            if known is not None and known.expires_at > moment and not is_gone(known.process):
                host, pid, _ = known.process.rsplit(":", 2)
                raise LeaseHeld(
                    f"'{resource}' is being worked on by process {pid} on {host}, since "
                    f"{known.acquired_at:%Y-%m-%d %H:%M:%S} UTC",
                    hint="wait for it to end; should it hang, stop it and run again",
                )
            lease = Lease(resource, known.epoch + 1 if known else 1, uuid.uuid4().hex, seconds)
            values = {
                "epoch": lease.epoch,
                "holder": lease.holder,
                "process": this_process(),
                "acquired_at": moment,
                "expires_at": moment + timedelta(seconds=seconds),
            }
            if known is None:
                connection.execute(leases.insert().values(resource=resource, **values))
            else:
                connection.execute(update(leases).where(leases.c.resource == resource).values(**values))
        return lease

    def release(self, lease: Lease) -> None:
        """Let go; the next holder need not wait. Nothing happens when it was taken over already."""
        with self._ledger.begin() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.resource == lease.resource, leases.c.holder == lease.holder)
                .values(expires_at=now())
            )

    def renew(self, lease: Lease) -> None:
        """Extend a lease while waiting for something. Raises `LeaseLost` when it was taken over."""
        with self._ledger.begin() as connection:
            lease.hold(connection)
