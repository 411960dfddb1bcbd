"""Enhancement and separation against s3prl's own functions, their scores by hand, and the command."""

from __future__ import annotations

import csv
import os
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance, read_task
from speechssl.evaluation.superb.packed_lstm import PackedLstm
from speechssl.evaluation.superb.problems import quality, separation
from speechssl.evaluation.superb.problems.mixtures import Mixture
from speechssl.evaluation.superb.problems.separation import SourceSeparation, SpeechEnhancement
from speechssl.evaluation.superb.problems.spectra import matched, signals, spectrum, without_click
from speechssl.evaluation.superb.reading import recordings
from speechssl.evaluation.superb.run import superb_inputs
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv
from tests.evaluation.superb.fake_corpora import write_voicebank
from tests.evaluation.superb.test_run import superb

DIM = 6
SIZES = {"train": 6, "valid": 2, "test": 2}
COLUMNS = {"se": ("clean",), "ss": ("source1", "source2")}
MAKE = {"se": SpeechEnhancement, "ss": SourceSeparation}
WIDTH = 8
"""Of heads here; the published ones have 45 million weights."""


def voice(pitch: float, seconds: float, seed: int) -> np.ndarray:
    """Harmonics that come and go four times a second."""
    time = np.arange(round(16000 * seconds)) / 16000
    tone = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 9))
    syllables = 0.5 - 0.5 * np.cos(2 * np.pi * 4 * time + seed)
    return 0.1 * tone * syllables + 1e-4 * np.random.default_rng(seed).standard_normal(len(time))


def write_mixtures(folder: Path, task: str) -> Path:
    """A voice in noise, or two voices."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows = []
        for number in range(size):
            seconds = 1.0 + 0.1 * number
            noise = 0.05 * np.random.default_rng([number, size]).standard_normal(round(16000 * seconds))
            other = noise if task == "se" else voice(330.0, seconds, number + 5)
            heard = {"path": voice(120.0, seconds, number), "second": other}
            sources = dict(zip(COLUMNS[task], heard.values(), strict=False))
            row = {"id": f"{part}{number}"}
            for name, wave in {"path": sum(heard.values()), **sources}.items():
                row[name] = f"{part}-{number}-{name}.wav"
                soundfile.write(folder / row[name], wave, 16000)
            rows.append(row)
        write_csv(folder / f"{part}.csv", rows, ("id", "path", *COLUMNS[task]))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {task: write_mixtures(tmp_path_factory.mktemp(task) / "task", task) for task in COLUMNS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_mixtures(tmp_path, "se")


@pytest.fixture(scope="module")
def theirs() -> Iterator[types.SimpleNamespace]:
    """s3prl's modules of separation. What they import of asteroid is not installed, and not used here."""
    with pytest.MonkeyPatch.context() as patch, guarded_s3prl():
        lost = {
            "h5py": (),
            "asteroid": (),
            "asteroid.losses": ("PITLossWrapper",),
            "asteroid.metrics": ("get_metrics",),
        }
        for name, members in lost.items():
            module = types.ModuleType(name)
            for member in members:
                setattr(module, member, None)
            patch.setitem(sys.modules, name, module)
        from s3prl.downstream.separation_stft import expert, loss

        yield types.SimpleNamespace(expert=expert, loss=loss)


def read(folder: Path, task: str) -> TaskData:
    return read_task(folder, COLUMNS[task])


def librosa_spectrum(wave: np.ndarray, hop: int) -> np.ndarray:
    """What s3prl's data set computes; librosa padded by reflection until version 0.9."""
    return librosa.stft(wave, n_fft=512, hop_length=hop, win_length=512, window="hann", pad_mode="reflect").T


@pytest.mark.parametrize("hop", [160, 320])
@pytest.mark.parametrize("samples", [16000, 16000 + 300, 16000 + 319])
def test_spectra_and_back_are_librosa_s(hop: int, samples: int, theirs):
    wave = np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
    found = spectrum(torch.from_numpy(wave), hop)
    expected = librosa_spectrum(wave, hop)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    masks = np.random.default_rng(1).uniform(0, 1, (2, *expected.shape)).astype(np.float32)
    ours = signals(torch.from_numpy(masks) * found, hop, samples)
    for one, mask in zip(ours, masks, strict=True):
        back = librosa.istft((mask * expected).T, hop_length=hop, win_length=512, window="hann", length=samples)
        np.testing.assert_allclose(one.numpy(), theirs.expert.postprocess(back), atol=1e-4)


