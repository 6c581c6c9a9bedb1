"""Recomputes the rows of some customers in the tables of dbt models, from the models' own SQL.

A model is run on the rows of these customers only; its result takes the place of exactly their rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from personalization.errors import WarehouseError
from personalization.warehouse.compiled import BY_CUSTOMER, WHOLE, Model
from personalization.warehouse.duck import Session

TOUCHED, TOUCHED_TOKENS = "_touched", "_touched_tokens"
"""Temporary tables: `customer_token` of the people whose rows are made again, and every `token` that names them."""

_BY_TOKEN = {"landed.identity": "identifier_token"}
_RECORDS = ("landed.customers", "landed.order_lines", "landed.email_events", "landed.customer_events")


def restrict_sources(session: Session) -> dict[str, str]:
    """Make temporary tables of the touched people's landed rows. Returns their names by those of the tables."""
    restricted = {}
    for table in (*_RECORDS, *_BY_TOKEN):
        column = _BY_TOKEN.get(table, "customer_key")
        restricted[table] = touched_rows(table)
        session.execute(
            f"create or replace temp table {restricted[table]} as"  # noqa: S608  (names of ours)
            f" select * from {table} where {column} in (select token from {TOUCHED_TOKENS})"
        )
    return restricted


def rebuild(
    session: Session, models: Sequence[Model], restricted: dict[str, str], *, whole: frozenset[str] = frozenset()
) -> None:
    """Run models, parents first, and replace the touched people's rows in their tables. Call it in a transaction.

    Parameters
    ----------
    restricted : dict
        Temporary tables to read in place of tables; what the models make is added.
    whole : frozenset of str
        Tables of the grain `whole` to make anew; others of this grain stay as they are.

    Raises
    ------
    WarehouseError
        A model does not say by what its rows can be computed apart, or a table is of another shape than its model.
    """
    for model in models:
        if not model.stored:
            if not any(parent in restricted for parent in model.parents.values()):
                continue  # it reads nothing of people
            restricted[model.table] = touched_rows(model.table)
            session.execute(f"create or replace temp view {restricted[model.table]} as {_sql(model, restricted)}")
        elif model.grain == WHOLE:
            if model.table in whole:
                session.replace_rows(model.table, "true", _sql(model, {}))
        elif model.grain == BY_CUSTOMER:
            made = restricted[model.table] = touched_rows(model.table)
            session.execute(f"create or replace temp table {made} as {_sql(model, restricted)}")
            session.replace_rows(model.table, f"{BY_CUSTOMER} in (from {TOUCHED})", f"from {made}")
        elif model.grain:
            _replace_by(session, model)
        else:
            raise WarehouseError(
                f"the dbt model {model.table} does not say by what its rows can be computed apart",
                hint="write `config: {meta: {grain: customer_token}}` (or `whole`) in its YAML file",
            )


def note_rows(session: Session, models: Sequence[Model]) -> None:
    """Remember the values of other grains in the touched people's rows as they are before `rebuild`."""
    for model in models:
        if model.stored and model.grain not in (WHOLE, BY_CUSTOMER, ""):
            parent = _parent_of(model)
            session.execute(
                f"create or replace temp table {_values(model)} as select distinct {model.grain} from {parent}"  # noqa: S608
                f" where {BY_CUSTOMER} in (from {TOUCHED})"
            )


def _replace_by(session: Session, model: Model) -> None:
    """Replace the rows of a table by another column than the customer, which may be shared by several customers."""
    parent, values = _parent_of(model), _values(model)
    session.execute(
        f"insert into {values} select distinct {model.grain} from {parent} where {BY_CUSTOMER} in (from {TOUCHED})"  # noqa: S608
    )
    source = f"{touched_rows(parent)}_by_{model.grain}"
    session.execute(
        f"create or replace temp view {source} as select * from {parent} where {model.grain} in (from {values})"  # noqa: S608
    )
    session.replace_rows(model.table, f"{model.grain} in (from {values})", _sql(model, {parent: source}))


def _sql(model: Model, restricted: dict[str, str]) -> str:
    sql = model.sql
    for relation, table in model.parents.items():
        if table in restricted and table not in model.reads_whole:
            sql = sql.replace(relation, restricted[table])
    return sql


def _parent_of(model: Model) -> str:
    (parent,) = model.parents.values()
    return parent


def _values(model: Model) -> str:
    return f"{touched_rows(model.table)}_{model.grain}"


def touched_rows(table: str) -> str:
    """Name of the temporary table with the touched people's rows of a table or view, after `rebuild`."""
    return "_touched_" + table.replace(".", "_")
