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
    """`hand`, `ours`, `each` with the number of segments, as in `ours-101`; `stage` is the product's whole stage."""
    kind, _, size = way.partition("-")
    count = int(size or SEGMENTS)
    with warehouse(folder).connect() as session:
        session.execute(f"set temp_directory = '{folder / 'spill'}'")
        start, cpu = perf_counter(), process_time()
        if kind == "hand":
            session.execute(f"create temp table answer as {by_hand(count)}")
        elif kind == "ours":
            session.execute(f"create temp table answer as {ours(rules(count))}")
        elif kind == "behaviour":
            session.execute(f"create temp table answer as {ours(rules(count, 1))}")
        elif kind == "each":  # every tenth of the hundred
            everything = rules()
            for name, rule in list(everything.items())[::10]:
                query = evaluation_query({name: rule}, DAY, segments=everything)
                session.execute(f"create or replace temp table answer as {query}")
        elif kind == "handwritten":
            _whole_line_by_hand(session, folder, count)
        else:
            evaluate_segments(session, program(folder, count), DAY, folder / "history")
        seconds, cpu = perf_counter() - start, process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def ours(chosen: dict[str, Rule]) -> str:
    holding = [name for name, rule in chosen.items() if rule.unknown == "hold"]
    return evaluation_query(chosen, DAY, segments=chosen, decidable=holding)


def _whole_line_by_hand(session: Session, folder: Path, count: int) -> None:
    """The same answer as the day's file of members, without a profile table, summary or history."""
    profile = """(
        select p.*, s.purchase_score, s.purchase_band
        from features.customer_profile as p left join scores.propensity as s using (as_of, customer_token)
    )"""
    session.execute(f"create temp table answer as {by_hand(count, profile)}")
    members = " union all ".join(
        f"select 's{i}' as segment, customer_token, case when s{i} then 'in' else 'held' end as status"
        f" from answer where s{i}{f' or s{i}_held' if unknown(i) == 'hold' else ''}"
        for i in range(count)
    )
    session.execute(f"copy ({members}) to '{folder / 'by-hand.parquet'}' (format parquet)")


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


def program(folder: Path, count: int) -> Program:
    """The example program with these segments."""
    place = folder / f"program-{count}"
    place.mkdir(exist_ok=True)
    for name in ("program", "sources", "consent"):
        shutil.copy(EXAMPLE / f"{name}.yaml", place)
    segments = {
        name: {"title": name, "rule": rule.text, "unknown": rule.unknown, "min_completeness": 0}
        for name, rule in rules(count).items()
    }
    (place / "segments.yaml").write_text(json.dumps({"segments": segments}), encoding="utf-8")
    return load_program(place)


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), sys.argv[2])))
