"""The short table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

from rich.console import Console, RenderableType

from personalization.plan import DecisionChange, RunPlan, SegmentChange
from personalization.runtime import Runtime
from personalization.stages.monitoring.console import plan_renderables, summary_renderables
from personalization.stages.monitoring.markdown import short_table
from personalization.stages.monitoring.metrics import run_summary
from tests.monitoring.day import DAY


def printed(renderables: Iterable[RenderableType]) -> list[str]:
    console = Console(width=140, highlight=False, no_color=True)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    return [" ".join(line.split()) for line in capture.get().splitlines() if line.strip()]


def test_the_whole_run_at_a_glance(full: Runtime) -> None:
    lines = printed(summary_renderables(run_summary(full, DAY)))
    for expected in (
        "Corner <shop> & sons, as of 2017-12-03",
        "order lines 5,200 5,000 150 50 ordered_at: not a date",
        "Customers: 40, 36 scored",
        "logistic regression selection, from 2017-11-05 0.812 0.125",
        "recency (naive) selection, from 2017-11-05 0.750 0.150",
        "Comes every week 21 52.5% 0 4 1 ok",
        "Come back send gets the mail 4",
        "withheld gets “Come back” instead 10",
        "planned 24 24",
        "acked 21 24",
        "rejected 3 0",
        "books close close",
        "! 3 contacts of mailchimp: rejected by the platform.",
        "No report has been written for this day yet.",
    ):
        assert expected in lines


def test_the_path_of_the_report_comes_last(full: Runtime) -> None:
    page = full.workspace.reports / DAY.key / "index.html"
    page.parent.mkdir(parents=True)
    page.touch()
    assert "".join(printed(summary_renderables(run_summary(full, DAY)))[-2:]).replace(" ", "").endswith(str(page))


def test_stages_that_have_not_run_are_named(empty: Runtime) -> None:
    lines = printed(summary_renderables(run_summary(empty, DAY)))
    assert (
        "Export: not known yet: export runs in the ledger has nothing for this day (the stage 'export' fills it)"
        in lines
    )


def test_markdown_for_dagster_has_the_same_figures(full: Runtime) -> None:
    text = short_table(run_summary(full, DAY))
    assert "| rows of order_lines | 5,200 landed, 5,000 valid, 150 quarantined |" in text
    assert "| export to mailchimp | 24 planned = 21 acked + 3 rejected" in text
    assert "t1_" not in text


def test_a_plan_shows_only_what_would_change() -> None:
    counts = {"add": 7, "change": 0, "remove": 2, "suppressed": 1}
    export = SimpleNamespace(destination="mailchimp", counts=counts, guard="2 of 3 contacts would be removed")
    plan = RunPlan(
        "2017-12-03",
        [SegmentChange("loyal", 10, 12, 3, 1), SegmentChange("young", 5, 5, 0, 0)],
        [DecisionChange("thanks", "withheld", "no_consent", 4, 4)],
        [export],
    )
    lines = printed(plan_renderables(plan))
    assert "loyal 10 12 3 1" in lines
    assert not any(line.startswith("young") for line in lines)
    assert "Decisions: nothing" in lines
    assert "mailchimp 7 0 2 1" in lines
    assert "! mailchimp: 2 of 3 contacts would be removed" in lines
