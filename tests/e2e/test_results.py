"""What a platform reports goes the way of all data: into marts and behaviour, and counts against the right release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from personalization.warehouse import Warehouse
from tests.e2e.conftest import Line
from tests.e2e.small import API_KEY, DAY

SENT_AT = f"{DAY}T15:00:00Z"
CAMPAIGN = "december_favourites"


@pytest.mark.slow
def test_results_reach_marts_features_and_the_send_ledger(line: Line, tmp_path: Path) -> None:
    with line.copy(tmp_path) as cli:
        destinations = cli.root / "program" / "destinations.yaml"
        text = destinations.read_text(encoding="utf-8")
        destinations.write_text(text.replace("results: {}", "results: {days: 36500}"), encoding="utf-8")
        server = cli.mailchimp.removesuffix("/3.0")
        members = requests.get(
            f"{cli.mailchimp}/lists/demo000001/members", params={"count": 1000}, auth=("x", API_KEY), timeout=60
        ).json()["members"]
        audience = [m["email_address"] for m in members if m["merge_fields"]["CAMPAIGN"] == CAMPAIGN][:60]
        asked = {"name": CAMPAIGN, "sent_at": SENT_AT, "addresses": audience}
        rates = {"opened": 0.9, "machine": 0.5, "clicked": 0.9}
        sent = requests.post(f"{server}/_sandbox/campaigns", json={**asked, "rates": rates}, timeout=60).json()
        pulled = cli.run("results", "pull", "--json")
        assert pulled.returncode == 0, pulled.stderr
        (found,) = json.loads(pulled.stdout)
        assert (found["events"], found["problems"]) == (sum(sent["events"].values()), {})
        again = cli.run("run", "--as-of", "2017-12-05", "--json")
        assert again.returncode == 0, again.stderr[-4000:]
        with Warehouse(cli.root / "var" / "warehouse.duckdb").connect() as session:
            counts = dict(
                session.rows(
                    "select event, sum(events)::int from marts.email_events"
                    " where campaign_id like 'mailchimp:%' group by event"
                )
            )
            machines = counts.pop("machine_opened")
            assert machines > 0
            assert counts["opened"] + machines == sent["events"]["opened"]
            assert counts["sent"] == sent["events"]["sent"]
            behaviour = dict(
                session.rows(
                    "select event, sum(events)::int from marts.customer_day"
                    " where campaign_id like 'mailchimp:%' group by event"
                )
            )
            assert behaviour["open"] == counts["opened"], "opens by machines are nobody's behaviour"
            assert "machine_opened" not in behaviour
            title = session.value("select title from marts.campaign_history where campaign_id like 'mailchimp:%'")
            assert title == CAMPAIGN
            mailed = session.value(
                "select count(*) from decisions.decisions d join marts.email_events e using (customer_token)"
                " where d.as_of = date '2017-12-05' and d.outcome = 'send' and e.campaign_id like 'mailchimp:%'"
                " and e.event = 'sent'"
            )
            assert mailed == 0, "who was mailed two days ago is not mailed again: the gap is three days"
        status = json.loads(cli.run("results", "status", "--json").stdout)
        assert status[0]["other_campaigns"] == []
