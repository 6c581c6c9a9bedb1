"""`personalization keys …`: which keys there are, and how they are replaced."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from personalization.commands.common import JsonFlag, current_runtime, err, out, print_json
from personalization.errors import KeyFileError

app = typer.Typer(help="Look at the keys, and replace them.", no_args_is_help=True)
rotate_app = typer.Typer(help="Replace a key.", no_args_is_help=True)
app.add_typer(rotate_app, name="rotate")


@app.command("show")
def show(as_json: JsonFlag = False) -> None:
    """Say which keys there are and how many rows need each; never a key itself."""
    from rich.table import Table

    from personalization.ledger.key_rotation import key_uses

    runtime = current_runtime()
    keys, uses = runtime.keys, key_uses(runtime.ledger)
    current = {"token": keys.token_key_id, "vault": keys.vault_key_id, "suppression": "s1"}
    rows = [
        {
            "kind": kind,
            "key": key_id,
            "fingerprint": fingerprint,
            "in_use": current[kind] == key_id,
            "rows": uses.get(key_id, 0) if kind == "vault" else None,
        }
        for (kind, key_id), fingerprint in sorted(keys.fingerprints.items())
    ]
    if as_json:
        print_json({"keys": rows, "signatures": keys.public_key})
        return
    table = Table("kind", "key", "fingerprint", "in use", "rows that need it", box=None, pad_edge=False)
    for row in rows:
        needed = "" if row["rows"] is None else f"{row['rows']:,}"
        table.add_row(
            str(row["kind"]), str(row["key"]), str(row["fingerprint"]), "yes" if row["in_use"] else "", needed
        )
    out.print(table)
    out.print(f"Receipts and audits are verified with {keys.public_key or 'a key that is made when one is signed'}.")


@rotate_app.command("vault")
def rotate_vault(as_json: JsonFlag = False) -> None:
    """Put a new master key in place of the vault's, and wrap every data key under it.

    Imports, webhooks and exports may go on meanwhile. Safe to repeat, also after a crash. The old key stays in the key
    file until `keys retire`. Back the key file up afterwards.
    """
    from personalization.ledger.key_rotation import rotate_vault as rotate

    runtime = current_runtime()
    keys, rotation = rotate(
        runtime.ledger,
        runtime.keys,
        datetime.now(UTC),
        on_progress=None if as_json else lambda done: err.print(f"  {done:,} data keys", style="dim"),
    )
    if as_json:
        print_json(
            {
                "old": rotation.old_keys,
                "new": rotation.new_key,
                "data_keys": rotation.data_keys,
                "bodies": rotation.bodies,
            }
        )
        return
    out.print(f"The vault is under [bold]{rotation.new_key}[/bold]: {rotation.data_keys:,} data keys wrapped anew,")
    out.print(f"{rotation.bodies:,} webhook bodies sealed anew. Back up {keys.path} now, apart from the ledger.")
    if rotation.old_keys:
        out.print(f"When every process uses it: personalization keys retire {' '.join(rotation.old_keys)}")


@rotate_app.command("token")
def rotate_token(as_json: JsonFlag = False) -> None:
    """Put a new token key in place, and every token in ledger, files and warehouse under it.

    No run and no export can go on meanwhile; webhooks are asked to come again while the ledger is being written. Killed
    anywhere, run it again: it goes on. Back the key file up afterwards.
    """
    from personalization.token_rotation import replace_token_key

    runtime = current_runtime()
    done = replace_token_key(
        runtime, datetime.now(UTC), on_progress=lambda step: None if as_json else err.print(f"  {step}", style="dim")
    )
    files = done.files
    if as_json:
        print_json(
            {
                "new": done.new_key,
                "ledger": None if done.ledger is None else asdict(done.ledger),
                "files": {"parquet": files.parquet, "texts": files.texts, "sqlite_values": files.sqlite_values},
                "left": [str(path) for path in done.left],
                "warehouse": done.warehouse,
            }
        )
        return
    if done.ledger is None:
        out.print(f"The ledger was under [bold]{done.new_key}[/bold] already; what was left is done.")
    else:
        rotation = done.ledger
        out.print(
            f"Tokens are under [bold]{rotation.new_key}[/bold]: {sum(rotation.rows.values()):,} rows of the ledger "
            f"written anew in {rotation.locked_seconds:.1f} seconds."
        )
        out.print(f"Head of the consent chain: {rotation.consent_head_before} became", soft_wrap=True)
        out.print(f"  {rotation.consent_head} (signed in the privacy log).", soft_wrap=True)
    out.print(f"{files.parquet:,} Parquet files, {files.texts:,} texts, {len(done.warehouse)} tables of the warehouse.")
    for path in done.left:
        out.print(f"Old tokens are left in {path}, which can't be rewritten: remove it when you can.", soft_wrap=True)
    out.print(f"Back up the key file now, apart from the ledger: {runtime.workspace.keys}")


@app.command("retire")
def retire(
    key: Annotated[str, typer.Argument(help="An old master key of the vault, e.g. v1.")],
) -> None:
    """Take an old master key out of the key file. Refused while any row needs it, and always for token keys."""
    from personalization.ledger.key_rotation import refuse_to_retire_token_key, retire_vault_key

    runtime = current_runtime()
    if ("token", key) in runtime.keys.fingerprints:
        refuse_to_retire_token_key(runtime.ledger, runtime.keys, key)
    unfinished = sorted(runtime.workspace.privacy.glob("*/work.sealed"))
    if unfinished:
        raise KeyFileError(
            f"the erasure {unfinished[0].parent.name} is not complete and needs the keys it began with",
            hint="finish it first: personalization privacy erase",
        )
    retire_vault_key(runtime.ledger, runtime.keys, key, datetime.now(UTC))
    out.print(f"{key} is gone from {runtime.keys.path}. Links that went out under it still work.")
