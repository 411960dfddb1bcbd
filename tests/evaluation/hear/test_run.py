"""The command as a user meets it, on tasks of each kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.benchmark import take_away, writing_alone
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.hear.data import read_metadata, read_task
from speechssl.evaluation.hear.features import Encoding, Reader, require_frames
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.vectors import VectorFile
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder
from tests.evaluation.hear.conftest import FOLDS

FAST = ["hidden_dim=32", "epochs=60", "check_every=5", "hidden_layers=[0,1]", "lr=[3e-2]", "batch_size=64", "workers=1"]
TONES, CHORDS, BEEPS = "tones-v1-full", "chords-v1-full", "beeps-v1-full"


def hear(root: Path, out: Path, encoder: Path, task: str, *settings: str) -> dict:
    given = ["benchmark=hear", f"task={task}", f"corpus_dir={root}", f"out_dir={out}", f"encoders={{tiny: {encoder}}}"]
    assert main(["evaluate", *given, *FAST, *settings]) == 0
    return json.loads((out / task / "results.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def tones(out: Path, tasks: Path, encoder_dir: Path) -> dict:
    return hear(tasks, out, encoder_dir, TONES, "seeds=[1,2]")


@pytest.fixture(scope="module")
def beeps(out: Path, tasks: Path, encoder_dir: Path) -> dict:
    return hear(tasks, out, encoder_dir, BEEPS, "seeds=[1]", "baselines=[fbank]")


def test_encoders_stand_side_by_side_for_every_seed_and_fold(tones: dict) -> None:
    assert [row["name"] for row in tones["encoders"]] == ["fbank", "random", "tiny"]
    assert tones["encoders"][0]["dim"] == 80
    for name in ("fbank", "random", "tiny"):
        scores = tones["scores"][name]
        assert [score["seed"] for score in scores] == [1, 2]
        for score in scores:
            assert [part["name"] for part in score["parts"]] == list(FOLDS)
            assert score["top1_acc"] == pytest.approx(np.mean([part["top1_acc"] for part in score["parts"]]))
        accuracies = [score["top1_acc"] for score in scores]
        assert tones["summary"][name]["top1_acc"] == {
            "mean": pytest.approx(np.mean(accuracies)),
            "spread": pytest.approx(np.std(accuracies, ddof=1)),
            "runs": 2,
        }


def test_tones_are_told_apart_from_filterbanks(tones: dict) -> None:
    assert tones["summary"]["fbank"]["top1_acc"]["mean"] > 0.9 and tones["summary"]["fbank"]["mAP"]["mean"] > 0.9
    assert tones["task"]["kind"] == "scene" and tones["task"]["recordings"] == 36
    assert tones["task"]["divisions"][0] == {
        "name": "fold00",
        "train": 12,
        "valid": 12,
        "test": 12,
        "absent_classes": 0,
    }


def test_a_killed_command_encodes_what_is_left_and_gives_the_same(
    tmp_path: Path, tasks: Path, encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["baselines=[]", "seeds=[1]", "epochs=6", "batch_seconds=3"]
    encode = HubertEncoder.forward
    batches: list[int] = []

    def killed_at(self: HubertEncoder, waveforms: Tensor, *more: object) -> object:
        if len(batches) == last:
            raise KeyboardInterrupt
        batches.append(len(waveforms))
        return encode(self, waveforms, *more)

    monkeypatch.setattr(HubertEncoder, "forward", killed_at)
    last = -1
    whole = hear(tasks, tmp_path / "whole", encoder_dir, TONES, *given)
    all_batches = batches.copy()
    last = len(batches) + 2
    with pytest.raises(AssertionError):
        hear(tasks, tmp_path / "killed", encoder_dir, TONES, *given)
    (kept,) = (tmp_path / "killed" / TONES / "vectors").iterdir()
    last = -1
    again = hear(tasks, tmp_path / "killed", encoder_dir, TONES, *given)
    assert len(all_batches) > 2 and batches == 2 * all_batches
    assert again["scores"] == whole["scores"]
    assert not kept.parent.exists()


@pytest.mark.parametrize(("task", "vectors"), [(TONES, Encoding.scene_vectors), (BEEPS, Encoding.frame_states)])
@pytest.mark.parametrize("left", [0, 1, 1000, -3, -300])
def test_vectors_are_gone_on_with_after_the_last_whole_batch(
    tmp_path: Path,
    tasks: Path,
    encoder_dir: Path,
    task: str,
    vectors: Callable[[Encoding], Sequence[Tensor]],
    left: int,
) -> None:
    encoder, recordings = load_encoder(encoder_dir), read_task(read_metadata(tasks / task), 1).recordings
    reader, kept = Reader(recordings, batch_seconds=3), VectorFile(tmp_path / "kept", encoder.dim)
    encoding = Encoding(encoder, recordings, reader, torch.device("cpu"), "tiny", kept)
    whole = vectors(encoding)
    stored = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(stored[:left])
    assert all(map(torch.equal, vectors(encoding), whole)) and (tmp_path / "kept").read_bytes() == stored


def test_a_recording_without_a_frame_of_any_encoder_is_told_before_the_first_one_encodes(tmp_path: Path) -> None:
    slow, fast = (Contestant("fbank", "fbank", frame_rate=rate) for rate in (10.0, 100.0))
    recordings = [Recording(f"{samples}.wav", tmp_path, samples, "", {}) for samples in (16000, 1920)]
    require_frames([fast, slow], recordings, events=False)
    with pytest.raises(UserError, match=r"fbank: 1 recordings are too short for 2 frames of it, the first is .*1920"):
        require_frames([fast, slow], recordings, events=True)


def test_notes_of_a_chord_are_found(tmp_path: Path, tasks: Path, encoder_dir: Path) -> None:
    results = hear(tasks, tmp_path, encoder_dir, CHORDS, "seeds=[1]", "baselines=[fbank]")
    assert results["task"]["prediction"] == "multilabel"
    assert results["summary"]["fbank"]["mAP"]["mean"] > 0.9
    assert [part["name"] for part in results["scores"]["fbank"][0]["parts"]] == ["test"]


def test_beeps_are_found_in_time(beeps: dict) -> None:
    scores = beeps["summary"]["fbank"]
    assert beeps["task"]["kind"] == "event"
    assert scores["event_onset_200ms_fms"]["mean"] > 0.8
    assert scores["event_onset_200ms_fms_precision"]["mean"] > 0.8 > 0.3 > scores["segment_1s_er"]["mean"]
    (part,) = beeps["scores"]["fbank"][0]["parts"]
    assert part["chosen"]["median_filter_ms"] == 250 and part["chosen"]["min_duration"] in (125, 250)
    # Frames of the encoder that it stands beside: two windows of 10 ms each.
    assert beeps["encoders"][0]["dim"] == 160 and beeps["encoders"][0]["frame_rate"] == 50


def spoil(task: Path, file: str) -> None:
    """Give every recording of a part the labels of another one."""
    entries = json.loads((task / file).read_text())
    values, half = list(entries.values()), len(entries) // 2
    (task / file).write_text(json.dumps(dict(zip(entries, values[half:] + values[:half], strict=True))))


@pytest.mark.parametrize("task", [CHORDS, BEEPS])
def test_nothing_is_chosen_by_the_labels_of_the_test_part(
    tmp_path: Path, tasks: Path, encoder_dir: Path, task: str
) -> None:
    """With other labels on the test part, only its scores are others."""
    given = ("seeds=[1]", "baselines=[fbank]")
    before = hear(tasks, tmp_path / "before", encoder_dir, task, *given)
    root = Path(shutil.copytree(tasks, tmp_path / "spoiled"))
    spoil(root / task, "test.json")
    after = hear(root, tmp_path / "after", encoder_dir, task, *given)
    for name in ("fbank", "tiny"):
        old, new = (results["scores"][name][0]["parts"][0] for results in (before, after))
        assert old["chosen"] == new["chosen"]
    first = before["task"]["scores"][0]
    assert after["summary"]["fbank"][first]["mean"] < before["summary"]["fbank"][first]["mean"] - 0.2


def test_a_fold_is_not_looked_at_before_it_is_tested(
    tmp_path: Path, tasks: Path, encoder_dir: Path, tones: dict
) -> None:
    root = Path(shutil.copytree(tasks, tmp_path / "spoiled"))
    spoil(root / TONES, "fold00.json")
    spoiled = hear(root, tmp_path / "out", encoder_dir, TONES, "seeds=[1]", "baselines=[fbank]")
    for name in ("fbank", "tiny"):
        old, new = (results["scores"][name][0]["parts"] for results in (tones, spoiled))
        assert old[0]["chosen"] == new[0]["chosen"]
    assert spoiled["scores"]["fbank"][0]["parts"][0]["top1_acc"] < 0.7


def test_numbers_depend_neither_on_batches_and_threads_nor_on_file_order(
    tmp_path: Path, tasks: Path, encoder_dir: Path, tones: dict
) -> None:
    root = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    for fold in FOLDS:
        entries = json.loads((root / TONES / f"{fold}.json").read_text())
        (root / TONES / f"{fold}.json").write_text(json.dumps(dict(reversed(entries.items()))))
    again = hear(root, tmp_path / "out", encoder_dir, TONES, "seeds=[2]", "batch_seconds=0.7", "workers=3")
    for name in ("fbank", "tiny"):
        (old,), (new,) = ([s for s in results["scores"][name] if s["seed"] == 2] for results in (tones, again))
        assert new["top1_acc"] == old["top1_acc"] and new["mAP"] == pytest.approx(old["mAP"], abs=1e-3)


def test_all_tasks_are_in_one_table(out: Path, tones: dict, beeps: dict, capsys: pytest.CaptureFixture[str]) -> None:
    page, latex = (out / "results.md").read_text(), (out / "results.tex").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| encoder"))
    assert f"{BEEPS} (event_onset_200ms_fms)" in header and f"{TONES} (top1_acc)" in header
    assert "chosen on the validation part of each division" in page and r"event\_onset\_200ms\_fms" in latex
    assert "fold01: 12 recordings to learn from, 12 to choose on, 12 tested" in page
    found = json.loads((out / "results.json").read_text())
    assert found["benchmark"] == "hear" and set(found["tasks"]) == {TONES, BEEPS}
    assert found["tasks"][TONES]["summary"] == tones["summary"]


def test_the_same_command_is_left_out_until_labels_or_audio_change(
    tmp_path: Path, tasks: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    given = ("seeds=[1]", "baselines=[fbank]", "epochs=5")
    once = hear(root, tmp_path / "out", encoder_dir, CHORDS, *given)
    assert "| fbank " in capsys.readouterr().out
    assert hear(root, tmp_path / "out", encoder_dir, CHORDS, *given) == once
    assert "evaluate: done before and unchanged" in capsys.readouterr().out
    spoil(root / CHORDS, "train.json")
    assert hear(root, tmp_path / "out", encoder_dir, CHORDS, *given) != once
    for name, expected in (("0.wav", 0), ("no such recording.wav", 1)):
        capsys.readouterr()
        (root / CHORDS / "16000" / "train" / name).touch()
        hear(root, tmp_path / "out", encoder_dir, CHORDS, *given)
        assert capsys.readouterr().out.count("evaluate: done before and unchanged") == expected


def test_results_of_another_benchmark_or_command_are_not_replaced(
    tmp_path: Path, tasks: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text('{"benchmark": "lape"}')
    given = ["benchmark=hear", f"task={TONES}", f"corpus_dir={tasks}", f"encoders={{tiny: {encoder_dir}}}"]
    assert main(["evaluate", *given, f"out_dir={tmp_path}"]) == 1
    assert f"out_dir={tmp_path} has a results.json of something else" in capsys.readouterr().err
    (tmp_path / "results.json").unlink()
    with writing_alone(tmp_path / TONES):
        assert main(["evaluate", *given, f"out_dir={tmp_path}"]) == 1
    assert "another command is at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task=esc50", "encoders={}"], "task=esc50 is not in corpus_dir="),
        (["task=esc5", "encoders={}"], "did you mean 'esc50'? (known: beijing_opera, "),
        (["encoders={}"], "missing setting task: give it as task=VALUE"),
        (["task=esc50", "epoch=3"], "unknown setting 'epoch' of `speechssl evaluate`; did you mean 'epochs'?"),
        (["task=tones-v1-full", "encoders={tiny: gone}"], "gone does not exist"),
        (
            ["task=esc50", "encoders={}", "hidden_layers=[0]", "dropout=0.2"],
            "dropout is of a hidden layer, and hidden_layers=[0]",
        ),
    ],
)
def test_a_mistake_is_one_line(
    tasks: Path, tmp_path: Path, settings: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["benchmark=hear", f"corpus_dir={tasks}", f"out_dir={tmp_path / 'out'}"]
    assert main(["evaluate", *given, *settings]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_help_has_the_settings_of_hear_and_no_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "benchmark=hear", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "  task=(required)" in shown and "  patience=20" in shown and "groups:" not in shown


def test_encoders_of_two_commands_stand_in_one_table(
    tmp_path: Path, tasks: Path, encoder_dir: Path, tones: dict
) -> None:
    hear(tasks, tmp_path, encoder_dir, TONES, "seeds=[1,2]", "encoders={}", "baselines=[fbank]")
    apart = hear(tasks, tmp_path, encoder_dir, TONES, "seeds=[1,2]", "baselines=[random]")
    assert apart["scores"] == tones["scores"] and apart["encoders"] == tones["encoders"]


def test_a_command_whose_rows_another_one_kept_is_done_until_its_weights_change(
    tmp_path: Path, tasks: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(encoder_dir, tmp_path / "own"))
    given = (TONES, "seeds=[1]", "epochs=2", "baselines=[fbank]")
    other = [
        "benchmark=hear",
        f"task={TONES}",
        f"corpus_dir={tasks}",
        f"out_dir={tmp_path / 'out'}",
        *FAST,
        *given[1:3],
    ]
    other.append("baselines=[]")
    hear(tasks, tmp_path / "out", own, *given)
    assert main(["evaluate", *other, f"encoders={{other: {encoder_dir}}}"]) == 0
    capsys.readouterr()
    hear(tasks, tmp_path / "out", own, *given, "batch_seconds=30", "device=cpu")
    assert "done before and unchanged" in capsys.readouterr().out
    (tmp_path / "out/results.md").unlink()
    hear(tasks, tmp_path / "out", own, *given)
    assert "done before and unchanged" in capsys.readouterr().out and (tmp_path / "out/results.md").is_file()

    torch.manual_seed(7)
    save_encoder(own, HubertEncoder(load_encoder(own).config))
    assert main(["evaluate", *other, f"encoders={{third: {encoder_dir}}}"]) == 1
    assert f"has fbank, tiny, other of an earlier command, and {own} has other weights now" in capsys.readouterr().err
    # As results of earlier versions were.
    file = tmp_path / "out" / TONES / "results.json"
    results = json.loads(file.read_text())
    for row in results["encoders"]:
        del row["identities"]
    file.write_text(json.dumps(results))
    assert main(["evaluate", *other, f"encoders={{third: {encoder_dir}}}"]) == 0


def test_what_another_command_has_kept_stays(tmp_path: Path, tasks: Path, encoder_dir: Path) -> None:
    kept = tmp_path / "out" / TONES / "vectors" / "of another.f32"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"1234")
    hear(tasks, tmp_path / "out", encoder_dir, TONES, "seeds=[1]", "epochs=2", "baselines=[]")
    assert list(kept.parent.iterdir()) == [kept]
    with writing_alone(kept.parents[1]):
        take_away(kept.parents[1], [kept])
    assert kept.exists()
    take_away(kept.parents[1], [kept])
    assert not kept.parent.exists() and kept.parents[1].exists()


def test_encoders_that_were_trained_in_another_way_do_not(
    tmp_path: Path, tasks: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task says in its own file for how long networks are trained."""

    def epochs(most: int) -> dict:
        return {"task_specific_param_grid": {"max_epochs": [most]}}

    root = Path(shutil.copytree(tasks, tmp_path / "tasks"))
    given = ("seeds=[1]", "epochs=null", "check_every=null")
    file = root / TONES / "task_metadata.json"
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps(metadata | {"evaluation_params": epochs(2)}))
    hear(root, tmp_path / "out", encoder_dir, TONES, *given, "baselines=[]")
    file.write_text(json.dumps(metadata | {"evaluation_params": epochs(3)}))
    more = ["benchmark=hear", f"task={TONES}", f"corpus_dir={root}", f"out_dir={tmp_path / 'out'}"]
    assert main(["evaluate", *more, *FAST, *given, f"encoders={{other: {encoder_dir}}}", "baselines=[]"]) == 1
    assert "cannot stand in one table with this one's, since the data changed" in capsys.readouterr().err


@pytest.mark.parametrize("task", [TONES, BEEPS])
def test_another_device_gives_scores_too(
    tmp_path: Path, tasks: Path, encoder_dir: Path, other_device: Callable, task: str
) -> None:
    with other_device():
        results = hear(tasks, tmp_path, encoder_dir, task, "seeds=[1]", "epochs=10")
    assert set(results["summary"]) == {"fbank", "random", "tiny"}
