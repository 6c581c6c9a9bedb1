"""What must hold of the stored scores of a day, looked up independently of the code that wrote them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.stages.scoring.candidates import BASELINES
from personalization.stages.scoring.explain import DECIMALS, contributions, top
from personalization.stages.scoring.inputs import FEATURES, customers, population
from personalization.stages.scoring.quality import Z_95
from personalization.stages.scoring.retrain import train_if_due

SAMPLE = 1_000  # customers whose explanations are computed again
DRIFT = 0.03  # difference between mean score and share of buyers that is worth a warning
TOLERANCE = 10 ** -(DECIMALS - 1)  # of stored numbers: two of them may have been rounded in different directions


@dataclass(frozen=True)
class Finding:
    """Whether a condition holds, and what was found, in a sentence. `only_warn`: later stages may run all the same."""

    passed: bool
    text: str
    only_warn: bool = False


def scores_are_probabilities(runtime: Runtime, as_of: AsOf) -> Finding:
    """Every score lies between 0 and 1, and no customer has two."""
    with runtime.warehouse.connect(read_only=True) as session:
        total, wrong, repeated = session.rows(
            """
            select
                count(*),
                count(*) filter (purchase_score is null or not purchase_score between 0 and 1),
                count(*) - count(distinct customer_token)
            from scores.propensity where as_of = ?
            """,
            [as_of.day],
        )[0]
    return Finding(
        wrong == 0 and repeated == 0,
        f"{total:,} scores, {wrong:,} of them missing or outside 0 to 1; {repeated:,} more scores than customers",
    )


def everybody_who_may_be_is_scored(runtime: Runtime, as_of: AsOf) -> Finding:
    """Exactly the customers who have features and may be scored have a score."""
    training = train_if_due(runtime, as_of, replace_old=False)
    with runtime.warehouse.connect(read_only=True) as session:
        people = population(runtime, session, as_of)
        with session.registered(_people=people):
            missing, too_many = session.rows(
                """
                with expected as (
                    select customer_token from features.customer_features semi join _people using (customer_token)
                    where as_of = $day
                ),
                scored as (select customer_token from scores.propensity where as_of = $day)
                select
                    (select count(*) from expected anti join scored using (customer_token)),
                    (select count(*) from scored anti join expected using (customer_token))
                """,
                {"day": as_of.day},
            )[0]
    text = f"{missing:,} customers who may be scored have no score; {too_many:,} who may not be have one"
    if training.model is None:
        return Finding(missing == 0 and too_many == 0, f"{text}; {training.reason}", only_warn=too_many == 0)
    return Finding(missing == 0 and too_many == 0, text)


def explanations_add_up(runtime: Runtime, as_of: AsOf, sample: int = SAMPLE) -> Finding:
    """Computed again for a sample, the contributions sum to the score, and the largest are those that are stored."""
    training = train_if_due(runtime, as_of, replace_old=False)
    if training.model is None:
        return Finding(True, f"nothing to explain; {training.reason}")
    with runtime.warehouse.connect(read_only=True) as session:
        batches = customers(session, population(runtime, session, as_of), as_of, sample)
        tokens, features = next(batches, (pa.array([], pa.string()), np.empty((0, len(FEATURES)))))
        batches.close()
        with session.registered(_sample=pa.table({"customer_token": tokens})):
            scores = dict(
                session.rows(
                    "select customer_token, purchase_score from scores.propensity"
                    " semi join _sample using (customer_token) where as_of = ?",
                    [as_of.day],
                )
            )
            stored = session.rows(
                "select customer_token, feature, contribution from scores.explanations"
                " semi join _sample using (customer_token) where as_of = ?",
                [as_of.day],
            )
    values, base = contributions(training.model.scorer, features)
    expected = {
        (token, FEATURES[column]): values[row, column]
        for row, (token, best) in enumerate(zip(tokens.to_pylist(), top(values), strict=True))
        for column in best
    }
    right = sum(
        abs(contribution - expected.get((token, feature), np.inf)) <= TOLERANCE
        for token, feature, contribution in stored
    )
    sums = 1 / (1 + np.exp(-(base + values.sum(axis=1))))
    found = np.array([scores.get(token, np.nan) for token in tokens.to_pylist()])
    apart = int(np.sum(~(np.abs(sums - found) <= TOLERANCE)))
    return Finding(
        apart == 0 and right == len(stored) == len(expected),
        f"{len(tokens):,} customers: {apart:,} whose contributions do not sum to their score; "
        f"{right:,} of {len(expected):,} explanations are stored as computed, among {len(stored):,} stored",
    )


def beats_baselines(runtime: Runtime, as_of: AsOf) -> Finding:
    """On the selection window the model's log loss is below those of recency alone and of the base rate."""
    training = train_if_due(runtime, as_of, replace_old=False)
    if training.model is None:
        return Finding(False, training.reason, only_warn=True)
    loss = {row.model: row.log_loss for row in training.model.quality}
    chosen, best = training.model.chosen, min(BASELINES, key=lambda name: loss[name])
    return Finding(
        loss[chosen] < loss[best],
        f"log loss {loss[chosen]:.3f} ({chosen}), best baseline {loss[best]:.3f} ({best})",
        only_warn=True,
    )


def outcome_is_calibrated(runtime: Runtime, as_of: AsOf) -> Finding:
    """Once the outcome is known, the mean score and the share who bought agree, but for chance and a small drift."""
    with runtime.warehouse.connect(read_only=True) as session:
        count, predicted, observed = session.rows(
            """
            select
                count(*),
                sum(purchase_score::decimal(18, 9))::double / count(*),
                count(*) filter (purchased) / count(*)
            from scores.propensity inner join features.customer_labels using (as_of, customer_token)
            where as_of = ?
            """,
            [as_of.day],
        )[0]
    if not count:
        return Finding(True, "the outcome is not known yet")
    gap, chance = predicted - observed, Z_95 * (observed * (1 - observed) / count) ** 0.5
    return Finding(
        abs(gap) <= max(DRIFT, chance),
        f"mean score {predicted:.3f}, share who bought {observed:.3f}, apart by {gap:+.3f}; "
        f"more than {max(DRIFT, chance):.3f} is a warning",
        only_warn=True,
    )
