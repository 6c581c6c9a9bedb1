"""Model files: the same from the same inputs, whole or absent, and never loaded when they are not what was recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personalization.as_of import AsOf
from personalization.errors import DataError
from personalization.runtime import Runtime
from personalization.stages.scoring import artefacts
from personalization.stages.scoring.artefacts import MODEL
from personalization.stages.scoring.candidates import LINEAR
from personalization.stages.scoring.retrain import train_if_due
from personalization.stages.scoring.score import score
from personalization.workspace import Workspace
from tests.scoring.shop import AS_OF, CUTOFFS, PROGRAM, change, copy, tables

DAY = AsOf(AS_OF)


def model_file(runtime: Runtime) -> Path:
    record = runtime.ledger.models.latest(MODEL, DAY)
    assert record is not None
    return runtime.workspace.models / record.path


class TestDeterminism:
    def test_another_process_writes_the_same_bytes_and_scores(self, scored, tmp_path: Path, new_folder: Path):
        other = copy(new_folder, tmp_path / "other")
        program = (
            "import sys; from personalization.runtime import Runtime; from personalization.workspace import Workspace\n"
            "from personalization.stages.scoring.score import score\n"
            f"rt = Runtime(Workspace.at(sys.argv[1])); score(rt, rt.as_of('{AS_OF}'))"
        )
        environment = os.environ | {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", program, str(other.workspace.root)], check=True, env=environment)
        assert model_file(other).read_bytes() == model_file(scored).read_bytes()
        assert tables(other) == tables(scored)

    def test_a_model_with_other_objects_for_the_same_texts_is_the_same(self, scored, tmp_path: Path):
        record = scored.ledger.models.latest(MODEL, DAY)
        assert record is not None
        read_again = artefacts.load(scored.workspace.models, record)
        assert artefacts.save(tmp_path, scored.ledger, read_again, DAY).version == record.version
        assert (tmp_path / record.path).read_bytes() == model_file(scored).read_bytes()

    def test_the_order_of_rows_in_the_tables_does_not_matter(self, scored, tmp_path: Path, new_folder: Path):
        other = copy(new_folder, tmp_path / "other")
        for table in ("customer_features", "customer_labels"):
            change(
                other, f"create or replace table features.{table} as from features.{table} order by md5(customer_token)"
            )
        assert train_if_due(other, DAY).version == train_if_due(scored, DAY).version

    def test_training_again_on_the_same_data_is_the_same_model(self, scored):
        first, second = train_if_due(scored, DAY), train_if_due(scored, DAY, force=True)
        assert (first.trained, second.trained) == (False, True)
        assert first.version == second.version

    def test_the_file_beside_the_model_says_what_it_is(self, scored):
        version = train_if_due(scored, DAY).version
        metadata = json.loads((model_file(scored).parent / "metadata.json").read_text())
        assert metadata["version"] == version
        assert metadata["trained_as_of"] == DAY.key
        assert metadata["cutoffs"] == [cutoff.isoformat() for cutoff in CUTOFFS[:-1]]
        assert metadata["parameters"]["versions"].keys() == {"scikit-learn", "numpy", "joblib"}
        assert {row["model"] for row in metadata["quality"]} >= {LINEAR, "recency", "base_rate"}

    def test_the_model_holds_no_customers(self, scored):
        assert b"t1_k1_" not in model_file(scored).read_bytes()


class TestDamage:
    def test_a_changed_file_is_refused(self, scored):
        path = model_file(scored)
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        with pytest.raises(DataError, match=r"was changed or damaged: its SHA-256 is .*; it was not loaded") as caught:
            score(scored, DAY)
        assert "remove its folder and train again" in str(caught.value)

    def test_nothing_in_a_planted_file_is_run(self, scored, tmp_path: Path):
        import joblib

        witness = tmp_path / "witness"

        class Planted:
            def __reduce__(self):
                return (Path.touch, (witness,))

        joblib.dump(Planted(), model_file(scored))
        with pytest.raises(DataError, match="it was not loaded"):
            train_if_due(scored, DAY)
        assert not witness.exists()

    def test_a_lost_file_is_trained_again(self, scored):
        version = train_if_due(scored, DAY).version
        model_file(scored).unlink()
        again = train_if_due(scored, DAY)
        assert (again.version, again.trained, again.reason) == (version, True, "the model file is gone")
        assert model_file(scored).exists()

    def test_what_a_crash_left_behind_does_not_matter(self, scored, tmp_path: Path, new_folder: Path):
        expected = train_if_due(scored, DAY)
        other = copy(new_folder, tmp_path / "other")
        folder = other.workspace.models / MODEL
        half_written = folder / f".{expected.version}.tmp"
        half_written.mkdir(parents=True)
        (half_written / "model.joblib").write_bytes(b"half")
        not_recorded = folder / str(expected.version)
        not_recorded.mkdir()
        (not_recorded / "model.joblib").write_bytes(b"torn")
        assert train_if_due(other, DAY).version == expected.version
        assert model_file(other).read_bytes() == model_file(scored).read_bytes()
        assert not half_written.exists()

    def test_loading_names_a_file_that_is_gone(self, scored):
        record = scored.ledger.models.latest(MODEL, DAY)
        with pytest.raises(DataError, match=r"model file .*model\.joblib can't be read: No such file"):
            artefacts.load(scored.workspace.root / "elsewhere", record)


class TestWhenDue:
    def test_a_fresh_model_is_used_again(self, scored):
        version = train_if_due(scored, DAY).version
        later = train_if_due(scored, DAY.shift(6))
        assert (later.trained, later.version) == (False, version)
        assert later.reason == f"the model of {DAY.key} is in force"

    def test_an_old_one_is_replaced(self, scored):
        later = train_if_due(scored, DAY.shift(7))
        assert (later.trained, later.reason) == (True, "the model is 7 days old")

    def test_scoring_alone_uses_an_old_model(self, scored):
        version = train_if_due(scored, DAY).version
        change(scored, f"update features.customer_features set as_of = as_of + 30 where as_of = '{AS_OF}'")
        assert score(scored, DAY.shift(30)).version == version

    def test_a_model_of_a_later_day_is_not_used_for_an_earlier_one(self, scored):
        earlier = train_if_due(scored, DAY.shift(-28))
        assert (earlier.trained, earlier.reason) == (True, "there was no model")
        assert earlier.model.cutoffs == CUTOFFS[:-2]
        assert train_if_due(scored, DAY).trained is False

    def test_another_program_needs_another_model(self, scored):
        path = scored.workspace.program / "program.yaml"
        path.write_text(PROGRAM.replace("training_cutoffs: 6", "training_cutoffs: 4"))
        again = train_if_due(Runtime(Workspace.at(scored.workspace.root)), DAY)
        assert again.reason == "the program's settings, the features or the libraries changed"
        assert again.model.cutoffs == CUTOFFS[2:-1]

    def test_an_old_model_stays_when_there_is_not_enough_to_train_a_new_one(self, scored):
        version = train_if_due(scored, DAY).version
        change(scored, f"delete from features.customer_labels where as_of < '{CUTOFFS[-3]}'")
        later = train_if_due(scored, DAY.shift(10))
        assert (later.version, later.trained) == (version, False)
        assert later.reason.startswith("not trained again: 2 past windows of 28 days")

    def test_bands_are_not_part_of_the_model(self, scored):
        version = train_if_due(scored, DAY).version
        path = scored.workspace.program / "program.yaml"
        path.write_text(PROGRAM.replace("high: 0.8", "high: 0.7"))
        assert train_if_due(Runtime(Workspace.at(scored.workspace.root)), DAY).version == version
