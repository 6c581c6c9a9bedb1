"""Replaces the token key of a workspace: key file, ledger, files, warehouse, in an order that survives a kill anywhere.

1. The key file gets the next key. Nothing uses it yet.
2. The ledger is put under it in one transaction; from then on the ledger says that it is the key in use.
3. The key file says so too, and the mark beside the ledger and the tombstones follow.
4. Files and the warehouse follow. Until they have, no run and no export begins but by finishing this first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select

from personalization.crash_points import crash_point
from personalization.errors import KeyFileError
from personalization.ledger import Keyring, Ledger, key_file, tombstones
from personalization.ledger.export_schema import leases as lease_table
from personalization.ledger.generation import Generations
from personalization.ledger.key_check import check_keys
from personalization.ledger.key_document import add_token_key, finish_token_key
from personalization.ledger.leases import Lease, LeaseHeld
from personalization.ledger.retoken import Renaming
from personalization.ledger.token_key import FILES, changes_made, files_are_current
from personalization.ledger.token_rotation import Draws, TokenRotation, compact, rotate_ledger
from personalization.retoken.files import Rewritten, rewrite_files
from personalization.retoken.warehouse import rewrite_warehouse
from personalization.warehouse import Warehouse

if TYPE_CHECKING:
    from personalization.runtime import Runtime

WAIT_SECONDS = 60.0
"""How long exports and applications of events that are under way are waited for."""


@dataclass(frozen=True)
class Replaced:
    """What a replacement of the token key did, or the end of one that was interrupted.

    Attributes
    ----------
    ledger : TokenRotation, optional
        Missing when the ledger was under the new key already.
    warehouse : dict
        By table how many values changed.
    """

    new_key: str
    ledger: TokenRotation | None
    files: Rewritten
    warehouse: dict[str, int]
    left: list[Path] = field(default_factory=list)


def replace_token_key(
    runtime: Runtime,
    at: datetime,
    *,
    on_progress: Callable[[str], None] = lambda step: None,
    wait_seconds: float = WAIT_SECONDS,
) -> Replaced:
    """Make a new token key and put everything under it, or go on where that was interrupted.

    Runs and exports are refused meanwhile, webhooks are asked to come again while the ledger is being written.

    Raises
    ------
    AnotherRun, ExportError
        A run, or an export, is at work.
    KeyFileError
        The keys are not the ledger's; an erasure is not complete.
    LedgerError
        A chain of the ledger is broken. Nothing was changed.
    WarehouseError
        The warehouse is held by another process or damaged. Run it again.
    """
    from personalization.run_lock import only_run

    with only_run(runtime, finish=False):
        ledger = Ledger.open(runtime.workspace.ledger_url)
        try:
            return _replace(runtime, ledger, at, on_progress, wait_seconds)
        finally:
            ledger.close()


def finish_rotation(runtime: Runtime) -> Replaced | None:
    """Bring files and warehouse to the ledger's token key, if that was interrupted. The caller holds the run's lock."""
    with runtime.ledger.read() as connection:
        if files_are_current(connection):
            return None
    return _follow(runtime, runtime.ledger, runtime.keys, None, lambda step: None, mark=True)


def _replace(
    runtime: Runtime, ledger: Ledger, at: datetime, on_progress: Callable[[str], None], wait_seconds: float
) -> Replaced:
    keys = Keyring.load(runtime.workspace.keys)
    in_use = check_keys(ledger.engine, keys, older_ledger=True)
    ledger.token_key = in_use
    marks = Generations(ledger, runtime.workspace.ledger_mark)
    with ledger.read() as connection:
        finished = files_are_current(connection)
    older = in_use not in (keys.file_token_key_id, keys.next_token_key_id)
    if not older and (not finished or in_use == keys.next_token_key_id):
        return _follow(runtime, ledger, keys, None, on_progress, mark=True)
    if not older:
        _require_no_open_erasure(runtime)
        marks.check()
        on_progress("a new token key")
        key_file.change(keys.path, add_token_key)
        crash_point("rotate.token_key_added")
    old_keys, new_keys = Keyring.load(keys.path), Keyring.load(keys.path)
    old_keys.use_token_key(in_use)
    target = new_keys.file_token_key_id if older else str(new_keys.next_token_key_id)
    new_keys.use_token_key(target)
    with _nobody_exports(runtime, ledger, wait_seconds):
        on_progress("the ledger")
        rotation = rotate_ledger(
            ledger,
            old_keys,
            new_keys,
            at,
            draws=_draws(runtime, old_keys),
            people=_people(runtime, new_keys),
            remembered=[] if older else [marks.remembered()],
        )
    crash_point("rotate.token_committed")
    fresh = Ledger(ledger.engine)
    return _follow(runtime, fresh, new_keys, rotation, on_progress, mark=not older)


def _follow(
    runtime: Runtime,
    ledger: Ledger,
    keys: Keyring,
    rotation: TokenRotation | None,
    on_progress: Callable[[str], None],
    *,
    mark: bool,
) -> Replaced:
    """What comes after the ledger."""
    workspace = runtime.workspace
    if keys.file_token_key_id != keys.token_key_id:
        key_file.change(keys.path, lambda document: finish_token_key(document, keys.token_key_id))
    crash_point("rotate.token_key_in_use")
    if mark and workspace.ledger_mark.exists():
        marks = Generations(ledger, workspace.ledger_mark)
        marks.check()
        marks.note()
    tombstones.rewrite(workspace.tombstones, keys)
    compact(ledger.engine)
    crash_point("rotate.token_mark")
    with ledger.read() as connection:
        number = changes_made(connection)
    renaming = Renaming(keys)
    on_progress("files")
    own = [keys.path, workspace.ledger_mark, workspace.tombstones, workspace.exports, workspace.privacy]
    if ledger.engine.dialect.name == "sqlite":
        own += [Path(f"{ledger.engine.url.database}{suffix}") for suffix in ("", "-wal", "-shm")]
    own += [workspace.warehouse, workspace.warehouse.with_name(f"{workspace.warehouse.name}.wal")]
    files = rewrite_files(workspace.state, renaming, keys.token_key_id, without=own)
    crash_point("rotate.token_files")
    on_progress("the warehouse")
    warehouse = _rewrite_warehouse(workspace.warehouse, renaming)
    crash_point("rotate.token_warehouse")
    ledger.pushes.advance(FILES, number)
    return Replaced(keys.token_key_id, rotation, files, warehouse, files.left)


def _rewrite_warehouse(path: Path, renaming: Renaming) -> dict[str, int]:
    from personalization.privacy.erase_warehouse import move_to_new_file

    warehouse = Warehouse(path)
    changed = rewrite_warehouse(warehouse, renaming)
    crash_point("rotate.token_tables")
    if warehouse.path.exists():
        move_to_new_file(warehouse)
    return changed


def _draws(runtime: Runtime, keys: Keyring) -> Draws:
    """Everybody's groups in the holdout and in every declared experiment."""
    from personalization.stages.decisions.assignment import arm_limits, arm_salt, draw, held_out_limit

    program = runtime.program
    holdout = program.settings.holdout
    salts: dict[str, Sequence[int]] = {holdout.salt: [held_out_limit(holdout.share)]}
    for experiment in program.experiments.values():
        salts[arm_salt(experiment.salt, experiment.version)] = arm_limits(experiment.arms)
    identity = _identity(runtime)
    return Draws(salts, frozenset(keys.current_tokens(pc.unique(identity["customer_token"]).to_pylist())), draw)


