"""Invariant 47 on the whole line: who withdraws from predictions is in no score, and gets mail all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from personalization.as_of import AsOf
from personalization.ledger import ConsentEvent, Keyring, Ledger
from personalization.runtime import Runtime
from personalization.stages.scoring.inputs import known_windows, population, read_rows
from personalization.workspace import Workspace
from tests.e2e.conftest import Line
from tests.e2e.small import API_KEY, DAY

NEXT_DAY = "2017-12-04"
SCORED = """
    select d.customer_token, d.email_token from decisions.decisions d
    where d.as_of = ? and d.outcome = 'send' and d.purchase_score > 0.9 and d.campaign = 'december_favourites'
        and d.offer = 'THANKS10'
    order by d.purchase_score desc, d.customer_token limit 5
"""


@pytest.mark.slow
def test_it_ends_scores_and_what_is_made_of_them_and_not_the_mail(line: Line, tmp_path: Path) -> None:
    with line.copy(tmp_path) as cli:
        runtime = Runtime(Workspace.at(cli.root))
        with runtime.warehouse.connect(read_only=True) as session:
            people = dict(session.rows(SCORED, [AsOf.parse(DAY, "America/New_York").day]))
        assert people
        keys = Keyring.load(runtime.workspace.keys)
        with Ledger.open(runtime.workspace.ledger_url) as ledger:
            addresses = set(ledger.vault(keys).reveal(list(people.values())).values())
            ledger.consent.append(
                ConsentEvent(
                    event_id=f"test:{token}",
                    subject_token=token,
                    purpose="personalization.ml_scoring",
                    action="withdraw",
                    effective_at=datetime(2017, 12, 3, 20, tzinfo=UTC),
                    source="test",
                )
                for token in people
            )
        assert {values["SCORE"] == "" for values in platform(cli.mailchimp, addresses).values()} == {False}
        result = cli.run("run", "--as-of", NEXT_DAY, "--train")
        assert result.returncode == 0, result.stderr[-4000:]

        day = runtime.as_of(NEXT_DAY)
        with runtime.warehouse.connect() as session:
            may = population(runtime, session, day)
            windows = known_windows(session, may, day, 28, 6)
            trained = set(read_rows(session, may, [window.cutoff for window in windows]).tokens.to_pylist())
            assert trained
            assert not trained & people.keys()
            for query in (
                "select customer_token from scores.propensity where as_of = ?",
                "select customer_token from scores.explanations where as_of = ?",
                "select customer_token from segments.membership where as_of = ? and segment = 'likely_buyers'",
                "select customer_token from segments.membership where as_of = ? and segment = 'loyal_couponers'",
            ):
                found = {token for (token,) in session.rows(query, [day.day])}
                assert found, query
                assert not found & people.keys(), query
            decided = session.rows(
                "select customer_token, purchase_score, offer from decisions.decisions"
                " where as_of = ? and outcome = 'send'",
                [day.day],
            )
        sent = {token: (score, offer) for token, score, offer in decided if token in people}
        assert sent.keys() == people.keys(), "mailing goes on"
        assert set(sent.values()) == {(None, "POINTS2")}, "the offer that a score chose is gone"
        held = platform(cli.mailchimp, addresses)
        assert held.keys() == addresses
        assert {(values["SCORE"], values["OFFER"]) for values in held.values()} == {("", "POINTS2")}


def platform(url: str, addresses: set[str]) -> dict[str, dict[str, object]]:
    answer = requests.get(f"{url}/lists/demo000001/members", params={"count": 1000}, auth=("any", API_KEY), timeout=10)
    members = answer.json()["members"]
    return {m["email_address"]: m["merge_fields"] for m in members if m["email_address"] in addresses}
