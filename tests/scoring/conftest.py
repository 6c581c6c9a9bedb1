"""Shops to test on. Each test gets a copy of its own; only what it changes is computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from personalization.as_of import AsOf
from personalization.runtime import Runtime
from personalization.stages.scoring.judge import judge
from personalization.stages.scoring.score import score
from tests.scoring.shop import AS_OF, CUTOFFS, copy, make_rows, make_shop


@pytest.fixture(scope="session")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of 200 customers with features and labels, and an empty ledger."""
    runtime = make_shop(tmp_path_factory.mktemp("new") / "shop", make_rows(size=200, cutoffs=CUTOFFS))
    runtime.ledger.close()
    return runtime.workspace.root


@pytest.fixture(scope="session")
def scored_folder(new_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shop with a model, scores and judgement of its day."""
    runtime = copy(new_folder, tmp_path_factory.mktemp("scored") / "shop")
    score(runtime, AsOf(AS_OF))
    judge(runtime, AsOf(AS_OF))
    runtime.ledger.close()
    return runtime.workspace.root


@pytest.fixture
def shop(new_folder: Path, tmp_path: Path) -> Runtime:
    return copy(new_folder, tmp_path / "shop")


@pytest.fixture
def scored(scored_folder: Path, tmp_path: Path) -> Runtime:
    return copy(scored_folder, tmp_path / "scored")
