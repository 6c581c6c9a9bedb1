"""Which token key a ledger is under. An opened ledger belongs to that one key, and stops when it is replaced.

Whatever a process computed before (tokens, snapshots, plans) was made under the old key. So every transaction looks
whether the key is still the same, and nothing is written or compared across the change.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, select

from personalization.errors import KeyFileError, LedgerError
from personalization.ledger.pushes_schema import progress
from personalization.ledger.schema import key_fingerprints
from personalization.ledger.token_key_schema import token_key_changes

FILES = "token key in files"
"""The row of `progress` that says up to which change of the token key files and warehouse were rewritten."""


class TokenKeyReplaced(LedgerError):
    """The token key was replaced after the ledger was opened: what this process computed no longer fits."""


class TokensNotRewritten(LedgerError):
    """Files and warehouse hold tokens of an earlier token key: joined with the ledger they would match nobody."""


class OlderLedger(KeyFileError):
    """The ledger is under an earlier token key than the key file, so it is a copy from before a rotation."""


# Every transaction asks for it. A ledger from before there were changes has the key that it was first used with.
_LAST_CHANGE = select(token_key_changes.c.key_id).order_by(token_key_changes.c.number.desc()).limit(1)
_FIRST_KEY = (
    select(key_fingerprints.c.key_id)
    .where(key_fingerprints.c.kind == "token")
    .order_by(key_fingerprints.c.recorded_at, key_fingerprints.c.key_id)
    .limit(1)
)
_TOKEN_KEY = select(func.coalesce(_LAST_CHANGE.scalar_subquery(), _FIRST_KEY.scalar_subquery()))


def token_key_of(connection: Connection) -> str | None:
    """The token key that the ledger is under; None for a ledger that holds nothing yet."""
    found = connection.execute(_TOKEN_KEY).scalar()
    return None if found is None else str(found)


def changes_made(connection: Connection) -> int:
    """The number of the latest change of the token key; 0 when there was none."""
    return connection.execute(select(func.coalesce(func.max(token_key_changes.c.number), 0))).scalar_one()


def require_same_key(connection: Connection, expected: str | None) -> str | None:
    """The token key that the ledger is under. Raises `TokenKeyReplaced` when it is not `expected` any more."""
    found = token_key_of(connection)
    if expected is not None and found != expected:
        raise TokenKeyReplaced(
            f"the token key was replaced meanwhile: the ledger is under '{found}', this process under '{expected}'",
            hint="nothing was written; run it again",
        )
    return found


def require_current(token_key: str | None, tokens: Iterable[str]) -> None:
    """Refuse tokens of another key than the ledger's: they come from files that were not rewritten.

    Raises
    ------
    TokensNotRewritten
        Naming the key of the first one.
    """
    if token_key is None:
        return
    current = f"t1_{token_key}_"
    other = next((token for token in tokens if token.startswith("t1_") and not token.startswith(current)), None)
    if other is not None:
        raise TokensNotRewritten(
            f"a token of the key '{other.split('_')[1]}' does not fit the ledger, which is under '{token_key}'",
            hint="it comes from files or a warehouse that were put back from before a rotation of the token key: put "
            "those of after it back",
        )


def files_are_current(connection: Connection) -> bool:
    """Whether files and warehouse hold the tokens of the key that the ledger is under."""
    latest = select(func.max(token_key_changes.c.number)).where(token_key_changes.c.earlier_key.is_not(None))
    change = connection.execute(latest).scalar()
    done = connection.execute(select(progress.c.seq).where(progress.c.name == FILES)).scalar()
    return change is None or (done is not None and int(done) >= int(change))
