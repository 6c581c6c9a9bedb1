"""`Ledger`: one opened system of record, and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sqlalchemy import Connection, Engine

from personalization.errors import LedgerError
from personalization.ledger import engine as databases
from personalization.ledger.consent import ChainState, Consent
from personalization.ledger.key_check import check_keys
from personalization.ledger.keys import Keyring
from personalization.ledger.links import Links
from personalization.ledger.migrate import upgrade
from personalization.ledger.model_registry import Models
from personalization.ledger.preferences import Preferences
from personalization.ledger.protocols import Protocols
from personalization.ledger.run_book import Runs
from personalization.ledger.suppressions import Suppressions
from personalization.ledger.token_key import TokenKeyReplaced, require_same_key
from personalization.ledger.vault import Vault

if TYPE_CHECKING:
    from personalization.ledger.identity_corrections import IdentityCorrections
    from personalization.ledger.inbox import Inbox
    from personalization.ledger.kept import Kept
    from personalization.ledger.leases import Leases
    from personalization.ledger.outbox import Outbox
    from personalization.ledger.pushes import Pushes
    from personalization.ledger.requests import Requests
    from personalization.ledger.results import Results
    from personalization.ledger.sends import Sends
    from personalization.ledger.traffic import Traffic


class Ledger:
    """The system of record. Open it with `Ledger.open`; usable from several threads and processes at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.token_key: str | None = None
        """The token key that this object belongs to, from its first use on: see `token_key`."""
        self.replaced = False
        """Whether another token key was found since."""

    @classmethod
    def open(cls, url: str, *, wait_seconds: float = 10.0) -> Ledger:
        """Open a ledger, make it when it does not exist, and bring its schema up to date.

        Parameters
        ----------
        url : str
            `sqlite:///path/to/ledger.sqlite` or `postgresql://user@host/database`.
        wait_seconds : float
            How long a write waits for another writer before it fails.

        Raises
        ------
        LedgerError
            It can't be read, is damaged, is locked, or was written by a newer version. Nothing may be exported then.
        """
        engine = databases.open_engine(url, wait_seconds)
        try:
            upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: the only one at a time, on the disk when the block ends, undone by an exception.

        Raises
        ------
        TokenKeyReplaced
            The token key is another one than when the ledger was opened. The same for `read`.
        """
        with databases.write(self.engine) as connection:
            self._check_token_key(connection)
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot taken when the block begins; it blocks no writer and is blocked by none."""
        with databases.read(self.engine) as connection:
            self._check_token_key(connection)
            yield connection

    def _check_token_key(self, connection: Connection) -> None:
        try:
            self.token_key = require_same_key(connection, self.token_key)
        except TokenKeyReplaced:
            self.replaced = True
            raise

    def vault(self, keys: Keyring) -> Vault:
        """The encrypted identifiers, opened with the keys of the key file.

        Raises
        ------
        KeyFileError
            These are not the keys that this ledger was written with.
        """
        self.check_keys(keys)
        return Vault(self, keys)

    def check_keys(self, keys: Keyring) -> None:
        """Let keys make tokens as this ledger has them. Raises `KeyFileError` when they are not the ledger's keys."""
        token_key = check_keys(self.engine, keys)
        if self.token_key not in (None, token_key):
            with self.read():  # says what is wrong
                pass
        self.token_key = token_key

    @cached_property
    def consent(self) -> Consent:
        return Consent(self)

    @cached_property
    def suppressions(self) -> Suppressions:
        return Suppressions(self)

    @cached_property
    def links(self) -> Links:
        return Links(self)

    @cached_property
    def preferences(self) -> Preferences:
        return Preferences(self)

    @cached_property
    def protocols(self) -> Protocols:
        return Protocols(self)

    @cached_property
    def models(self) -> Models:
        return Models(self)

    @cached_property
    def runs(self) -> Runs:
        return Runs(self)

    @cached_property
    def inbox(self) -> Inbox:
        from personalization.ledger.inbox import Inbox

        return Inbox(self)

    @cached_property
    def identity_corrections(self) -> IdentityCorrections:
        from personalization.ledger.identity_corrections import IdentityCorrections

        return IdentityCorrections(self)

    @cached_property
    def sends(self) -> Sends:
        from personalization.ledger.sends import Sends

        return Sends(self)

    @cached_property
    def outbox(self) -> Outbox:
        from personalization.ledger.outbox import Outbox

        return Outbox(self)

    @cached_property
    def leases(self) -> Leases:
        from personalization.ledger.leases import Leases

        return Leases(self)

    @cached_property
    def traffic(self) -> Traffic:
        from personalization.ledger.traffic import Traffic

        return Traffic(self)

    @cached_property
    def pushes(self) -> Pushes:
        from personalization.ledger.pushes import Pushes

        return Pushes(self)

    @cached_property
    def results(self) -> Results:
        from personalization.ledger.results import Results

        return Results(self)

    @cached_property
    def kept(self) -> Kept:
        from personalization.ledger.kept import Kept

        return Kept(self)

    @cached_property
    def requests(self) -> Requests:
        from personalization.ledger.requests import Requests

        return Requests(self)

    def verify(self) -> ChainState:
        """Check the whole ledger: the database file, its references, the chain of consent events, the privacy log.

        Returns
        -------
        ChainState
            How long the consent chain is, and its head.

        Raises
        ------
        LedgerError
            The file is damaged, or a chain is broken, with the number of its first wrong event or entry.
        """
        if self.engine.dialect.name == "sqlite":
            with self.read() as connection:
                problems: list[str] = list(connection.exec_driver_sql("pragma quick_check(1)").scalars())
                orphans = connection.exec_driver_sql("pragma foreign_key_check").all()
            if problems != ["ok"] or orphans:
                found = f"{len(orphans)} rows refer to rows that are gone" if orphans else problems[0]
                raise LedgerError(
                    f"the ledger {databases.location(self.engine)} is damaged: {found}", hint=databases.DAMAGED_HINT
                )
        self.requests.verify()
        return self.consent.verify()

    def close(self) -> None:
        """Close all connections. The ledger opens new ones when it is used again."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Ledger {databases.location(self.engine)}>"
