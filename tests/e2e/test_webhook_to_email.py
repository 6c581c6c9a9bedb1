"""From webhook to e-mail: what follows for touched customers alone is what follows from a run of everything."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from personalization.runtime import Runtime
from personalization.touched import refresh_touched
from personalization.workspace import Workspace
from tests.e2e import events
from tests.e2e.conftest import Line, fingerprints
from tests.e2e.small import API_KEY, DAY, Cli
from tests.e2e.test_crash import held_by_platform

# Over all customers, or after the exports: the next run makes them again (docs/webhook-to-email.md says so).
OF_THE_RUN = {
    "scores.importance",
    "scores.model_quality",
    "experiments.assignments",
    "experiments.results",
    "monitoring.run_summary",
    "decisions.governor",
    "segments.evaluations",
}


def runtime_of(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setenv("MAILCHIMP_BASE_URL", cli.mailchimp)
    monkeypatch.setenv("MAILCHIMP_API_KEY", API_KEY)
    return Runtime(Workspace.at(cli.root))


def everything(runtime: Runtime) -> list[dict[str, Any] | bytes]:
    """Events of every kind: new and known customers, products, orders, corrected lines, and some that are wrong."""
    with runtime.warehouse.connect() as session:
        flowers = [
            row[0]
            for row in session.rows(
                "select product_id from landed.products where department = 'FLORAL' order by 1 limit 3"
            )
        ]
        line = session.rows("select order_id, product_id from landed.order_lines order by 1, 2 limit 1")[0]
    return [
        events.order("w1", "1", "2017-12-02T18:00:00Z", (flowers[0], 1, 9.99), (flowers[1], 2, 5.5)),
        events.order("w2", "never seen", "2017-12-01T10:00:00Z", (flowers[0], 1, 3)),
        events.order("w3", "new", "2017-12-01T10:00:00Z", (flowers[2], 1, 3)),
        events.customer("1", email="moved@example.com", age="25-34", children="2"),
        events.customer("new", email="new@example.com", age="35-44"),
        events.customer("8", email="moved@example.com"),  # the address links two customers
        events.customer("2", email="not an address"),
        events.product(flowers[1], department="grocery", brand="X"),
        events.mail("26", "13", "2017-12-01T08:00:00Z"),
        events.order(line[0], "7", "2017-11-30T10:00:00Z", (line[1], 3, 77)),  # a known line, of another customer now
        events.order("bad", "8", "31.02.2017", ("x", 1, 2)),
        b"{not json",
        {"type": "unknown"},
    ]


def differing(one: dict[str, str], other: dict[str, str]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name in one if one[name] != other[name]} - OF_THE_RUN


def test_touched_customers_end_as_in_a_run_of_everything(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with line.copy(tmp_path / "fast") as fast, line.copy(tmp_path / "whole") as whole:
        runtime = runtime_of(fast, monkeypatch)
        events.receive(runtime, everything(runtime))
        suppressed = runtime.keys.token("customer", "20")
        runtime.ledger.suppressions.add([suppressed], "complained", "test")
        runtime.ledger.engine.dispose()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            source = fast.root / "var" / name
            if source.exists():
                shutil.copy(source, whole.root / "var" / name)
        done = refresh_touched(runtime)
        assert (done.events.dead, done.quarantined) == (1, 1)
        assert done.rows == {"customers": 4, "products": 1, "order_lines": 6, "email_events": 1}
        assert not done.problems
        result = whole.run("run", "--as-of", DAY)
        assert result.returncode == 0, result.stderr[-3000:]
        assert differing(fingerprints(fast.root), fingerprints(whole.root)) == set()
        assert held_by_platform(fast.mailchimp) == held_by_platform(whole.mailchimp)
        assert held_by_platform(fast.mailchimp) != held_by_platform(line.cli.mailchimp)

        again = refresh_touched(Runtime(Workspace.at(fast.root)))
        assert (again.customers, again.exports) == (0, {})
