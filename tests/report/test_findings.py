import json

import pytest

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.report.findings import input_files, read_findings, read_json_lines
from speechssl.report.folders import run_folders


def test_lines_of_a_resumed_run_count_once(tmp_path):
    file = tmp_path / "train.jsonl"
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}, {"step": 2, "loss": 2.5}, {"step": 3, "loss": 1.0}]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert read_json_lines(file) == [{"step": 1, "loss": 3}, {"step": 2, "loss": 2.5}, {"step": 3, "loss": 1}]


@pytest.mark.parametrize("line", ['{"step": 3, "loss', "[1, 2]", '{"loss": 1.0}', '{"step": true}'])
def test_broken_line_is_named(tmp_path, line):
    file = tmp_path / "train.jsonl"
    file.write_text('{"step": 1, "loss": 3.0}\n\n' + line + "\n")
    with pytest.raises(UserError, match=r"train\.jsonl, line 3 ") as caught:
        read_json_lines(file)
    assert "\n" not in str(caught.value)


def test_broken_json_is_named_with_its_line(exp):
    (exp / "units/quality.json").write_text('{\n"train": {"pnmi": }\n}')
    with pytest.raises(UserError, match=r"units/quality\.json .*line 2"):
        read_findings(exp)


def test_json_of_another_shape_is_named(exp):
    (exp / "topics/quality.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"topics/quality\.json is not a JSON object"):
        read_findings(exp)


def test_runs_come_by_method_and_seed(exp):
    (exp / "hubert-seed3").rename(exp / "hubert-seed12")
    (exp / "hubert-seedless").mkdir()
    labels = [run.label for run in read_findings(exp).runs]
    assert labels[:3] == ["hubert seed 1", "hubert seed 2", "hubert seed 12"]
    assert len(labels) == 6


def test_runs_and_clusters_are_found_further_down(exp, clip_exp):
    sounds = exp / "sounds"
    sounds.mkdir()
    (clip_exp / "pretrained-seed1").rename(sounds / "simclr")
    (sounds / "simclr/config.yaml").write_text("seed: 7\nout: x\n")
    (clip_exp / "clusters-seed1").rename(sounds / "clusters")
    # Those of a run's own steps and of an evaluation's fine-tuning are no runs of the experiment.
    for inner in ("sounds/simclr/classifier", "lape/birds/finetune/run", "own/birds/finetune/run"):
        (exp / inner / "metrics").mkdir(parents=True)
    (exp / "own/birds/results.json").write_text("{}")
    found = read_findings(exp)
    assert [run.label for run in found.runs][6:] == ["sounds/simclr seed 7"]
    assert list(found.clusters) == ["sounds/clusters"]
    assert exp / "sounds/clusters/quality.json" in input_files(exp)
    assert not any("clusters" in line for line in found.missing)


def test_missing_metrics_are_listed(exp):
    (exp / "hubert-seed2/metrics/valid.jsonl").unlink()
    assert any("hubert-seed2/metrics/valid.jsonl" in line for line in read_findings(exp).missing)


def test_folder_of_the_call_is_left_out_of_the_command(exp):
    assert read_findings(exp).command == "bash recipes/mini/hubertopic/run.sh --method both --seeds 3"


def test_inputs_are_the_files_that_are_there(exp):
    files = input_files(exp)
    assert all(file.is_file() for file in files)
    assert exp / "evaluate/results.json" in files
    assert exp / "hubertopic-seed3/metrics/train.jsonl" in files


def test_what_a_killed_process_had_begun_to_write_is_no_result(exp):
    before = read_findings(exp)
    for name in ("topics/.topics.png.x1.png", "export/.check.json.x1.json", "export/s3prl/.model.pt.x1.pt"):
        (exp / name).parent.mkdir(parents=True, exist_ok=True)
        (exp / name).write_text("half")
    after = read_findings(exp)
    assert (after.pictures, after.exports, after.export_checks) == (
        before.pictures,
        before.exports,
        before.export_checks,
    )


def test_what_another_kind_of_recipe_makes_is_not_missing(exp, clip_exp):
    assert read_findings(exp).missing == []
    (exp / "units/kmeans.json").unlink()
    assert read_findings(exp).missing == ["k-means (units/kmeans.json)"]
    assert read_findings(clip_exp).missing == []
    (clip_exp / "lape/languages/finetune/results.json").unlink()
    assert read_findings(clip_exp).missing == ["LAPE, fine-tuned (lape/*/finetune/results.json)"]


def test_files_of_clusters_and_lape_are_inputs(clip_exp):
    files = {file.relative_to(clip_exp).as_posix() for file in input_files(clip_exp)}
    assert files >= {
        "clusters-seed2/quality.json",
        "lape/birds/results.json",
        "lape/results.json",
        "lape/languages/confusion.json",
        "lape/languages/confusion.png",
        "lape/languages/finetune/results.json",
        "pretrained-seed1/metrics/valid.jsonl",
    }


def test_no_such_folder(tmp_path, capsys):
    with pytest.raises(UserError, match="does not exist"):
        read_findings(tmp_path / "nothing")
    assert main(["report", f"exp={tmp_path}/nothing"]) == 1
    assert "the experiment folder" in capsys.readouterr().err


def test_the_first_steps_of_a_run_with_pseudo_labels_are_no_runs_of_their_own(tmp_path):
    for name in ("birds/classifier", "birds/pretraining", "other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").write_text("{}")
    assert run_folders(tmp_path) == ["other"]
    (tmp_path / "birds/run.json").write_text("{}")
    assert run_folders(tmp_path) == ["birds", "other"]