def test_a_click_at_the_end_is_taken_out_as_in_s3prl(theirs):
    random = np.random.default_rng(0)
    for samples, click, zeros in (
        (4000, 3800, 0),
        (4000, 3990, 100),
        (4000, 3600, 0),
        (8000, 4900, 3000),
        (500, 400, 0),
    ):
        wave = random.uniform(-1, 1, samples)
        wave[click] = 9.0
        wave[samples - zeros :] = 0
        np.testing.assert_array_equal(without_click(torch.from_numpy(wave)), theirs.expert.postprocess(wave))
    assert not without_click(torch.zeros(4000)).any()


def test_features_match_the_spectra_as_in_s3prl(theirs):
    features = [torch.randn(frames, DIM) for frames in (9, 12, 7)]
    expected = theirs.expert.match_length(features, [11, 11, 11])
    padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    torch.testing.assert_close(matched(padded, 11, 1), torch.stack(expected))
    torch.testing.assert_close(matched(padded[:1, :2], 5, 2)[0, :4], features[0][[0, 0, 1, 1]])


def test_hops_are_those_of_the_encoder_and_never_leave_gaps():
    mixture = Mixture("x", Path("x"), 1, {})
    hops = {rate: (one.hop, one.repeats) for rate in (100.0, 50.0, 25.0, 62.5) for one in [mixture.at_rate(rate, 320)]}
    assert hops == {100.0: (160, 1), 50.0: (320, 1), 25.0: (320, 2), 62.5: (256, 1)}


