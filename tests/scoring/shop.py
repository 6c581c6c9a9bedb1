"""A small generated shop: features and labels whose true chance of a purchase is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from personalization.ledger import ConsentEvent
from personalization.runtime import Runtime
from personalization.stages.scoring.inputs import FEATURES, PURPOSE, Rows
from personalization.workspace import Workspace

AS_OF = date(2024, 6, 2)
HORIZON = 28
CUTOFFS = tuple(AS_OF - timedelta(days=HORIZON * k) for k in range(6, -1, -1))  # six known windows, then AS_OF itself
SIGNAL = "orders_28d"

Truth = Callable[[np.ndarray], np.ndarray]

PROGRAM = """
name: Generated shop
start: 2024-01-01
scoring: {horizon_days: 28, training_cutoffs: 6, retrain_after_days: 7, bands: {low: 0.0, medium: 0.5, high: 0.8}}
"""
ASKS = "purposes:\n  personalization.ml_scoring: {title: Predictions}\n"
ASKS_NOT = "purposes:\n  email.marketing: {title: News}\n"


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, FEATURES.index(name)]


def linear_truth(features: np.ndarray) -> np.ndarray:
    """The chance grows with the logarithm of the orders of the last four weeks, and with nothing else."""
    return 1 / (1 + np.exp(-(1.6 * np.log1p(column(features, SIGNAL)) - 1.5)))


def crossed_truth(features: np.ndarray) -> np.ndarray:
    """The chance depends on whether two features are on the same side of their middle: no straight line sees it."""
    same = (column(features, "weekend_share_84d") > 0.5) == (column(features, "meat_share_84d") > 0.5)
    return np.where(same, 0.9, 0.1)


def random_features(size: int, seed: int) -> np.ndarray:
    """Counts, days, amounts and shares without any relation to each other; some unknown."""
    rng = np.random.default_rng(seed)
    features = np.round(rng.gamma(1.2, 4.0, (size, len(FEATURES))), 2)
    for index, name in enumerate(FEATURES):
        if name.endswith("_share_84d"):
            features[:, index] = rng.random(size)
    features[:, FEATURES.index(SIGNAL)] = rng.poisson(rng.gamma(1.0, 2.0, size))
    features[rng.random(size) < 0.3, FEATURES.index("last_conversion_days")] = np.nan
    return features


def make_rows(
    truth: Truth = linear_truth, size: int = 500, cutoffs: Iterable[date] = CUTOFFS[:-1], seed: int = 1
) -> Rows:
    """`size` customers at each cut-off, with outcomes drawn from the truth."""
    rng = np.random.default_rng(seed + 1000)
    cutoffs = list(cutoffs)
    features = np.concatenate([random_features(size, seed + index) for index in range(len(cutoffs))])
    return Rows(
        cutoffs=np.repeat(np.array(cutoffs, dtype="datetime64[D]"), size),
        tokens=pa.array([f"t1_k1_{number:05d}" for number in range(size)] * len(cutoffs)),
        features=features,
        purchased=(rng.random(len(features)) < truth(features)).astype(np.int8),
    )


def make_shop(folder: Path, rows: Rows) -> Runtime:
    """A workspace whose warehouse holds the rows as features and labels; the program asks for no consent."""
    (folder / "program").mkdir(parents=True)
    for name, text in (
        ("program", PROGRAM),
        ("sources", "sources: {}\n"),
        ("consent", ASKS_NOT),
    ):
        (folder / "program" / f"{name}.yaml").write_text(text)
    runtime = Runtime(Workspace.at(folder))
    keys = {"as_of": pa.array(rows.cutoffs), "customer_token": rows.tokens}
    columns = {name: pa.array(rows.features[:, i], from_pandas=True) for i, name in enumerate(FEATURES)}
    with runtime.warehouse.connect() as session:
        with session.registered(
            _features=pa.table(keys | columns | {"mean_gap_days_84d": pa.array([1.0] * len(rows.tokens))}),
            _labels=pa.table(keys | {"purchased": pa.array(rows.purchased == 1)}),
        ):
            session.replace_table("features.customer_features", "select * from _features")
            session.replace_table(
                "features.customer_labels", "select *, purchased::integer::decimal(18, 4) purchase_amount from _labels"
            )
        session.replace_table(
            "landed.identity",
            "select distinct customer_token identifier_token, 'customer' kind, customer_token, 'customer' linked_by"
            " from features.customer_features",
        )
    return runtime


def copy(folder: Path, to: Path) -> Runtime:
    """The same shop in another folder, to be changed by one test."""
    shutil.copytree(folder, to)
    return Runtime(Workspace.at(to))


def say(
    runtime: Runtime, action: str, tokens: Iterable[str], day: date = date(2024, 1, 1), *, purpose: str = PURPOSE
) -> None:
    """Consent events, about scoring unless said otherwise, at midnight UTC of a day."""
    runtime.ledger.consent.append(
        ConsentEvent(
            event_id=f"{action}-{day}-{token}-{purpose}",
            subject_token=token,
            purpose=purpose,
            action=action,
            effective_at=datetime(day.year, day.month, day.day, tzinfo=UTC),
            source="test",
        )
        for token in tokens
    )


def change(runtime: Runtime, sql: str) -> None:
    with runtime.warehouse.connect() as session:
        session.execute(sql)


def tables(runtime: Runtime) -> dict[str, str]:
    """Fingerprints of the tables of scores."""
    with runtime.warehouse.connect(read_only=True) as session:
        return {name: session.fingerprint(f"scores.{name}") for name in ("propensity", "explanations", "importance")}


def scores(runtime: Runtime) -> dict[str, float]:
    with runtime.warehouse.connect(read_only=True) as session:
        return dict(session.rows("select customer_token, purchase_score from scores.propensity"))
