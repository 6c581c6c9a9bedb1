"""Every code that another stage writes has words here."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from personalization.as_of import AsOf
from personalization.ledger.frequency import QUIET
from personalization.program import load_program
from personalization.stages.decisions.gates import GOVERNED, SEND, gates
from personalization.stages.experiments.readout import Verdict
from personalization.stages.monitoring.metrics import BASELINES
from personalization.stages.monitoring.report.values import cell, count, gain, p_value, points, share
from personalization.stages.monitoring.words import REASONS, VERDICTS, counted, listing, reason_in_words
from personalization.stages.scoring import candidates


def test_every_gate_has_words() -> None:
    program = load_program(Path(__file__).parents[2] / "program")
    day = AsOf(program.settings.start)
    assert {SEND, GOVERNED, QUIET, *(gate.code for gate in gates(program, day))} == set(REASONS)


def test_every_verdict_has_words() -> None:
    assert set(get_args(Verdict)) == set(VERDICTS)


def test_the_baselines_are_those_of_the_scoring_stage() -> None:
    assert set(BASELINES) == set(candidates.BASELINES)


def test_a_lost_arbitration_names_the_winner_by_its_title() -> None:
    assert reason_in_words("lost_to:comeback", {"comeback": "Come back"}) == "gets “Come back” instead"
    assert reason_in_words("lost_to:gone") == "gets “gone” instead"


def test_an_unknown_code_is_shown_as_it_is() -> None:
    assert reason_in_words("new_gate") == "new gate"


@pytest.mark.parametrize(
    ("parts", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c"), ([], "")]
)
def test_listing(parts: list[str], text: str) -> None:
    assert listing(parts) == text


def test_counted() -> None:
    assert (counted(1, "check"), counted(2000, "check")) == ("1 check", "2,000 checks")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(1234567), "1,234,567"),
        (share(0.1234), "12.3\u00a0%"),
        (share(0.00001), "< 0.1\u00a0%"),
        (share(0.99999), "> 99.9\u00a0%"),
        (share(0), "0.0\u00a0%"),
        (share(1), "100.0\u00a0%"),
        (points(-0.065), "−6.5"),
        (points(0.065), "+6.5"),
        (p_value(0.0001), "< 0.001"),
        (p_value(0.0456), "0.046"),
        (gain((0.043, 0.026, 0.06)), "+0.043 (+0.026 to +0.060)"),
        (gain((None, None, None)), "–"),
        (cell(None, "count"), "–"),
    ],
)
def test_numbers_are_never_rounded_to_what_they_are_not(written: str, expected: str) -> None:
    assert written == expected
