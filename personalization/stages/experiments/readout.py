"""From counts per arm to rows that a person can read: effect, interval, test, verdict, and a sentence that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from personalization.stages.experiments.analysis import Arm, ConversionTest, Difference, SampleRatio
from personalization.stages.experiments.power import minimum_detectable_effect

ALPHA = 0.05

Verdict = Literal[
    "difference",
    "no_difference",
    "aa_difference",
    "aa_no_difference",
    "association",
    "no_association",
    "too_small",
    "withheld_srm",
    "waiting",
    "descriptive",
]

Design = Literal["experiment", "aa", "observed"]
"""experiment: randomised and treated. aa: randomised, nobody treated yet. observed: not randomised."""

_VERDICTS: dict[Design, tuple[Verdict, Verdict]] = {
    "experiment": ("difference", "no_difference"),
    "aa": ("aa_difference", "aa_no_difference"),
    "observed": ("association", "no_association"),
}
_CAVEATS: dict[Design, str] = {
    "experiment": "",
    "aa": "A/A check: no acknowledged send is on record, so the arms were treated alike and any difference is chance.",
    "observed": "Customers were not randomised to these groups: a difference is an association, not an effect.",
}


@dataclass(frozen=True)
class ResultRow:
    """One arm of one comparison; the columns of experiments.results but `as_of`.

    Attributes
    ----------
    diff, diff_low, diff_high : float or None
        Difference of rates from the control with its interval; None for the control itself.
    chi2, p_value : float or None
        Of the test over all arms, repeated in each row; None when the table is too small or the read-out withheld.
    srm_p : float or None
        Of the sample-ratio check; None where no shares were declared.
    """

    experiment: str
    comparison: str
    metric: str
    arm: str
    n: int
    conversions: int | None = None
    rate: float | None = None
    diff: float | None = None
    diff_low: float | None = None
    diff_high: float | None = None
    chi2: float | None = None
    p_value: float | None = None
    srm_p: float | None = None
    verdict: Verdict = "waiting"
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """What is compared: arms against a control, under a design, with shares when customers were randomised."""

    experiment: str
    metric: str
    control: str
    design: Design
    shares: Mapping[str, float] | None = None
    label: str = ""

    def waiting(self, sizes: Mapping[str, int], note: str) -> list[ResultRow]:
        """Rows for arms whose outcomes are not known yet: sizes, and whether they are as declared."""
        rows = [self._row(arm, n, verdict="waiting", note=note) for arm, n in sizes.items()]
        return self._withheld(sizes) or [replace(row, srm_p=self._srm(sizes)) for row in rows]

    def read_out(self, arms: Sequence[Arm]) -> list[ResultRow]:
        """One row an arm. A sample-ratio mismatch withholds everything but the sizes."""
        sizes = {arm.name: arm.n for arm in arms}
        withheld = self._withheld(sizes)
        if withheld:
            return withheld
        test = ConversionTest(arms)
        tested = test.big_enough
        verdict = self._verdict(test)
        control = next(arm for arm in arms if arm.name == self.control)
        level = 1 - ALPHA / max(len(arms) - 1, 1)  # Bonferroni: all intervals together cover with 95 %
        rows = []
        for arm in arms:
            row = self._row(
                arm.name,
                arm.n,
                conversions=arm.conversions,
                rate=arm.rate,
                chi2=test.chi2 if tested else None,
                p_value=test.p_value if tested else None,
                srm_p=self._srm(sizes),
                verdict=verdict,
            )
            difference = Difference(control, arm, level)
            if arm is not control and difference.interval is not None:
                interval = difference.interval
                row = replace(row, diff=difference.absolute, diff_low=interval.low, diff_high=interval.high)
            rows.append(replace(row, note=self._note(verdict, difference, several=len(arms) > 2)))
        return rows

    def descriptive(self, arms: Sequence[Arm], note: str) -> list[ResultRow]:
        """Counts and rates without a test."""
        return [
            self._row(arm.name, arm.n, conversions=arm.conversions, rate=arm.rate, verdict="descriptive", note=note)
            for arm in arms
        ]

    def _row(self, arm: str, n: int, **values: object) -> ResultRow:
        label = self.label or f"against {self.control}"
        return ResultRow(self.experiment, label, self.metric, arm, n, **values)  # type: ignore[arg-type]

    def _srm(self, sizes: Mapping[str, int]) -> float | None:
        return None if self.shares is None else SampleRatio(sizes, self.shares).p_value

    def _withheld(self, sizes: Mapping[str, int]) -> list[ResultRow]:
        if self.shares is None or not SampleRatio(sizes, self.shares).mismatch:
            return []
        declared = ", ".join(f"{arm} {share:.0%}" for arm, share in self.shares.items())
        found = ", ".join(f"{arm} {n}" for arm, n in sizes.items())
        note = (
            f"Withheld: the arms hold {found} customers, which does not fit the declared {declared}. "
            "Something removes customers from one arm; find it before reading any outcome."
        )
        srm_p = self._srm(sizes)
        return [self._row(arm, n, srm_p=srm_p, verdict="withheld_srm", note=note) for arm, n in sizes.items()]

    def _verdict(self, test: ConversionTest) -> Verdict:
        if not test.big_enough or test.p_value is None:
            return "too_small"
        found, not_found = _VERDICTS[self.design]
        return found if test.p_value < ALPHA else not_found

    def _note(self, verdict: Verdict, difference: Difference, *, several: bool) -> str:
        sentences = [_CAVEATS[self.design]] if _CAVEATS[self.design] else []
        control, arm = difference.control, difference.treatment
        if verdict == "too_small":
            sentences.append("Too few customers or conversions for a test.")
        interval = difference.interval
        if arm is not control and difference.absolute is not None and interval is not None:
            lift = f"; {difference.lift:+.1%} relative" if difference.lift is not None else ""
            word = "more" if difference.absolute >= 0 else "less"
            sentences.append(
                f"The rate of {arm.name} is {100 * abs(difference.absolute):.1f} points {word} than that of "
                f"{control.name} (95 % interval {_points(interval.low)} to {_points(interval.high)}{lift})."
            )
            if several and interval.low <= 0 <= interval.high and verdict in ("difference", "association"):
                sentences.append("The test finds a difference among all groups; this one alone is not shown to differ.")
            if verdict in ("no_difference", "aa_no_difference") and control.rate is not None:
                effect = minimum_detectable_effect(control.n, arm.n, control.rate)
                sentences.append(f"With these sizes {100 * (effect or 0):.1f} points are found four times in five.")
        if verdict == "aa_difference":
            sentences.append(
                "One A/A check in twenty shows a difference by chance; look at the assignment if it repeats."
            )
        return " ".join(sentences)


def markdown(rows: Sequence[ResultRow]) -> str:
    """The rows as a table."""
    lines = [
        "| experiment | comparison | arm | n | rate | difference | p | verdict |",
        "|---|---|---|---:|---:|---|---:|---|",
    ]
    for row in rows:
        rate = "" if row.rate is None else f"{row.rate:.1%}"
        p_value = "" if row.p_value is None else f"{row.p_value:.3g}"
        effect = ""
        if row.diff is not None and row.diff_low is not None and row.diff_high is not None:
            effect = f"{_points(row.diff)} points ({_points(row.diff_low)} to {_points(row.diff_high)})"
        cells = [row.experiment, row.comparison, row.arm, str(row.n), rate, effect, p_value, row.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
