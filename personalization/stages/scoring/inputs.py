"""What scoring reads: who may be scored, the training rows known at a day, and the customers to score, in batches."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.program.consent_check import is_for_marketing
from personalization.runtime import Runtime
from personalization.warehouse import Session

PURPOSE = "personalization.ml_scoring"
MAX_ROWS = 300_000  # more rows no longer move a model of these features, they only cost time and memory
BATCH_ROWS = 50_000

# Named one by one, so that no column that is added to the table, and least of all an outcome, becomes a feature by
# itself. Left out: `mean_gap_days_84d`, which is 84 / orders_84d, so that one fact would be explained twice with
# opposite signs; `top_department_84d`, a name whose information the department shares carry.
FEATURES = (
    "recency_days",
    "tenure_days",
    "orders_7d",
    "orders_28d",
    "orders_84d",
    "orders_total",
    "spend_28d",
    "spend_84d",
    "spend_total",
    "average_order_value_84d",
    "items_84d",
    "recency_to_gap",
    "active_weeks_12w",
    "spend_trend",
    "discount_share_84d",
    "coupon_share_84d",
    "departments_84d",
    "top_department_share_84d",
    "produce_share_84d",
    "meat_share_84d",
    "grocery_share_84d",
    "weekend_share_84d",
    "mailings_28d",
    "mailings_84d",
    "mailings_total",
    "last_mailing_days",
    "conversions_84d",
    "conversions_total",
    "last_conversion_days",
)


@dataclass(frozen=True)
class Window:
    """A cut-off whose outcome is known: customers, how many of them bought within the horizon after it, and how many
    had bought before it."""

    cutoff: date
    customers: int
    buyers: int
    bought_before: int


@dataclass(frozen=True)
class Rows:
    """Customers at cut-offs with what they did afterwards, sorted by cut-off and customer.

    Attributes
    ----------
    cutoffs : numpy.ndarray of datetime64[D], shape (n,)
    tokens : pyarrow.Array of string, length n
    features : numpy.ndarray of float64, shape (n, number of FEATURES)
        NaN where unknown.
    purchased : numpy.ndarray of int8, shape (n,)
    """

    cutoffs: np.ndarray
    tokens: pa.Array
    features: np.ndarray
    purchased: np.ndarray

    def at(self, cutoffs: Iterable[date]) -> Rows:
        """The rows of some cut-offs."""
        chosen = np.isin(self.cutoffs, np.array(sorted(cutoffs), dtype="datetime64[D]"))
        return Rows(
            self.cutoffs[chosen], self.tokens.filter(pa.array(chosen)), self.features[chosen], self.purchased[chosen]
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every value of every row, in order."""
        digest = hashlib.sha256()
        for array in (self.cutoffs.astype(np.int64), self.features, self.purchased):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update("\n".join(self.tokens.to_pylist()).encode())
        return digest.hexdigest()


def population(runtime: Runtime, session: Session, as_of: AsOf, *, among: str | None = None) -> pa.Table:
    """The customers who may be scored and trained on at `as_of`, as `customer_token`, ordered.

    Who granted PURPOSE before `as_of` and has not withdrawn it, over all identifiers of the person; when the purpose
    rests on another lawful basis than consent, or the program does not declare it, everybody who has not withdrawn.
    Who objected to marketing as such is left out whatever else they agreed to: the objection covers the profiling for
    it (GDPR 21(2) and (3)).

    Parameters
    ----------
    among : str, optional
        A table of the column `customer_token`: only these customers.
    """
    only = f"where customer_token in (from {among})" if among else ""
    identity = session.arrow(f"select identifier_token, customer_token from landed.identity {only}")  # noqa: S608
    declared = runtime.program.purposes.get(PURPOSE)
    states = _states(runtime, identity, PURPOSE, as_of)
    if declared is not None and declared.needs_grant:
        people = states.filter(pc.equal(states["state"], "granted")).select(["customer_token"])
    else:
        withdrawn = states.filter(pc.equal(states["state"], "withdrawn"))
        with session.registered(_withdrawn=withdrawn):
            people = session.arrow(
                f"select distinct customer_token from (from features.customer_features {only})"  # noqa: S608
                " where customer_token not in (select customer_token from _withdrawn) order by customer_token"
            )
    objectors = _objectors(runtime, identity, as_of)
    return people.filter(pc.invert(pc.is_in(people["customer_token"], value_set=objectors)))


def _states(runtime: Runtime, identity: pa.Table, purpose: str, as_of: AsOf) -> pa.Table:
    from personalization.ledger import customer_consent

    return customer_consent(runtime.ledger.consent.snapshot(purpose, effective_before=as_of.instant), identity)


def _objectors(runtime: Runtime, identity: pa.Table, as_of: AsOf) -> pa.Array:
    """Customers who objected to a purpose for marketing and have not agreed to it again since."""
    tokens: list[str] = []
    for name, purpose in runtime.program.purposes.items():
        if not is_for_marketing(name, purpose):
            continue
        objected = runtime.ledger.consent.objections(name, effective_before=as_of.instant)
        if objected:
            states = _states(runtime, identity, name, as_of)
            out = states.filter(pc.equal(states["state"], "withdrawn"))["customer_token"]
            theirs = identity.filter(pc.is_in(identity["identifier_token"], value_set=pa.array(sorted(objected))))
            named = set(theirs["customer_token"].to_pylist()) | objected
            tokens += [token for token in out.to_pylist() if token in named]
    return pa.array(sorted(set(tokens)), pa.string())


