"""Training finds what is there, finds nothing where nothing is, and never looks past the day it is made for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from personalization.as_of import AsOf
from personalization.program.models import Scoring
from personalization.stages.scoring.candidates import BASE_RATE, LINEAR, RECENCY, TREES, Fitter, closed_before
from personalization.stages.scoring.explain import contributions
from personalization.stages.scoring.inputs import FEATURES, Window
from personalization.stages.scoring.judge import judge
from personalization.stages.scoring.quality import Quality
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.score import score
from personalization.stages.scoring.training import TrainedModel, choose, shortage, train
from tests.scoring.shop import (
    AS_OF,
    CUTOFFS,
    HORIZON,
    SIGNAL,
    change,
    copy,
    crossed_truth,
    linear_truth,
    make_rows,
    make_shop,
    tables,
)

DAY = AsOf(AS_OF)


@pytest.fixture(scope="module")
def linear_model() -> TrainedModel:
    return train(make_rows(), Scoring(), DAY)


def of(quality: list[Quality], model: str, split: str = "selection") -> Quality:
    return next(row for row in quality if row.model == model and row.split == split)


def auc_of(rows, probability) -> float:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(rows.purchased, probability)


class TestSignal:
    def test_the_planted_signal_is_found(self, linear_model):
        fresh = make_rows(seed=900, size=2000, cutoffs=[AS_OF])
        best_possible = auc_of(fresh, linear_truth(fresh.features))
        assert auc_of(fresh, linear_model.scorer.probability(fresh.features)) == pytest.approx(best_possible, abs=0.01)

    def test_scores_are_the_true_chances(self, linear_model):
        fresh = make_rows(seed=900, size=2000, cutoffs=[AS_OF])
        error = linear_model.scorer.probability(fresh.features) - linear_truth(fresh.features)
        assert np.abs(error).mean() < 0.05

    def test_it_beats_both_baselines_on_the_selection_window(self, linear_model):
        quality = linear_model.quality
        assert of(quality, LINEAR).log_loss < min(of(quality, RECENCY).log_loss, of(quality, BASE_RATE).log_loss)
        assert of(quality, LINEAR).auc_gain_low > 0.1

    def test_unrelated_outcomes_give_chance_level_everywhere(self):
        rows = make_rows(size=1000, cutoffs=CUTOFFS)
        rows = replace(rows, purchased=np.random.default_rng(5).permutation(rows.purchased))
        model = train(rows.at(CUTOFFS[:-1]), Scoring(), DAY)
        outcome = rows.at([AS_OF])
        assert of(model.quality, LINEAR).roc_auc == pytest.approx(0.5, abs=0.05)
        assert of(model.quality, TREES).roc_auc == pytest.approx(0.5, abs=0.05)
        for name in (LINEAR, TREES):
            assert auc_of(outcome, model.models[name].probability(outcome.features)) == pytest.approx(0.5, abs=0.05)

    def test_an_outcome_among_the_feature_columns_is_not_read(self, tmp_path: Path):
        rows = make_rows(size=300, cutoffs=CUTOFFS)
        runtime = make_shop(tmp_path, replace(rows, purchased=np.random.default_rng(5).permutation(rows.purchased)))
        change(
            runtime,
            "create or replace table features.customer_features as select f.*, l.purchased::integer bought_later"
            " from features.customer_features f join features.customer_labels l using (as_of, customer_token)",
        )
        assert of(judge(runtime, DAY).quality, LINEAR, "outcome").roc_auc < 0.6


class TestFeatures:
    """What the model reads is what dbt documents as known at the cut-off, and never a column of the labels."""

    def test_features_are_those_of_the_feature_table(self):
        documented = documented_columns("customer_features")
        assert set(FEATURES) == documented - {"as_of", "customer_token", "mean_gap_days_84d", "top_department_84d"}

    def test_no_outcome_is_a_feature(self):
        assert not set(FEATURES) & documented_columns("customer_labels")


def documented_columns(model: str) -> set[str]:
    path = Path(__file__).parents[2] / "dbt_project" / "models" / "features" / f"{model}.yml"
    (described,) = YAML(typ="safe").load(path)["models"]
    return {column["name"] for column in described["columns"]}


class TestNoLeak:
    """Nothing that was not known at `as_of` moves a model or a score."""

    @pytest.mark.parametrize(
        "later",
        [
            f"update features.customer_labels set purchased = not purchased where as_of = '{AS_OF}'",
            "insert into features.customer_labels select as_of + 7, customer_token, not purchased, 9"
            f" from features.customer_labels where as_of = '{CUTOFFS[-2]}'",
            "insert into features.customer_features select as_of + 7, * exclude (as_of)"
            f" from features.customer_features where as_of = '{CUTOFFS[-2]}'",
        ],
        ids=["outcome of the day itself", "a window that was still open", "features of a later day"],
    )
    def test_later_facts_change_nothing(self, scored, new_folder: Path, tmp_path: Path, later: str):
        other = copy(new_folder, tmp_path / "other")
        change(other, later)
        score(other, DAY)
        assert tables(other) == tables(scored)
        assert train_if_due(other, DAY).version == train_if_due(scored, DAY).version

    def test_only_the_judgement_of_the_outcome_moves_with_the_outcome(self, scored, new_folder: Path, tmp_path: Path):
        other = copy(new_folder, tmp_path / "other")
        change(other, f"update features.customer_labels set purchased = not purchased where as_of = '{AS_OF}'")
        before, after = judge(scored, DAY), judge(other, DAY)
        assert [row for row in before.quality if row.split == "selection"] == [
            row for row in after.quality if row.split == "selection"
        ]
        assert of(before.quality, LINEAR, "outcome").roc_auc > 0.7
        assert of(after.quality, LINEAR, "outcome").roc_auc < 0.3

    def test_the_model_judged_on_the_selection_window_never_saw_it(self, linear_model):
        rows = make_rows()
        turned = rows.purchased.copy()
        selection = rows.cutoffs == np.datetime64(CUTOFFS[-2])
        turned[selection] = 1 - turned[selection]
        quality = train(replace(rows, purchased=turned), Scoring(), DAY).quality
        for name in (LINEAR, TREES, RECENCY):
            assert of(quality, name).roc_auc == pytest.approx(1 - of(linear_model.quality, name).roc_auc)

    def test_calibration_learns_from_what_followed_the_fit(self):
        """From the second window on twice as many buy as in the first, on which the model that is calibrated by the
        second was fitted. Margins of rows that a model was fitted on would need no such lift."""
        rows = make_rows(size=2000, cutoffs=CUTOFFS[:2])
        first = rows.cutoffs == np.datetime64(CUTOFFS[0])
        rarer = rows.purchased * (~first | (np.random.default_rng(2).random(len(first)) < 0.5))
        steady = Fitter(rows, HORIZON).fit(LINEAR, CUTOFFS[:2])
        lifted = Fitter(replace(rows, purchased=rarer.astype(np.int8)), HORIZON).fit(LINEAR, CUTOFFS[:2])
        assert (steady.slope, steady.offset) == (pytest.approx(1, abs=0.15), pytest.approx(0, abs=0.2))
        assert lifted.offset > 0.7

    def test_overlapping_windows_are_kept_apart(self):
        weekly = [AS_OF + timedelta(days=7 * k) for k in range(8)]
        assert closed_before(weekly[6], weekly, HORIZON) == weekly[:3]
        assert closed_before(weekly[3], weekly, HORIZON) == []


class TestChoice:
    def test_the_linear_model_is_kept_when_the_truth_is_linear(self, linear_model):
        assert linear_model.chosen == LINEAR
        assert "they are chosen only above" in linear_model.choice

    def test_the_trees_are_chosen_when_only_they_see_the_signal(self):
        model = train(make_rows(crossed_truth, size=800), Scoring(), DAY)
        assert model.chosen == TREES
        assert of(model.quality, TREES).roc_auc > 0.85
        assert of(model.quality, LINEAR).roc_auc < 0.6

    @pytest.mark.parametrize(
        ("better_by", "noise", "chosen"),
        [(0.03, 0.0, TREES), (0.002, 0.0, LINEAR), (0.03, 0.35, LINEAR), (-0.03, 0.0, LINEAR)],
        ids=["clear", "too small to matter", "within noise", "worse"],
    )
    def test_rule(self, better_by, noise, chosen):
        purchased = np.ones(400, dtype=np.int8)
        signs = np.tile([1, -1], 200)
        assert choose(purchased, np.full(400, 0.6), 0.6 * np.exp(better_by + noise * signs))[0] == chosen


class TestHistory:
    def test_three_windows_that_follow_each_other_are_enough(self):
        windows = [Window(cutoff, 10, 5, 8) for cutoff in CUTOFFS[:3]]
        assert shortage(windows, HORIZON) is None

    @pytest.mark.parametrize(
        "windows",
        [
            [],
            [Window(cutoff, 10, 5, 8) for cutoff in CUTOFFS[:2]],
            [Window(CUTOFFS[0], 10, 10, 8), *(Window(cutoff, 10, 5, 8) for cutoff in CUTOFFS[1:3])],
            [Window(CUTOFFS[0], 10, 5, 0), *(Window(cutoff, 10, 5, 8) for cutoff in CUTOFFS[1:3])],
            [Window(AS_OF + timedelta(days=7 * k), 10, 5, 8) for k in range(6)],
        ],
        ids=["none", "two", "everybody bought in one", "nothing before one", "overlapping"],
    )
    def test_less_is_a_shortage_in_words(self, windows):
        assert "training needs 3 that follow each other" in shortage(windows, HORIZON)

    def test_a_young_shop_gets_empty_scores_and_a_reason(self, tmp_path: Path):
        runtime = make_shop(tmp_path, make_rows(cutoffs=CUTOFFS[-3:], size=50))
        summary = score(runtime, DAY)
        assert (summary.customers, summary.not_scored, summary.version) == (0, 50, None)
        assert summary.reason.startswith("no model: 2 past windows of 28 days have customers who bought")
        with runtime.warehouse.connect(read_only=True) as session:
            assert session.value("select count(*) from scores.propensity") == 0
        assert judge(runtime, DAY).quality == []

    def test_features_that_nobody_has_do_not_stop_training(self):
        rows = make_rows(size=200)
        rows.features[:, FEATURES.index("last_conversion_days")] = np.nan
        rows.features[:, FEATURES.index("mailings_28d")] = 0
        model = train(rows, Scoring(), DAY)
        for name in (LINEAR, TREES):
            values, base = contributions(model.models[name], rows.features)
            log_odds = model.models[name].log_odds(rows.features)
            assert np.isfinite(log_odds).all()
            assert base + values.sum(axis=1) == pytest.approx(log_odds, abs=1e-9)
            assert not values[:, FEATURES.index("last_conversion_days")].any()

    def test_the_signal_has_the_largest_coefficient(self, linear_model):
        coefficients = linear_model.scorer.estimator.named_steps["model"].coef_[0]
        assert np.argmax(np.abs(coefficients)) == FEATURES.index(SIGNAL)
