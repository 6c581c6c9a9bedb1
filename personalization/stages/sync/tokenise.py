"""Identifiers become tokens at the door; the values themselves go to the vault, durably, before any row lands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from personalization.stages.sync.entities import EMAIL_PROBLEM, TOKEN_COLUMNS, Entity, Identifier

if TYPE_CHECKING:
    from personalization.ledger import Keyring
    from personalization.ledger.vault import Vault

NO_ADDRESS = "not a valid e-mail address"


class Tokeniser:
    """Replaces the identifier columns of canonical rows by token columns.

    Works on the unique values of a batch, so that a million orders of a thousand customers cost a thousand tokens.

    Parameters
    ----------
    source : str
        Whose values these are in the vault, e.g. `crm.customers`.
    """

    def __init__(self, entity: Entity, keys: Keyring, vault: Vault, source: str) -> None:
        from personalization.ledger import normalise_email, normalise_id, normalise_phone

        self._kinds = {column.name: column.identifier for column in entity.columns if column.identifier}
        self._keys, self._vault, self._source = keys, vault, source
        self._normalise: dict[Identifier, Callable[[str], str | None]] = {
            Identifier.CUSTOMER: normalise_id,
            Identifier.EMAIL: normalise_email,
            Identifier.PHONE: normalise_phone,
            Identifier.DIRECT: normalise_id,
        }

    def replace(self, rows: pa.Table) -> pa.Table:
        """Rows without identifiers. When this returns, their values are on the vault's disk."""
        names = [name for name in self._kinds if name in rows.column_names]
        if not names:
            return rows
        texts = {name: as_text(rows[name]) for name in names}
        tokens = {name: self._tokens(name, texts[name]) for name in names}
        self._put(texts, tokens, rows.num_rows)
        rows = rows.drop_columns(names)
        for name in names:
            kind = self._kinds[name]
            if kind in TOKEN_COLUMNS:
                rows = rows.append_column(TOKEN_COLUMNS[kind], tokens[name])
            if kind is Identifier.EMAIL:
                unusable = pc.and_(pc.not_equal(texts[name], ""), pc.is_null(tokens[name]))
                problem = pc.if_else(unusable, pa.scalar(NO_ADDRESS), pa.scalar(None, pa.string()))
                rows = rows.append_column(EMAIL_PROBLEM, problem)
        return rows

    def _tokens(self, name: str, texts: pa.Array) -> pa.Array:
        kind = self._kinds[name]
        encoded = texts.dictionary_encode()
        normalised = [self._normalise[kind](text) for text in encoded.dictionary.to_pylist()]
        namespace = name if kind is Identifier.DIRECT else kind.value
        made = iter(self._keys.tokens(namespace, [value for value in normalised if value is not None]))
        unique = pa.array([None if value is None else next(made) for value in normalised], pa.string())
        return unique.take(encoded.indices)

    def _put(self, texts: dict[str, pa.Array], tokens: dict[str, pa.Array], rows: int) -> None:
        """Give the vault every value but customer ids: those are only ever looked for, never shown again."""
        from personalization.ledger.vault import VaultItem

        subjects = pa.nulls(rows, pa.string())
        for wanted in (Identifier.CUSTOMER, Identifier.EMAIL):
            for name, kind in self._kinds.items():
                if kind is wanted and name in tokens:
                    subjects = pc.coalesce(subjects, tokens[name])
        items: list[VaultItem] = []
        for name in texts:
            if self._kinds[name] is Identifier.CUSTOMER:
                continue
            values = pa.table({"subject": subjects, "token": tokens[name], "value": texts[name]})
            values = values.filter(pc.and_(pc.is_valid(values["subject"]), pc.is_valid(values["token"])))
            columns = (values[column].to_pylist() for column in values.column_names)
            items.extend(
                VaultItem(subject, name, token, value, self._source)
                for subject, token, value in zip(*columns, strict=True)
            )
        if items:
            self._vault.put(items)


def as_text(values: pa.ChunkedArray) -> pa.Array:
    """Identifiers as trimmed text: 17, 17.0 and ' 17' are the same customer."""
    array = values.combine_chunks()
    if pa.types.is_floating(array.type):
        # a column of whole numbers with gaps comes out of many tools as floating point numbers
        whole = pc.if_else(pc.equal(array, pc.trunc(array)), array, None).cast(pa.int64(), safe=False)
        return pc.coalesce(whole.cast(pa.string()), array.cast(pa.string()))
    if pa.types.is_decimal(array.type):
        return pc.replace_substring_regex(array.cast(pa.string()), pattern=r"\.0+$", replacement="")
    return pc.utf8_trim_whitespace(array.cast(pa.string()))