def known_windows(session: Session, people: pa.Table, as_of: AsOf, horizon_days: int, limit: int) -> list[Window]:
    """The newest `limit` cut-offs whose outcome was known at `as_of`, oldest first.

    Labels of later windows may be in the table already when an old day is run again; they are not looked at.
    """
    with session.registered(_people=people):
        found = session.rows(
            """
            select as_of, count(*), count(*) filter (purchased), count(recency_days)
            from features.customer_labels
            inner join features.customer_features using (as_of, customer_token)
            semi join _people using (customer_token)
            where as_of + $horizon <= $today
            group by as_of
            order by as_of desc
            limit $limit
            """,
            {"horizon": horizon_days, "today": as_of.day, "limit": limit},
        )
    return [Window(*row) for row in reversed(found)]


def outcome_known(session: Session, as_of: AsOf) -> bool:
    """Whether the data already reach past the window that begins at `as_of`."""
    return bool(session.value("select count(*) from features.customer_labels where as_of = $day", {"day": as_of.day}))


def read_rows(session: Session, people: pa.Table, cutoffs: Sequence[date], max_rows: int = MAX_ROWS) -> Rows:
    """Features and outcomes of the population at some cut-offs.

    Of more than `max_rows` rows a fixed sample of customers is read, chosen by a hash of their token, with all their
    cut-offs.

    Raises
    ------
    DataError
        A feature holds an infinite value, or a column is missing.
    """
    require_features(session)
    parameters = {"cutoffs": list(cutoffs)}
    source = """
        from features.customer_features as f
        inner join features.customer_labels as l using (as_of, customer_token)
        semi join _people using (customer_token)
        where as_of in (select unnest($cutoffs))
    """
    with session.registered(_people=people):
        total = int(session.value(f"select count(*) {source}", parameters))
        share = min(1.0, max_rows / total) if total else 1.0
        table = session.arrow(
            f"""
            select as_of, customer_token, purchased, {feature_columns()}
            {source} and md5_number_lower(customer_token) <= $share * 18446744073709551615
            order by as_of, customer_token
            """,
            parameters | {"share": share},
        ).combine_chunks()
    rows = Rows(
        cutoffs=table["as_of"].to_numpy().astype("datetime64[D]"),
        tokens=table["customer_token"].combine_chunks(),
        features=matrix(table),
        purchased=table["purchased"].to_numpy().astype(np.int8),
    )
    for index, name in enumerate(FEATURES):
        if np.isinf(rows.features[:, index]).any():
            raise DataError(
                f"feature {name} holds an infinite value",
                hint="a division by zero in features.customer_features; unknown values must be NULL",
            )
    return rows


def customers(
    session: Session, people: pa.Table, as_of: AsOf, batch_rows: int = BATCH_ROWS
) -> Generator[tuple[pa.Array, np.ndarray]]:
    """Tokens and features of everybody to score at `as_of`, in batches sorted by token.

    The reader has a cursor of its own, so that the session can write while it runs.

    Raises
    ------
    DataError
        There are no features for this day.
    """
    require_features(session)
    if not session.value("select count(*) from features.customer_features where as_of = $day", {"day": as_of.day}):
        raise DataError(
            f"features.customer_features has no rows for {as_of.key}",
            hint="materialise the features for that day first; the table holds one as_of day and its cut-offs",
        )
    reader = session.raw.cursor()
    try:
        reader.register("_people", people)
        batches = reader.sql(
            f"""
            select customer_token, {feature_columns()}
            from features.customer_features as f semi join _people using (customer_token)
            where as_of = $day
            order by customer_token
            """,  # noqa: S608
            params={"day": as_of.day},
        ).to_arrow_reader(batch_rows)
        for batch in batches:
            yield batch.column("customer_token"), matrix(pa.Table.from_batches([batch]))
    finally:
        reader.close()


def require_features(session: Session) -> None:
    """Raise `DataError` when the feature table is missing or lacks a column that the models read."""
    present = {
        name
        for (name,) in session.rows(
            "select column_name from information_schema.columns"
            " where table_schema = 'features' and table_name = 'customer_features'"
        )
    }
    missing = [name for name in FEATURES if name not in present]
    if missing:
        what = f"lacks {', '.join(missing)}" if present else "does not exist"
        raise DataError(f"features.customer_features {what}", hint="run the features stage first")


def feature_columns() -> str:
    return ", ".join(f"f.{name}::double as {name}" for name in FEATURES)


def matrix(table: pa.Table) -> np.ndarray:
    """The feature columns as one float64 array, NULL as NaN."""
    matrix = np.empty((len(table), len(FEATURES)))
    for index, name in enumerate(FEATURES):
        matrix[:, index] = table[name].to_numpy()
    return matrix
