"""One way to evaluate the segments, once, in this process: prints its seconds and the process's peak memory as JSON."""

from __future__ import annotations

import json
import resource
import shutil
import sys
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.segment_data import DAY, warehouse
from benchmarks.segment_rules import SEGMENTS, by_hand, rules, unknown
from personalization.program import Program, load_program
from personalization.rules import Rule, evaluation_query
from personalization.rules.catalog import Catalog
from personalization.stages.segments.evaluate import evaluate_segments
from personalization.stages.segments.profile import write_profile
from personalization.warehouse import Session

EXAMPLE = Path(__file__).parents[1] / "program"


def run(folder: Path, way: str) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory (MB) of one of the ways of `benchmarks.segments`.

    `hand` and `ours` with a number, as in `ours-101`, take so many segments.
    """
    kind, _, size = way.partition("-")
    count = int(size or SEGMENTS)
    if kind == "first":
        shutil.rmtree(folder / "history", ignore_errors=True)
    with warehouse(folder).connect() as session:
        session.execute(f"set temp_directory = '{folder / 'spill'}'")
        if kind == "first":
            session.execute("drop schema if exists segments cascade")
            session.execute("drop schema if exists byhand cascade")
            for table in ("features.customer_profile", "scores.propensity", "marts.customer_day"):
                session.set_note(table, None)
        start, cpu = perf_counter(), process_time()
        _work(session, folder, kind, count)
        return {
            "seconds": perf_counter() - start,
            "cpu": process_time() - cpu,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def _work(session: Session, folder: Path, kind: str, count: int) -> None:
    if kind == "hand":
        session.execute(f"create temp table answer as {by_hand(count)}")
    elif kind == "ours":
        session.execute(f"create temp table answer as {ours(rules(count))}")
    elif kind == "behaviour":
        session.execute(f"create temp table answer as {ours(rules(count, 1))}")
    elif kind == "each":
        everything = rules(count)
        for name, rule in everything.items():
            query = evaluation_query({name: rule}, DAY, segments=everything)
            session.execute(f"create or replace temp table answer as {query}")
    elif kind == "handwritten":
        _whole_line_by_hand(session, folder, count)
    else:
        evaluate_segments(session, program(folder, kind == "changed"), DAY, folder / "history")


def ours(chosen: dict[str, Rule]) -> str:
    holding = [name for name, rule in chosen.items() if rule.unknown == "hold"]
    return evaluation_query(chosen, DAY, segments=chosen, decidable=holding)


def _whole_line_by_hand(session: Session, folder: Path, count: int) -> None:
    """The same answer as the day's file of members, the table of members, their history, and sizes; on a first day."""
    profile = """(
        select p.*, s.purchase_score, s.purchase_band
        from features.customer_profile as p left join scores.propensity as s using (as_of, customer_token)
    )"""
    session.execute(f"create temp table answer as {by_hand(count, profile)}")
    members = " union all ".join(
        f"select date '{DAY.key}' as as_of, 's{i}' as segment, customer_token,"
        f" case when s{i} then 'in' else 'held' end as status"
        f" from answer where s{i}{f' or s{i}_held' if unknown(i) == 'hold' else ''}"
        for i in range(count)
    )
    session.execute(f"copy ({members}) to '{folder / 'by-hand.parquet'}' (format parquet, compression zstd)")
    session.execute("create schema if not exists byhand")
    session.execute(f"create or replace table byhand.membership as from '{folder / 'by-hand.parquet'}'")
    session.execute(
        "create or replace table byhand.history as select segment, customer_token, as_of as entered_on,"
        " null::date as exited_on, 'version' as rule_version from byhand.membership where status = 'in'"
    )
    session.execute(
        "create or replace table byhand.summary as select as_of, segment, count(*) filter (status = 'in') as size,"
        " count(*) filter (status = 'held') as held from byhand.membership group by all"
    )


def prepare(folder: Path) -> int:
    """Make the profile, and compare both answers row by row. Returns how many memberships there are."""
    shutil.rmtree(folder / "history", ignore_errors=True)
    with warehouse(folder).connect() as session:
        session.execute(f"set temp_directory = '{folder / 'spill'}'")
        session.execute("drop schema if exists segments cascade")
        write_profile(session, Catalog(), DAY)
        session.execute(f"create temp table hand as {by_hand()}")
        session.execute(f"create temp table ours as {ours(rules())}")
        differing = [f"h.s{i} is distinct from o.s{i}" for i in range(SEGMENTS)]
        differing += [
            f"h.s{i}_held is not distinct from o.s{i}__decidable" for i in range(SEGMENTS) if unknown(i) == "hold"
        ]
        wrong, rows = session.rows(
            f"select count(*) filter ({' or '.join(differing)}), count(*)"
            " from hand as h full join ours as o using (customer_token)"
        )[0]
        if wrong or not rows:
            raise SystemExit(f"the two ways differ for {wrong} of {rows} customers")
        sizes = session.rows(f"select {', '.join(f'count(*) filter (s{i})' for i in range(SEGMENTS))} from ours")[0]
    return sum(sizes)


def program(folder: Path, changed: bool) -> Program:
    """The example program with these segments; or with one of them, to which two others refer, changed."""
    place = folder / "program"
    place.mkdir(exist_ok=True)
    for name in ("program", "sources", "consent"):
        shutil.copy(EXAMPLE / f"{name}.yaml", place)
    segments = {
        name: {"title": name, "rule": rule.text, "unknown": rule.unknown, "min_completeness": 0}
        for name, rule in rules().items()
    }
    if changed:
        segments["s7"]["rule"] = f"({segments['s7']['rule']}) AND orders_84d > 1"
    (place / "segments.yaml").write_text(json.dumps({"segments": segments}), encoding="utf-8")
    return load_program(place)


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1])) if sys.argv[2] == "prepare" else json.dumps(run(Path(sys.argv[1]), sys.argv[2])))
