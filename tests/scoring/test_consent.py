"""Who did not agree to predictions is in neither training nor scores (invariant 47)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.stages.scoring import verify
from personalization.stages.scoring.inputs import known_windows, population, read_rows
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.score import score
from tests.scoring.shop import AS_OF, ASKS, HORIZON, change, copy, say, scores

DAY = AsOf(AS_OF)
EVERYBODY = [f"t1_k1_{number:05d}" for number in range(200)]
WHO_LEAVE = EVERYBODY[:30]


@pytest.fixture
def shop(new_folder: Path, tmp_path: Path) -> Runtime:
    shop = copy(new_folder, tmp_path / "shop")
    (shop.workspace.program / "consent.yaml").write_text(ASKS)
    return shop


def trained_on(runtime: Runtime) -> set[str]:
    with runtime.warehouse.connect() as session:
        people = population(runtime, session, DAY)
        windows = known_windows(session, people, DAY, HORIZON, 6)
        return set(read_rows(session, people, [window.cutoff for window in windows]).tokens.to_pylist())


def test_nobody_asked_means_nobody_scored(shop):
    summary = score(shop, DAY)
    assert (summary.customers, summary.not_scored) == (0, 200)
    assert "no model: 0 past windows" in summary.reason


def test_a_withdrawal_removes_a_person_from_training_and_scores(shop):
    say(shop, "grant", EVERYBODY)
    before = train_if_due(shop, DAY)
    say(shop, "withdraw", WHO_LEAVE, AS_OF - timedelta(days=1))
    assert trained_on(shop) == set(EVERYBODY) - set(WHO_LEAVE)
    after = train_if_due(shop, DAY, force=True)
    assert after.version != before.version
    assert after.model.fingerprint != before.model.fingerprint
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY) - set(WHO_LEAVE)


def test_who_never_said_anything_is_left_out(shop):
    say(shop, "grant", EVERYBODY[30:])
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY[30:])
    assert trained_on(shop) == set(EVERYBODY[30:])


def test_what_was_said_later_does_not_count_for_an_old_day(shop):
    say(shop, "grant", EVERYBODY)
    say(shop, "withdraw", WHO_LEAVE, AS_OF + timedelta(days=1))
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY)


def test_a_withdrawal_on_any_identifier_of_a_person_counts(shop):
    say(shop, "grant", EVERYBODY)
    change(
        shop,
        "insert into landed.identity values ('t1_k1_an_address', 'email', 't1_k1_00007', 'customer, email')",
    )
    say(shop, "withdraw", ["t1_k1_an_address"], AS_OF - timedelta(days=1))
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY) - {"t1_k1_00007"}


def test_a_program_that_does_not_declare_the_purpose_scores_everybody(scored):
    assert scores(scored).keys() == set(EVERYBODY)


def test_the_check_finds_a_score_without_consent(shop):
    say(shop, "grant", EVERYBODY)
    score(shop, DAY)
    assert verify.everybody_who_may_be_is_scored(shop, DAY).passed
    say(shop, "withdraw", EVERYBODY[:2], AS_OF - timedelta(days=1))
    change(shop, "delete from scores.propensity where customer_token = 't1_k1_00099'")
    finding = verify.everybody_who_may_be_is_scored(shop, DAY)
    assert not finding.passed
    assert not finding.only_warn
    assert finding.text == "1 customers who may be scored have no score; 2 who may not be have one"


INTEREST = ASKS.replace("{title: Predictions}", "{title: Predictions, lawful_basis: legitimate_interest}")


def test_on_another_basis_than_consent_silence_is_no_refusal_and_an_objection_is(shop):
    (shop.workspace.program / "consent.yaml").write_text(INTEREST)
    say(shop, "object", WHO_LEAVE, AS_OF - timedelta(days=1))
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY) - set(WHO_LEAVE)
    assert trained_on(shop) == set(EVERYBODY) - set(WHO_LEAVE)


@pytest.mark.parametrize("text", [ASKS, INTEREST, "purposes:\n"])
def test_an_objection_to_marketing_ends_the_profiling_for_it(shop, text):
    """GDPR 21(2): whatever else was agreed to; until the person agrees to marketing again."""
    news = "  email.marketing: {title: News, lawful_basis: legitimate_interest}\n"
    (shop.workspace.program / "consent.yaml").write_text(text + news)
    say(shop, "grant", EVERYBODY)
    marketing = "email.marketing"
    say(shop, "object", WHO_LEAVE, AS_OF - timedelta(days=3), purpose=marketing)
    say(shop, "grant", WHO_LEAVE[:5], AS_OF - timedelta(days=2), purpose=marketing)
    say(shop, "withdraw", EVERYBODY[50:60], AS_OF - timedelta(days=2), purpose=marketing)
    score(shop, DAY)
    assert scores(shop).keys() == set(EVERYBODY) - set(WHO_LEAVE[5:])