@pytest.mark.parametrize("task", ["se", "ss"])
def test_the_loss_is_s3prl_s(folders: dict[str, Path], task: str, theirs):
    problem = MAKE[task](read(folders[task], task), COLUMNS[task], WIDTH)
    mixtures = problem.pieces("train", read(folders[task], task).parts["train"][:4], 50.0)
    head = problem.head(DIM).eval()
    lengths = torch.tensor([mixture.samples // 320 - 1 for mixture in mixtures])
    frames = torch.nn.utils.rnn.pad_sequence([torch.randn(length, DIM) for length in lengths], batch_first=True)

    spectra = [[librosa_spectrum(wave.numpy(), 320) for wave in (m.read(), *m.references())] for m in mixtures]
    attributes = [
        {
            name: torch.nn.utils.rnn.pad_sequence(
                [torch.from_numpy(part(one[row])) for one in spectra], batch_first=True
            )
            for name, part in (("magnitude", np.abs), ("phase", np.angle))
        }
        for row in range(1 + problem.sources)
    ]
    targets = {name: [one[name] for one in attributes[1:]] for name in ("magnitude", "phase")}
    counts = torch.tensor([len(one[0]) for one in spectra])
    features = theirs.expert.match_length([frames[row, :length] for row, length in enumerate(lengths)], counts)
    packed = torch.nn.utils.rnn.pack_sequence(features, enforce_sorted=False)
    criterion = theirs.loss.MSELoss(problem.sources, "NPSM")
    expected = criterion.compute_loss(head.network(packed), counts, attributes[0], targets)
    torch.testing.assert_close(problem.loss(head, frames, lengths, mixtures), expected, rtol=1e-4, atol=1e-4)


class FixedMasks(torch.nn.Module):
    """Says the same masks whatever it hears."""

    def __init__(self, masks: torch.Tensor) -> None:
        super().__init__()
        self._masks = masks

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return self._masks


def test_masks_of_one_leave_the_mixture_and_ideal_ones_its_sources(folders: dict[str, Path]):
    data = read(folders["ss"], "ss")
    problem = SourceSeparation(data, COLUMNS["ss"])
    (mixture,) = problem.pieces("test", data.parts["test"][:1], 50.0)
    mixed, *sources = (spectrum(wave, 320).abs() for wave in (mixture.read(), *mixture.references()))
    frames, lengths = torch.zeros(1, len(mixed), DIM), torch.tensor([len(mixed)])
    (as_it_is,) = problem.predict(FixedMasks(torch.ones(1, 2, *mixed.shape)), frames, lengths, [mixture])
    assert as_it_is["si_sdri"] == pytest.approx(0, abs=0.05) and as_it_is["silent"] == 0
    ideal = torch.stack(sources[::-1])[None] / (mixed + 1e-8)
    (apart,) = problem.predict(FixedMasks(ideal), frames, lengths, [mixture])
    assert apart["si_sdri"] > 8 and apart["si_sdr"] == pytest.approx(as_it_is["si_sdr"] + apart["si_sdri"], abs=0.1)
    ideal[:, 1] = 0
    (half,) = problem.predict(FixedMasks(ideal), frames, lengths, [mixture])
    assert half["silent"] == 1
    assert problem.scores([apart, half], [mixture] * 2)["silent"] == 0.5


def test_mixtures_are_scored_in_threads_in_their_order(folders: dict[str, Path], monkeypatch):
    monkeypatch.setattr(separation, "available_cores", lambda: 2)
    data = read(folders["ss"], "ss")
    problem = SourceSeparation(data, COLUMNS["ss"])
    mixtures = problem.pieces("test", data.parts["test"][:2], 50.0)
    lengths = torch.tensor([len(spectrum(mixture.read(), 320)) for mixture in mixtures])
    masks, frames = torch.rand(2, 2, int(lengths.max()), 257), torch.zeros(2, int(lengths.max()), DIM)
    rows = ([0], [1])
    alone = [problem.predict(FixedMasks(masks[row]), frames[row], lengths[row], [mixtures[row[0]]]) for row in rows]
    both, measure = threading.Barrier(2, timeout=30), SourceSeparation.measure
    monkeypatch.setattr(SourceSeparation, "measure", lambda *given: (both.wait(), measure(*given))[1])
    assert problem.predict(FixedMasks(masks), frames, lengths, mixtures) == [*alone[0], *alone[1]]
    assert alone[0] != alone[1]


def test_distortion_ratios_by_hand():
    """Signals that are orthogonal: energies add up."""
    one, other, noise = torch.eye(3).repeat_interleave(100, dim=1)
    estimates = torch.stack([5 * (other + 0.1 * noise), one + other / 10**0.5])
    assert quality.si_sdr(estimates, torch.stack([one, other])) == pytest.approx((20 + 10) / 2, abs=1e-3)
    assert quality.si_sdr((one + 0.1 * noise)[None], one[None]) == pytest.approx(20, abs=1e-3)
    assert quality.si_sdr(1e-9 * (one + 0.1 * noise)[None], one[None]) == pytest.approx(20, abs=1e-3)
    assert quality.si_sdr(torch.zeros(1, 300), one[None]) == -30
    ratio = SourceSeparation.measure(
        object.__new__(SourceSeparation), estimates, torch.stack([one, other]), one + other
    )
    assert ratio == {"si_sdri": pytest.approx(15, abs=1e-3), "si_sdr": pytest.approx(15, abs=1e-3)}


def test_intelligibility_is_pystoi_s():
    from pystoi import stoi

    clean = voice(120.0, 1.5, 0)
    noisy = clean + 0.05 * np.random.default_rng(0).standard_normal(len(clean))
    found = quality.stoi(torch.from_numpy(noisy), torch.from_numpy(clean))
    assert found == pytest.approx(stoi(clean, noisy, 16000), abs=1e-4) and 0.2 < found < 0.95
    with pytest.raises(quality.NoSpeechError, match="STOI needs"):
        quality.stoi(torch.from_numpy(noisy[:4000]), torch.from_numpy(clean[:4000]))


def test_opinion_scores_are_those_of_pesq():
    pesq = pytest.importorskip("pesq").pesq
    clean = voice(120.0, 1.5, 0).astype(np.float32)
    noisy = clean + 0.05 * np.random.default_rng(0).standard_normal(len(clean)).astype(np.float32)
    found = quality.pesq(torch.from_numpy(noisy), torch.from_numpy(clean))
    assert found == pytest.approx(pesq(16000, clean, noisy, "wb"), abs=1e-4)
    assert quality.pesq(torch.from_numpy(clean), torch.from_numpy(clean)) == pytest.approx(4.644, abs=1e-2)
    assert quality.pesq(torch.zeros(len(clean)), torch.from_numpy(clean)) == 1.0
    with pytest.raises(quality.NoSpeechError, match="PESQ finds no speech"):
        quality.pesq(torch.from_numpy(noisy[:3000]), torch.from_numpy(clean[:3000]))


def replaced(folder: Path, wave: np.ndarray, rate: int = 16000) -> None:
    soundfile.write(folder / "test-1-clean.wav", wave, rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "test-1-clean.wav").unlink(), r"test1 \(.*test-1-clean\.wav\): no such file"),
        (lambda folder: replaced(folder, voice(120, 1.0, 0)), r"has 1\.0000 s, its mixture .*path\.wav 1\.1000 s"),
        (lambda folder: replaced(folder, voice(120, 0.55, 0), 8000), r"has 8000 Hz, its mixture .*path\.wav 16000 Hz"),
        (lambda folder: replaced(folder, np.ones((17600, 2))), r"has 2 channels, its mixture .*path\.wav 1;"),
        (lambda folder: replaced(folder, np.zeros(17600)), r"test1 \(.*test-1-clean\.wav\): is silent"),
    ],
)
def test_sources_that_do_not_fit_are_named(folder: Path, change, message: str):
    change(folder)
    with pytest.raises(UserError, match=rf"test\.csv: 1 bad lines: .*{message}"):
        SpeechEnhancement(read(folder, "se"), ["clean"])


