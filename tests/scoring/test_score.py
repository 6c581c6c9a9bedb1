"""Scores, bands, explanations and importance as they are stored, and the checks that look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.runtime import Runtime
from personalization.stages.scoring import inputs, verify
from personalization.stages.scoring.judge import judge
from personalization.stages.scoring.score import bands_of, score
from tests.scoring.shop import AS_OF, CUTOFFS, SIGNAL, change, column, crossed_truth, make_rows, make_shop, tables

DAY = AsOf(AS_OF)


def query(runtime: Runtime, sql: str) -> list[tuple]:
    with runtime.warehouse.connect(read_only=True) as session:
        return session.rows(sql)


@pytest.mark.parametrize(
    ("value", "band"), [(0.0, None), (0.0999, None), (0.1, "low"), (0.5, "medium"), (0.79, "medium"), (1.0, "high")]
)
def test_bands(value, band):
    assert bands_of(np.array([value]), {"high": 0.8, "low": 0.1, "medium": 0.5}).to_pylist() == [band]


class TestTables:
    def test_columns(self, scored):
        described = {
            table: query(scored, f"select column_name, column_type from (describe scores.{table})")
            for table in ("propensity", "explanations", "importance", "model_quality")
        }
        assert described["propensity"] == [
            ("as_of", "DATE"),
            ("customer_token", "VARCHAR"),
            ("purchase_score", "DOUBLE"),
            ("purchase_band", "VARCHAR"),
            ("model_version", "VARCHAR"),
        ]
        assert described["explanations"] == [
            ("as_of", "DATE"),
            ("customer_token", "VARCHAR"),
            ("rank", "INTEGER"),
            ("feature", "VARCHAR"),
            ("value", "DOUBLE"),
            ("contribution", "DOUBLE"),
        ]
        assert described["importance"] == [
            ("as_of", "DATE"),
            ("feature", "VARCHAR"),
            ("mean_abs_contribution", "DOUBLE"),
        ]
        assert described["model_quality"][:11] == [
            ("as_of", "DATE"),
            ("model_version", "VARCHAR"),
            ("model", "VARCHAR"),
            ("split", "VARCHAR"),
            ("cutoff", "DATE"),
            ("n", "BIGINT"),
            ("roc_auc", "DOUBLE"),
            ("brier", "DOUBLE"),
            ("log_loss", "DOUBLE"),
            ("base_rate", "DOUBLE"),
            ("chosen", "BOOLEAN"),
        ]

    def test_every_customer_has_a_score_and_five_reasons_in_order(self, scored):
        summary = score(scored, DAY)
        assert (summary.customers, summary.not_scored) == (200, 0)
        assert sum(summary.bands.values()) == 200
        assert query(
            scored,
            "select count(*), count(distinct customer_token), min(rank), max(rank) from scores.explanations",
        ) == [(1000, 200, 1, 5)]
        assert not query(
            scored,
            "select 1 from (select *, lag(abs(contribution)) over (partition by customer_token order by rank) before"
            " from scores.explanations) where abs(contribution) > before",
        )

    def test_explanations_carry_the_raw_value_and_null_for_unknown(self, scored):
        assert query(scored, "select count(*) from scores.explanations where isnan(value)") == [(0,)]
        different = query(
            scored,
            f"select 1 from scores.explanations e join features.customer_features f using (as_of, customer_token)"
            f" where e.feature = '{SIGNAL}' and e.value is distinct from f.{SIGNAL}",
        )
        assert different == []

    def test_an_unknown_value_can_explain_a_score(self, tmp_path: Path):
        def known_buys(features: np.ndarray) -> np.ndarray:
            return np.where(np.isnan(column(features, "last_conversion_days")), 0.1, 0.9)

        shop = make_shop(tmp_path, make_rows(known_buys, size=200, cutoffs=CUTOFFS))
        score(shop, DAY)
        assert query(shop, "select distinct feature, rank from scores.explanations where value is null") == [
            ("last_conversion_days", 1)
        ]

    def test_importance_is_the_mean_over_all_customers(self, scored):
        summary = score(scored, DAY)
        assert summary.importance[0][0] == SIGNAL
        stored = dict(query(scored, "select feature, mean_abs_contribution from scores.importance"))
        assert stored == dict(summary.importance)

    def test_the_size_of_the_batches_does_not_show(self, scored, monkeypatch):
        whole = tables(scored)
        monkeypatch.setattr(inputs.customers, "__defaults__", (7,))
        score(scored, DAY)
        assert tables(scored) == whole

    def test_scoring_a_day_again_or_another_day_leaves_the_others(self, scored):
        whole = tables(scored)
        score(scored, DAY)
        assert tables(scored) == whole
        score(scored, DAY.shift(-28))
        assert query(scored, "select as_of, count(*) from scores.propensity group by 1 order by 1") == [
            (DAY.shift(-28).day, 200),
            (DAY.day, 200),
        ]

    def test_a_deleted_warehouse_is_rebuilt_identically(self, scored, tmp_path: Path):
        whole = tables(scored)
        change(scored, "drop schema scores cascade")
        score(scored, DAY)
        assert tables(scored) == whole

    def test_a_large_table_is_sampled_by_customer(self, shop):
        with shop.warehouse.connect() as session:
            people = inputs.population(shop, session, DAY)
            sample = inputs.read_rows(session, people, CUTOFFS[:-1], max_rows=300)
            again = inputs.read_rows(session, people, CUTOFFS[:-1], max_rows=300)
        customers = set(sample.tokens.to_pylist())
        assert sample.fingerprint == again.fingerprint
        assert 20 < len(customers) < 90
        assert len(sample.tokens) == 6 * len(customers)


class TestProblems:
    def test_a_day_without_features(self, scored):
        with pytest.raises(DataError, match=r"features\.customer_features has no rows for 2024-06-03") as caught:
            score(scored, DAY.shift(1))
        assert "materialise the features for that day first" in str(caught.value)

    def test_a_missing_feature_column(self, shop):
        change(shop, "alter table features.customer_features drop column orders_7d")
        with pytest.raises(DataError, match=r"features\.customer_features lacks orders_7d"):
            score(shop, DAY)

    def test_no_feature_table(self, shop):
        change(shop, "drop table features.customer_features")
        with pytest.raises(DataError, match=r"features\.customer_features does not exist"):
            score(shop, DAY)

    def test_an_infinite_feature(self, shop):
        change(shop, f"update features.customer_features set spend_trend = 'inf' where as_of = '{CUTOFFS[0]}'")
        with pytest.raises(DataError, match="feature spend_trend holds an infinite value"):
            score(shop, DAY)


class TestChecks:
    def test_all_hold_after_a_normal_run(self, scored):
        for condition in (
            verify.beats_baselines,
            verify.scores_are_probabilities,
            verify.everybody_who_may_be_is_scored,
            verify.explanations_add_up,
            verify.outcome_is_calibrated,
        ):
            finding = condition(scored, DAY)
            assert finding.passed, finding.text

    def test_all_hold_for_the_trees(self, tmp_path: Path):
        shop = make_shop(tmp_path, make_rows(crossed_truth, size=800, cutoffs=CUTOFFS))
        score(shop, DAY)
        assert judge(shop, DAY).quality[1].chosen
        finding = verify.explanations_add_up(shop, DAY, sample=100)
        assert finding.passed, finding.text

    @pytest.mark.parametrize("value", ["1.5", "null", "'nan'"])
    def test_a_score_that_is_no_probability(self, scored, value):
        change(scored, f"update scores.propensity set purchase_score = {value} where customer_token like '%7'")
        finding = verify.scores_are_probabilities(scored, DAY)
        assert not finding.passed
        assert finding.text.startswith("200 scores, 20 of them missing or outside 0 to 1")

    def test_two_scores_of_one_customer(self, scored):
        change(scored, "insert into scores.propensity from scores.propensity limit 1")
        assert "1 more scores than customers" in verify.scores_are_probabilities(scored, DAY).text

    @pytest.mark.parametrize(
        "wrong",
        [
            "update scores.propensity set purchase_score = purchase_score * 0.99",
            "update scores.explanations set contribution = contribution + 0.1 where rank = 3",
            "delete from scores.explanations where rank = 5",
            "update scores.explanations set feature = 'orders_total' where rank = 1",
        ],
    )
    def test_explanations_that_do_not_belong_to_the_scores(self, scored, wrong):
        change(scored, wrong)
        assert not verify.explanations_add_up(scored, DAY).passed

    def test_a_drifting_outcome_warns(self, scored):
        change(scored, "update features.customer_labels set purchased = true where customer_token < 't1_k1_00100'")
        finding = verify.outcome_is_calibrated(scored, DAY)
        assert (finding.passed, finding.only_warn) == (False, True)
        assert "more than 0.0" in finding.text

    def test_an_outcome_that_is_not_known_yet(self, shop):
        change(shop, f"delete from features.customer_labels where as_of = '{AS_OF}'")
        score(shop, DAY)
        assert verify.outcome_is_calibrated(shop, DAY).text == "the outcome is not known yet"
        judgement = judge(shop, DAY)
        assert judgement.calibration is None
        assert {row.split for row in judgement.quality} == {"selection"}

    def test_a_model_without_skill_warns(self, tmp_path: Path):
        rows = make_rows(lambda features: np.full(len(features), 0.5), size=100, cutoffs=CUTOFFS)
        finding = verify.beats_baselines(make_shop(tmp_path, rows), DAY)
        assert (finding.passed, finding.only_warn) == (False, True)

    def test_no_model_warns_and_says_why(self, tmp_path: Path):
        shop = make_shop(tmp_path, make_rows(size=50, cutoffs=CUTOFFS[-2:]))
        score(shop, DAY)
        for condition in (verify.beats_baselines, verify.everybody_who_may_be_is_scored):
            finding = condition(shop, DAY)
            assert (finding.passed, finding.only_warn) == (False, True)
            assert "1 past windows of 28 days" in finding.text


def test_the_stored_judgement_is_of_the_stored_scores(scored):
    (chosen,) = query(scored, "select n, brier, base_rate from scores.model_quality where split = 'outcome' and chosen")
    recomputed = query(
        scored,
        "select count(*), avg((purchase_score - purchased::integer) ** 2), avg(purchased::integer)"
        " from scores.propensity join features.customer_labels using (as_of, customer_token)",
    )[0]
    assert chosen == pytest.approx(recomputed, abs=1e-8)
    assert query(
        scored, "select split, count(*), count(*) filter (chosen) from scores.model_quality group by 1 order by 1"
    ) == [
        ("outcome", 4, 1),
        ("selection", 4, 1),
    ]