def _people(runtime: Runtime, keys: Keyring) -> list[str]:
    """Tokens that stand for people now, and would not be the smallest of these people's tokens any more."""
    members: dict[str, list[str]] = {}
    identity = _identity(runtime)
    tokens = keys.current_tokens(identity["identifier_token"].to_pylist())
    people = keys.current_tokens(identity["customer_token"].to_pylist())
    for token, person in zip(tokens, people, strict=True):
        members.setdefault(person, []).append(token)
    return [person for person, others in members.items() if len(others) > 1 and min(others) != person]


def _identity(runtime: Runtime) -> pa.Table:
    """`identifier_token`, `customer_token` of everybody, from the copy that runs publish; without covering ones."""
    from personalization.stages.sync.identity import published_identity

    path = published_identity(runtime.workspace.history)
    if not path.is_file():
        return pa.table({"identifier_token": pa.array([], pa.string()), "customer_token": pa.array([], pa.string())})
    table = pq.read_table(path)
    return table.filter(pc.invert(table["covers"]))


@contextmanager
def _nobody_exports(runtime: Runtime, ledger: Ledger, wait_seconds: float) -> Iterator[None]:
    """Hold every lease: whoever held one before can write nothing afterwards."""
    with ledger.read() as connection:
        known: set[str] = set(connection.execute(select(lease_table.c.resource)).scalars())
    from personalization.stages.sync.inbox import RESOURCE

    resources = sorted({*known, RESOURCE, *(f"export:{name}" for name in runtime.program.destinations)})
    with ExitStack() as stack:
        for resource in resources:
            lease = _acquire(ledger, resource, wait_seconds)
            stack.callback(_release, ledger, lease)
        yield


def _acquire(ledger: Ledger, resource: str, wait_seconds: float) -> Lease:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return ledger.leases.acquire(resource, seconds=3_600)
        except LeaseHeld:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _release(ledger: Ledger, lease: Lease) -> None:
    Ledger(ledger.engine).leases.release(lease)  # the ledger opened before belongs to the old key


def _require_no_open_erasure(runtime: Runtime) -> None:
    unfinished = sorted(runtime.workspace.privacy.glob("*/work.sealed"))
    if unfinished:
        raise KeyFileError(
            f"the erasure {unfinished[0].parent.name} is not complete and knows the person by the tokens it began with",
            hint="finish it first: personalization privacy erase",
        )