def test_another_recording_of_a_source_is_another_task(folder: Path):
    settings = SuperbSettings("se", str(folder), check=True)
    assert {path.name for path in recordings(settings)} == {path.name for path in folder.glob("*-[pc]*.wav")}
    before = read(folder, "se").fingerprint(["clean"])
    os.utime(folder / "train-1-clean.wav", (1, 1))
    assert before != read(folder, "se").fingerprint(["clean"])


def test_what_cannot_be_scored_is_named_before_training(folder: Path):
    for name in ("path", "clean"):
        soundfile.write(folder / f"test-1-{name}.wav", voice(120, 0.2, 0), 16000)
    with pytest.raises(UserError, match=r"test-1-clean\.wav \(utterance test1\): .*; take its line out"):
        SpeechEnhancement(read(folder, "se"), ["clean"])


def test_a_stretch_of_a_mixture_has_the_same_stretch_of_its_source(folder: Path):
    with open(folder / "test.csv", newline="") as stream:
        rows = [{**row, "start": "0.25", "end": "0.75"} for row in csv.DictReader(stream)]
    write_csv(folder / "test.csv", rows, (*rows[0],))
    data = read(folder, "se")
    mixture = SpeechEnhancement(data, ["clean"]).pieces("test", data.parts["test"], 50.0)[1]
    whole = Utterance("x", folder / "test-1-clean.wav", 17600, {}).read()
    torch.testing.assert_close(mixture.references()[0], whole[4000:12000])


def test_columns_are_as_many_as_sources(folders: dict[str, Path]):
    with pytest.raises(UserError, match=r"this task reads 2 column\(s\)"):
        SourceSeparation(read(folders["ss"], "ss"), ["source1"])


