"""The command as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechssl.cli.app import main
from speechssl.evaluation.benchmark import writing_alone
from speechssl.evaluation.probes.run import _sample
from speechssl.evaluation.probes.settings import EvaluateSettings, ProbeSettings
from speechssl.evaluation.recordings import Recording
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder
from tests.evaluation.conftest import write_corpus

FBANK = ["encoders={}", "baselines=[fbank]"]
FAST = ["probe.min_class_count=3", "probe.iterations=30", "probe.weighted_sum_steps=30", "rank_frames=200"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    for seed in (1, 2):
        torch.manual_seed(10 + seed)
        config = HubertConfig(front_end="fbank", num_layers=2, dim=16, ffn_dim=32, num_heads=2, conv_pos=8)
        save_encoder(folder / f"seed{seed}", HubertEncoder(config))
    return folder


def evaluate(out: Path, corpus: Path, encoders: Path, *settings: str) -> dict:
    two = f"encoders={{hubert: [{encoders}/seed1, {encoders}/seed2]}}"
    status = main(
        ["evaluate", f"data_dir={corpus}", f"out_dir={out}", two, f"phones_dirs=[{corpus}]", *FAST, *settings]
    )
    assert status == 0
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, corpus: Path, encoders: Path) -> dict:
    return evaluate(tmp_path_factory.mktemp("out"), corpus, encoders, "retrieval.within=device")


def test_all_encoders_stand_side_by_side_in_every_task(results: dict) -> None:
    assert list(results["encoders"]) == ["fbank", "hubert", "random"]  # JSON keys are sorted
    assert results["encoders"]["random"]["sources"] == ["random seed 1", "random seed 2"]
    assert set(results["tasks"]) == {"speaker", "language", "phones data", "retrieval", "rankme"}
    for name, seeds in (("fbank", 1), ("random", 2), ("hubert", 2)):
        for task in results["tasks"]:
            scores = results["scores"][name][task]
            assert len(scores) == seeds
            assert all(len(score["layers"]) == (1 if name == "fbank" else 3) for score in scores)
        summary = results["summary"][name]["language"]["best"]
        best = [score["best"] for score in results["scores"][name]["language"]]
        assert summary["mean"] == pytest.approx(sum(best) / seeds) and summary["runs"] == seeds
        assert summary["spread"] == pytest.approx(abs(best[0] - best[-1]) / 2**0.5)


def test_the_probes_hear_what_is_there(results: dict) -> None:
    # Two tones a sentence: anything but silence tells them apart.
    assert results["scores"]["fbank"]["phones data"][0]["best"] > 0.9
    assert results["scores"]["fbank"]["speaker"][0]["best"] > 0.5 > results["tasks"]["speaker"]["chance"]
    assert results["scores"]["fbank"]["retrieval"][0]["best"] > 0.5
    weights = results["scores"]["hubert"]["phones data"][0]["layer_weights"]
    assert len(weights) == 3 and sum(weights) == pytest.approx(1)


def test_what_is_left_out_is_listed_with_the_reason(results: dict) -> None:
    reasons = {item["what"]: item["reason"] for item in results["left_out"]}
    assert reasons["probe of column device"] == "one value only ('one')"
    assert reasons["masked accuracy"] == "no labels_dir"
    assert "probe of column prompt" in reasons


def test_numbers_do_not_depend_on_file_order_or_batch_size(
    tmp_path: Path, corpus: Path, encoders: Path, results: dict
) -> None:
    shuffled = tmp_path / "data"
    shutil.copytree(corpus, shuffled)
    for file in shuffled.glob("*.tsv"):
        header, *lines = file.read_text().splitlines()
        file.write_text("\n".join([header, *reversed(lines)]) + "\n")
    again = evaluate(tmp_path / "out", shuffled, encoders, "retrieval.within=device", "batch_seconds=1")
    for name, tasks in results["summary"].items():
        for task, kinds in tasks.items():
            for kind, summary in kinds.items():
                assert again["summary"][name][task][kind]["mean"] == pytest.approx(summary["mean"], rel=1e-3, abs=0.02)


def test_a_test_folder_is_tested_on_and_the_table_is_printed(
    tmp_path: Path, corpus: Path, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_corpus(tmp_path / "other", ["t0", "t1"], {})
    found = evaluate(tmp_path / "out", corpus, encoders, f"test_dir={other}")
    assert (
        found["tasks"]["language"]["parts"] == "test part, other speakers" and found["tasks"]["language"]["test"] == 12
    )
    assert found["tasks"]["speaker"]["parts"] == "5 folds, same speakers"
    assert found["tasks"]["retrieval"]["groups"] == {"xx": 6, "yy": 6}
    printed = capsys.readouterr().out
    assert "language (balanced accuracy, best layer)" in printed and "±" in printed
    assert printed.strip() in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["encoders={hubert: nowhere}"], "nowhere does not exist"),
        (["encoders=[nowhere]"], "encoders must name its encoders"),
        (["encoders={}"], "name an encoder, e.g. encoders='{hubert: exp/hubert-seed1}', or set baselines=[fbank]: "),
        (["encoders={}", "baselines=[fbnk]"], "no 'fbnk'; did you mean 'fbank'?"),
        (
            ["encoders={}", "baselines=[fbank]", "probe.columns=[langage]"],
            "no column 'langage'; did you mean 'language'?",
        ),
        (["encoders={}", "baselines=[fbank]", "test_dir=gone"], "the data folder gone does not exist"),
        (["encoders={}", "baselines=[fbank]", "rank_frames=0"], "rank_frames=0 must be more than 0"),
        (["encoders={}", "baselines=[fbank]", "batch_seconds=nan"], "batch_seconds=nan must be more than 0"),
        (["encoders={}", "baselines=[fbank]", "max_seconds=inf"], "max_seconds=inf must be 0.1 or more and finite"),
        (["encoders={}", "baselines=[fbank]", "max_seconds=0.01"], "max_seconds=0.01 must be 0.1 or more"),
        ([*FBANK, "labels_dir=gone", "label_rate=nan"], "label_rate=nan must be 0 or more"),
        (
            ["encoders={}", "baselines=[fbank]", "probe.regularisation=[nan]"],
            "probe.regularisation=[nan] must list different numbers, each more than 0",
        ),
        (["encoders={}", "baselines=[fbank]", "labels_dir=gone"], "gone/valid.km does not exist"),
        ([], "missing setting encoders"),
        ([*FBANK, "test_dir=DATA"], "36 recordings of test_dir=DATA are in data_dir, which is learnt from, too"),
        ([*FBANK, "test_dir="], "test_dir is empty: give a value, or leave it out"),
        (
            [*FBANK, "mask=fast"],
            "mask is given, and labels_dir=null does not read it: leave it out, or give labels_dir",
        ),
        ([*FBANK, "mask.length=5"], "mask.length is given, and labels_dir=null does not read it"),
        ([*FBANK, "label_rate=50"], "label_rate is given, and labels_dir=null does not read it"),
        ([*FBANK, "probe.test_frames=5"], "probe.test_frames is of the phone probe: give phones_dirs too"),
        ([*FBANK, "probe.left_out_phones=[]"], "probe.left_out_phones is of the phone probe"),
        (
            [*FBANK, "phones_dirs=[DATA]", "probe.left_out_phones=[sill]"],
            "no phone 'sill'; did you mean 'sil'? (known: aa, iy, sil); mend probe.left_out_phones",
        ),
        ([*FBANK, "probe.speaker_column=speeker"], "column 'speeker'; did you mean 'speaker'?"),
        ([*FBANK, "retrieval.column=prompts"], "no column 'prompts'; did you mean 'prompt'?"),
        ([*FBANK, "retrieval.within=devices"], "no column 'devices'; did you mean 'device'?"),
        ([*FBANK, "probe.columns=[speaker,speaker]"], "probe.columns=['speaker', 'speaker'] names a column twice"),
        (
            [*FBANK, "probe.columns=[speaker]", "probe.quarters=[prompt]"],
            "probe.quarters has prompt, which is not among probe.columns=['speaker']",
        ),
        ([*FBANK, "probe.columns=[]", "probe.folds=3"], "probe.folds=3 is not read: no column is tested in folds"),
    ],
)
def test_mistakes_are_one_clear_line(
    settings: list[str], message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [setting.replace("DATA", str(corpus)) for setting in settings]
    assert main(["evaluate", f"data_dir={corpus}", f"out_dir={tmp_path}", *given]) == 1
    error = capsys.readouterr().err
    assert message.replace("DATA", str(corpus)) in error and error.count("\n") == 1
    assert not (tmp_path / "results.json").exists()


def test_the_phone_probe_needs_phones_and_speakers(
    tmp_path: Path, corpus: Path, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = write_corpus(tmp_path / "two", ["a", "b"], {})
    plain = shutil.copytree(two, tmp_path / "plain")
    (plain / "alignments.tsv").unlink()
    arguments = ["evaluate", f"data_dir={corpus}", f"out_dir={tmp_path}", "encoders={}", "baselines=[fbank]"]
    assert main([*arguments, f"phones_dirs=[{plain}]"]) == 1
    assert "has no phone times" in capsys.readouterr().err
    # A recipe gives every folder that has phone times: the other probes must not be lost for want of speakers.
    assert main([*arguments, f"phones_dirs=[{two}]"]) == 0
    left_out = json.loads((tmp_path / "results.json").read_text())["left_out"]
    assert [item for item in left_out if item["what"] == f"phones of {two}" and "three speakers" in item["reason"]]


def test_the_results_of_a_benchmark_are_not_replaced(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text('{"benchmark": "hear"}')
    arguments = ["evaluate", f"data_dir={corpus}", f"out_dir={tmp_path}", "encoders={}", "baselines=[fbank]"]
    assert main(arguments) == 1
    assert f"out_dir={tmp_path} has a results.json of something else" in capsys.readouterr().err


def test_few_tested_recordings_are_all_used() -> None:
    """They are not drawn together with the many others."""
    data = [Recording(f"{n}.wav", Path("/"), 16000, "test" if n < 5 else "train", {}) for n in range(200)]
    settings = EvaluateSettings(data_dir="d", out_dir="o", probe=ProbeSettings(utterances=20))
    assert Counter(recording.split for recording in _sample(data, settings)) == {"test": 5, "train": 20}
    assert len(_sample(data[5:], settings)) == 20


def test_encoders_of_one_name_have_one_depth(
    tmp_path: Path,
    corpus: Path,
    encoders: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=32, num_heads=2, conv_pos=8)
    save_encoder(tmp_path / "flat", HubertEncoder(config))
    both = f"encoders={{hubert: [{encoders}/seed1, {tmp_path}/flat]}}"
    monkeypatch.setattr("speechssl.evaluation.probes.run.extract", None)
    assert main(["evaluate", f"data_dir={corpus}", f"out_dir={tmp_path}/out", both, "baselines=[]", *FAST]) == 1
    assert "the encoders of hubert have different depths (2 layers, " in capsys.readouterr().err


def test_a_folder_without_labels_still_has_rankme(tmp_path: Path, corpus: Path) -> None:
    plain = tmp_path / "data"
    plain.mkdir()
    shutil.copy(corpus / "train.tsv", plain)
    arguments = [f"data_dir={plain}", f"out_dir={tmp_path}", "encoders={}", "baselines=[fbank]", "rank_frames=300"]
    assert main(["evaluate", *arguments]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["tasks"]) == {"rankme"} and found["scores"]["fbank"]["rankme"][0]["value"] > 1
    assert {item["what"] for item in found["left_out"]} == {
        "probes of metadata columns",
        "retrieval",
        "masked accuracy",
    }


def test_rows_that_go_are_named_and_two_commands_do_not_write_at_once(
    tmp_path: Path, corpus: Path, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "data"
    plain.mkdir()
    shutil.copy(corpus / "train.tsv", plain)
    given = ["evaluate", f"data_dir={plain}", f"out_dir={tmp_path}/out", "rank_frames=300"]
    with writing_alone(tmp_path / "out"):
        assert main([*given, "encoders={}", "baselines=[fbank]"]) == 1
    assert "another command is at work" in capsys.readouterr().err
    assert main([*given, "encoders={}", "baselines=[fbank]"]) == 0
    assert "of an earlier command" not in capsys.readouterr().out
    assert main([*given, f"encoders={{mine: {encoders}/seed1}}", "baselines=[]"]) == 0
    told = f"{tmp_path}/out/results.json has fbank of an earlier command, which will be in it no longer"
    assert told in capsys.readouterr().out


def test_the_same_command_is_left_out_until_a_recording_changes(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("data", "phones", "test"):
        write_corpus(tmp_path / name, ["a", "b", "c"], {}, prompts=2)
    folders = [f"data_dir={tmp_path}/data", f"test_dir={tmp_path}/test", f"phones_dirs=[{tmp_path}/phones]"]
    given = ["evaluate", *folders, f"out_dir={tmp_path}/out", "encoders={}", "baselines=[fbank]", *FAST]
    assert main(given) == 0
    for name in ("data", "phones", "test", ""):
        if name:
            os.utime(tmp_path / name / "audio/a-0.wav", (1, 1))
        capsys.readouterr()
        assert main(given) == 0
        assert ("done before and unchanged" in capsys.readouterr().out) == (name == "")
    (tmp_path / "data/audio.json").write_text("{}")
    assert main(given) == 0
    assert "done before and unchanged" not in capsys.readouterr().out


def test_age_is_probed_in_quarters(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path / "data", [f"s{n}" for n in range(16)], {}, prompts=3)
    header, *rows = (folder / "metadata.tsv").read_text().splitlines()
    aged = [f"{row}\t{20 + int(row.split('-')[0][1:])}" for row in rows]
    (folder / "metadata.tsv").write_text("\n".join([f"{header}\tage", *aged]) + "\n")
    arguments = [f"data_dir={folder}", f"out_dir={tmp_path}", "encoders={}", "baselines=[fbank]", "probe.columns=[age]"]
    assert main(["evaluate", *arguments, *FAST, "probe.folds=2"]) == 0
    task = json.loads((tmp_path / "results.json").read_text())["tasks"]["age"]
    # 16 speakers of 20 to 35 years: four of them in each quarter, whose edges are at 23.75, 27.5 and 31.25.
    assert task["classes"] == 4 and task["note"] == "quarters: up to 23.75, 27.5, 31.25, and above"
    assert task["parts"] == "2 folds, other speakers"


def test_random_encoders_are_the_same_again_and_differ_by_seed() -> None:
    from speechssl.evaluation.encoders.contestants import random_encoder

    config = HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=32, num_heads=2, conv_pos=8)
    trained = HubertEncoder(config)
    before = torch.random.get_rng_state()
    one, again, other = (random_encoder(trained, seed).mask_emb for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_baselines_of_an_encoder_of_clips(tmp_path: Path) -> None:
    """Filterbanks have its frame rate; a random encoder has its normalisation, but weights of its own."""
    from speechssl.evaluation.encoders.contestants import contestants
    from speechssl.models.clip_config import ClipConfig
    from speechssl.models.clip_encoder import ClipEncoder

    trained = ClipEncoder(ClipConfig(audio_ntt_dim=8))
    trained.norm.update(torch.randn(2, 64, 30) - 7)
    save_encoder(tmp_path, trained)
    fbank, random, clip = (rival.build() for rival in contestants({"clip": str(tmp_path)}, ["fbank", "random"]))
    waveform = torch.zeros(1, 16_000)
    assert fbank.frame_rate == clip.frame_rate == 12.5
    assert abs(fbank(waveform).hidden_states[0].shape[1] - clip(waveform).hidden_states[0].shape[1]) <= 1
    assert torch.equal(random.norm.mean, trained.norm.mean) and float(random.norm.mean) < -6
    weights = [encoder.backbone.state_dict()["features.0.weight"] for encoder in (random, clip, trained)]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])


def test_another_device_gives_the_same_scores(
    tmp_path: Path, corpus: Path, encoders: Path, results: dict, other_device: Callable
) -> None:
    # Probes learn too little to be compared: every operation takes long there.
    few = ["probe.iterations=2", "probe.weighted_sum_steps=2", "baselines=[]"]
    with other_device():
        there = evaluate(tmp_path, corpus, encoders, "retrieval.within=device", *few)
    assert set(there["tasks"]) == set(results["tasks"])
    for task in ("retrieval", "rankme"):
        for ours, theirs in zip(results["scores"]["hubert"][task], there["scores"]["hubert"][task], strict=True):
            assert theirs["layers"] == pytest.approx(ours["layers"], rel=0.01)