def test_the_head_and_the_plan_are_published(folders: dict[str, Path]):
    """Three layers of 896; 150 000 updates of eight (SUPERB-SG, arXiv 2203.06849)."""
    assert [(TASKS[task].steps, TASKS[task].batch_size, TASKS[task].published_lr) for task in COLUMNS] == [
        (150_000, 8, 1e-4)
    ] * 2
    data = read(folders["ss"], "ss")
    network = SourceSeparation(data, COLUMNS["ss"]).head(DIM).network
    assert network.rnn.hidden_size == 896
    assert SourceSeparation(data, COLUMNS["ss"], width=48).head(DIM).network.rnn.hidden_size == 48
    assert (network.rnn.num_layers, network.rnn.dropout, network.rnn.bidirectional) == (3, 0.5, True)
    for bf16 in (False, True):
        rnn = SourceSeparation(data, COLUMNS["ss"], width=48, bf16=bf16).head(DIM).network.rnn
        assert isinstance(rnn, PackedLstm) and rnn.products is (torch.bfloat16 if bf16 else torch.float32)
        assert (rnn.num_layers, rnn.dropout, rnn.bidirectional) == (3, 0.5, True)
    assert len(network.linear) == 2 and network.linear[0].out_features == 257 and network.drops.p == 0.5


@pytest.mark.parametrize("task", ["se", "ss"])
def test_the_command(folders: dict[str, Path], task: str, tmp_path, encoder_dir):
    given = ["baselines=[]", "steps=12", "check_every=6", "batch_size=3", "lr=[1e-2]", f"head_width={WIDTH}"]
    whole = superb(task, folders[task], tmp_path / "whole", encoder_dir, *given)
    score = whole["scores"]["tiny"][0]
    first = whole["task"]["metrics"][0]
    assert first == ("si_sdri" if task == "ss" else "pesq" if quality.has_pesq() else "stoi")
    assert score["valid"][first] == score["tried"][0][first] and not whole["task"]["lower_is_better"]
    page = (tmp_path / "whole" / "results.md").read_text()
    assert {"ss": "SS si_sdri dB ↑", "se": "SE pesq MOS ↑" if quality.has_pesq() else "SE stoi ↑"}[task] in page
    assert "unprocessed mixtures of test: " in page
    assert f"{score['test']['si_sdr']:.2f}" in page, "decibels are not made per cent"
    lines = (tmp_path / "whole" / task / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == ["test0", "test1"] and '"si_sdr": ' in lines[1]


def test_pesq_that_was_installed_since_is_noticed(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    settings = SuperbSettings(task="se", data_dir=str(folders["se"]), out_dir="out", encoders={}, baselines=["fbank"])
    found = []
    for package in (None, SimpleNamespace(origin="/packages/pesq/__init__.py")):
        monkeypatch.setattr(quality, "find_spec", lambda name, package=package: package)
        found.append(set(superb_inputs(settings)))
        assert quality.has_pesq() is (package is not None)
    assert found[1] - found[0] == {Path("/packages/pesq/__init__.py")}


def test_without_pesq_the_results_say_so(folders: dict[str, Path], tmp_path, encoder_dir, monkeypatch):
    monkeypatch.setattr(quality, "has_pesq", lambda: False)
    given = ["baselines=[]", "steps=2", "lr=[1e-2]", f"head_width={WIDTH}"]
    found = superb("se", folders["se"], tmp_path / "out", encoder_dir, *given)
    assert found["task"]["metrics"] == ["stoi", "si_sdr"] and "pesq" not in found["summary"]["tiny"]
    assert "PESQ is missing" in (tmp_path / "out" / "results.md").read_text()


def test_check_finds_lost_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lost = write_voicebank(tmp_path) / "clean_trainset_28spk_wav" / "p287_005.wav"
    lost.unlink()
    assert main(["evaluate", "benchmark=superb", "task=se", f"corpus_dir={tmp_path}", "check=true"]) == 1
    told = capsys.readouterr().out
    assert f"found    VoiceBank-DEMAND in {tmp_path}: train 2, valid 2, test 2 utterances" in told
    assert f"missing  1 recordings of valid, the first is {lost}" in told


@pytest.mark.parametrize("task", ["se", "ss"])
def test_another_device_learns_and_scores_too(folders: dict[str, Path], task: str, tmp_path, encoder_dir, other_device):
    given = ["baselines=[]", "steps=2", "check_every=1", "batch_size=3", "lr=[1e-2]", f"head_width={WIDTH}"]
    with other_device():
        assert superb(task, folders[task], tmp_path / "out", encoder_dir, *given)["scores"]["tiny"]
