"""Encoders of s3prl and of Hugging Face by name, against these libraries' own numbers."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechssl.audio.log_mel import LogMelSettings
from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import contestants, random_encoder
from speechssl.evaluation.encoders.s3prl_encoder import S3prlEncoder
from speechssl.evaluation.encoders.sources import encoder_identity, load_source, source_files
from speechssl.evaluation.lape.run import lape_inputs
from speechssl.evaluation.lape.settings import LapeSettings, LapeTask
from speechssl.export import huggingface, s3prl
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import size_config
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.lape.conftest import write_tones

LAYERS = [[16, 10, 5], *([16, 3, 2] for _ in range(4)), *([16, 2, 2] for _ in range(2))]
SMALL = {"conv_dim": [16] * 7, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}  # fmt: skip
LENGTHS = torch.tensor([16_000, 9_500, 16_000])


def noise(seed: int = 0) -> Tensor:
    """Waveforms of `LENGTHS`, with other noise where nothing is valid."""
    return 0.1 * torch.randn(3, 16_000, generator=torch.Generator().manual_seed(seed))


def hubert() -> HubertEncoder:
    torch.manual_seed(1)
    return HubertEncoder(
        size_config("base", conv_layers=LAYERS, num_layers=2, dim=16, ffn_dim=32, num_heads=2, conv_pos_groups=2)
    ).eval()


@pytest.fixture(scope="module")
def hubert_pt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as s3prl's `hubert_local` reads it."""
    folder = tmp_path_factory.mktemp("s3prl")
    s3prl.write(hubert(), None, folder)
    return folder / "model.pt"


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers saves it, of a model that wants normalised waveforms."""
    folder = tmp_path_factory.mktemp("huggingface")
    torch.manual_seed(2)
    config = transformers.Wav2Vec2Config(**SMALL, feat_extract_norm="group")
    transformers.Wav2Vec2Model(config).save_pretrained(folder, safe_serialization=True)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


@torch.no_grad()
def encode(source: str, waveforms: Tensor, lengths: Tensor) -> EncoderOutput:
    return load_source(source)(waveforms, lengths)


def assert_no_neighbour_matters(source: str) -> None:
    """A recording gives the same alone, and pooled, as beside longer ones."""
    encoder, waveforms = load_source(source), noise()
    with torch.no_grad():
        together, alone = encoder(waveforms, LENGTHS), encoder(waveforms[1:2, :9_500])
        frames = int(encoder.frame_lengths(LENGTHS)[1])
        assert int(together.lengths[1]) == int(alone.lengths[0]) == frames == alone.hidden_states[-1].shape[1]
        torch.testing.assert_close(together.hidden_states[-1][1, :frames], alone.hidden_states[-1][0])
        torch.testing.assert_close(encoder.pool(together)[1], alone.hidden_states[-1][0].mean(dim=0))


def test_filterbanks_of_s3prl() -> None:
    encoder = load_source("s3prl:fbank_no_cmvn")
    assert (encoder.frame_rate, encoder.num_layers, encoder.dim, encoder.training) == (100.0, 0, 240, False)
    with guarded_s3prl():
        from s3prl.hub import fbank_no_cmvn

        theirs = fbank_no_cmvn()([noise()[1, :9_500]])["hidden_states"][0]
    ours = encode("s3prl:fbank_no_cmvn", noise(), LENGTHS)
    # s3prl's tasks have a frame each 160 samples: the last one is repeated where the window does not reach.
    assert ours.lengths.tolist() == [100, 60, 100] and theirs.shape[1] == 57
    torch.testing.assert_close(ours.hidden_states[0][1, :57], theirs[0])
    torch.testing.assert_close(ours.hidden_states[0][1, 57:60], theirs[0, -1:].expand(3, -1))
    assert_no_neighbour_matters("s3prl:fbank_no_cmvn")


def test_a_hubert_of_s3prl_gives_what_our_own_does(hubert_pt: Path) -> None:
    source = f"s3prl:hubert_local?ckpt={hubert_pt}"
    ours, theirs = hubert(), load_source(source)
    assert (theirs.frame_rate, theirs.num_layers, theirs.dim) == (ours.frame_rate, ours.num_layers, ours.dim)
    found = encode(source, noise(), LENGTHS)
    for row, samples in enumerate(LENGTHS.tolist()):
        with torch.no_grad():
            alone = ours(noise()[row : row + 1, :samples]).hidden_states
        for state, expected in zip(found.hidden_states, alone, strict=True):
            frames = expected.shape[1]
            assert int(found.lengths[row]) == -(-samples // 320) == frames + 1
            torch.testing.assert_close(state[row, :frames], expected[0], rtol=1e-4, atol=1e-5)
    assert list(source_files(source)) == [hubert_pt]
    with pytest.raises(UserError, match="cannot encode 1000 samples"):
        encode(source, noise()[:1, :1000], torch.tensor([1000]))


def test_a_model_of_transformers_gives_what_transformers_says(wav2vec2: Path) -> None:
    found = encode(f"hf:{wav2vec2}", noise(), LENGTHS)
    model = transformers.AutoModel.from_pretrained(wav2vec2).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(wav2vec2)
    for row, samples in enumerate(LENGTHS.tolist()):
        inputs = extractor(noise()[row, :samples].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        with torch.no_grad():
            expected = model(inputs, output_hidden_states=True).hidden_states
        assert len(found.hidden_states) == len(expected) == 3
        for state, theirs in zip(found.hidden_states, expected, strict=True):
            assert int(found.lengths[row]) == theirs.shape[1]
            torch.testing.assert_close(state[row, : theirs.shape[1]], theirs[0], rtol=1e-4, atol=1e-5)
    encoder = load_source(f"hf:{wav2vec2}")
    assert (encoder.frame_rate, encoder.num_layers, encoder.dim) == (50.0, 2, 16)
    assert int(encoder.frame_lengths(torch.tensor([399]))) == 0
    assert_no_neighbour_matters(f"hf:{wav2vec2}")
    names = {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert {path.name for path in source_files(f"hf:{wav2vec2}")} == names


def test_a_configuration_makes_another_encoder_of_the_same_weights() -> None:
    first = hubert()
    last = HubertEncoder(dataclasses.replace(first.config, layer_norm_first=True))
    last.load_state_dict(first.state_dict())
    assert encoder_identity(first, "x") == encoder_identity(hubert(), "y") != encoder_identity(last, "x")
    clip = ClipEncoder(ClipConfig(backbone=BackboneName.vit, vit_layers=1))
    louder = ClipEncoder(dataclasses.replace(clip.config, log_mel=LogMelSettings(high_hz=4000.0)))
    louder.load_state_dict(clip.state_dict())
    assert encoder_identity(clip, "x") != encoder_identity(louder, "x")


def identity(source: str) -> str:
    return encoder_identity(load_source(source), source)


def test_an_edited_file_of_a_foreign_encoder_makes_it_another(tmp_path: Path, wav2vec2: Path) -> None:
    folder = Path(shutil.copytree(wav2vec2, tmp_path / "model"))
    before = identity(f"hf:{folder}")
    assert identity(f"hf:{folder}") == before
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**preprocessor, "do_normalize": False}))
    assert identity(f"hf:{folder}") != before
    settings = tmp_path / "mfcc.yaml"
    text = "kaldi: {feat_type: mfcc, mfcc: {num_ceps: 13, frame_length: 25.0}}\ncmvn: {use_cmvn: false}\n"
    settings.write_text(text)
    before = identity(f"s3prl:baseline_local?model_config={settings}")
    settings.write_text(text.replace("25.0", "20.0"))
    assert identity(f"s3prl:baseline_local?model_config={settings}") != before


def test_a_hubert_of_hugging_face_is_one_of_ours(tmp_path: Path) -> None:
    huggingface.write(hubert(), None, tmp_path)
    assert isinstance(load_source(f"hf:{tmp_path}"), HubertEncoder)
    (rival,) = contestants({"mine": f"hf:{tmp_path}"}, [])
    assert rival.tunable and rival.source == f"hf:{tmp_path}"


def test_hidden_states_of_another_shape_are_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    class Uneven:
        """As a `S3PRLUpstream` whose first hidden state is narrower, and whose second has twice the frames."""

        downsample_rates, hidden_sizes = [320, 160, 320, 320], [4, 8, 8, 8]

        def __call__(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], list[Tensor]]:
            shapes = [
                (-(-waveforms.shape[1] // rate), size)
                for rate, size in zip(self.downsample_rates, self.hidden_sizes, strict=True)
            ]
            return [torch.full((len(waveforms), *shape), float(n)) for n, shape in enumerate(shapes)], []

    encoder = S3prlEncoder(Uneven(), "s3prl:uneven")
    assert caplog.messages == [
        "s3prl:uneven: hidden states 0, 1 of 4 have another width or frame rate than the last one and are left out"
    ]
    output = encoder(noise(), LENGTHS)
    assert (encoder.num_layers, encoder.dim, encoder.frame_rate) == (1, 8, 50.0)
    assert [float(state[0, 0, 0]) for state in output.hidden_states] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3prl:fbnk", "s3prl has no upstream 'fbnk'; did you mean 'fbank'?"),
        ("s3prl:Path", "s3prl has no upstream 'Path'"),
        ("s3prl:hubert_local", "s3prl cannot build s3prl:hubert_local: TypeError: .*'ckpt'"),
        ("s3prl:hubert_local?ckpt=gone.pt", "gone.pt does not exist"),
        ("s3prl:hubert_local?ckpt", "'ckpt' is no option; give key=value"),
        ("s3prl:hubert_url?ckpt=https://example.org/x.pt", "https://example.org/x.pt does not exist"),
        ("s3prl:hubert?refresh=true", "nothing is downloaded here"),
        ("s3prl:wavlm_base_plus", "s3prl:wavlm_base_plus: s3prl would download https://"),
        ("s3prl:hf_hubert_custom", "give it as hf:FOLDER"),
        ("s3prl:espnet_hubert_local?ckpt={folder}", "s3prl cannot build .*: AssertionError: ESPnet is not installed"),
        ("hf:facebook/hubert-base-ls960", "facebook/hubert-base-ls960 has no config.json"),
        ("hf:{folder}", "model of the type 'whisper'"),
    ],
)
def test_a_mistake_is_one_line(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match=message) as caught:
        load_source(source.format(folder=tmp_path))
    assert "\n" not in str(caught.value)


def test_checkpoints_that_cannot_be_trusted_are_not_read(tmp_path: Path, wav2vec2: Path) -> None:
    torch.save({"model": tmp_path}, tmp_path / "path.pt")
    with pytest.raises(UserError, match=r"holds the object pathlib\.\w+ that cannot be read without running code"):
        load_source(f"s3prl:wavlm_local?ckpt={tmp_path / 'path.pt'}")
    # transformers' older format is a pickle.
    state = transformers.AutoModel.from_pretrained(wav2vec2).state_dict()
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((wav2vec2 / name).read_text())
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"cannot be loaded by transformers: .*safetensors"):
        load_source(f"hf:{tmp_path}")
    del state["encoder.layers.1.attention.k_proj.weight"]
    transformers.AutoModel.from_pretrained(wav2vec2).save_pretrained(tmp_path / "part", state_dict=state)
    (tmp_path / "part/preprocessor_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"lacks 1 parameters, the first is encoder\.layers\.1\.attention\.k_proj"):
        load_source(f"hf:{tmp_path / 'part'}")


def test_a_model_without_an_embedding_of_masked_frames_is_as_good(tmp_path: Path, wav2vec2: Path) -> None:
    """wav2vec2-base-960h has none."""
    shutil.copytree(wav2vec2, tmp_path, dirs_exist_ok=True)
    state = load_file(wav2vec2 / "model.safetensors")
    del state["masked_spec_embed"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found, whole = encode(f"hf:{tmp_path}", noise(), LENGTHS), encode(f"hf:{wav2vec2}", noise(), LENGTHS)
    torch.testing.assert_close(found.hidden_states, whole.hidden_states)
    assert identity(f"hf:{tmp_path}") == identity(f"hf:{tmp_path}")


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json"])
def test_a_list_is_no_description_of_a_model(tmp_path: Path, wav2vec2: Path, file: str) -> None:
    shutil.copytree(wav2vec2, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text("[]")
    with pytest.raises(UserError, match=f"{file} is not the description of an encoder"):
        load_source(f"hf:{tmp_path}")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, wav2vec2: Path) -> None:
    for package in ("s3prl", "transformers"):
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"needs the package 's3prl\S*': pip install -e '\.\[superb\]'"):
        load_source("s3prl:fbank")
    with pytest.raises(UserError, match=r"needs the package 'transformers': pip install -e '\.\[export\]'"):
        load_source(f"hf:{wav2vec2}")


def test_random_needs_an_encoder_of_ours_in_the_first_place(tmp_path: Path) -> None:
    save_encoder(tmp_path / "own", hubert())
    own, other = str(tmp_path / "own"), "s3prl:fbank"
    with pytest.raises(UserError, match="random takes the configuration of the first encoder, and s3prl:fbank"):
        contestants({"other": other, "own": own}, ["random"])
    found = contestants({"own": own, "other": other}, ["fbank", "random"])
    assert [(rival.name, rival.tunable) for rival in found] == [
        ("fbank", False), ("random", True), ("own", True), ("other", False),
    ]  # fmt: skip
    assert isinstance(found[1].build(), HubertEncoder) and load_encoder(own).dim == 16


def test_lape_scores_them_and_says_what_they_are(
    tmp_path: Path, hubert_pt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tones = write_tones(tmp_path / "tones")
    source = f"s3prl:hubert_local?ckpt={hubert_pt}"
    given = ["evaluate", "benchmark=lape", f"corpus_dir={tones}", f"out_dir={tmp_path / 'out'}", "task.name=tones"]
    given += ["task.column=class", "task.clip_seconds=0.5", "baselines=[]", "seeds=[1]", "workers=1", "epochs=6"]
    given += [f'encoders={{fbank_s3prl: s3prl:fbank_no_cmvn, hubert: "{source}"}}', "lr=[3e-2]"]
    assert main(given) == 0
    results = json.loads((tmp_path / "out/tones/results.json").read_text())
    assert [row["sources"] for row in results["encoders"]] == [["s3prl:fbank_no_cmvn"], [source]]
    assert results["summary"]["fbank_s3prl"]["1"]["accuracy"]["mean"] > 0.9
    capsys.readouterr()
    assert main([*given, "mode=finetune"]) == 1
    assert "mode=finetune: s3prl:fbank_no_cmvn cannot be fine-tuned" in capsys.readouterr().err
    assert main([*given, "encoders={hubert: {fbank: s3prl:fbank}}"]) == 1
    assert "encoders.hubert must be a folder, s3prl:NAME or hf:FOLDER" in capsys.readouterr().err
    task = LapeTask(name="tones", corpus="folder", column="class", clip_seconds=0.5)
    settings = LapeSettings(task, str(tmp_path), {"hubert": source}, [], data_dir=str(tmp_path / "out/manifests/tones"))
    assert hubert_pt in list(lape_inputs(settings))


def test_probes_take_recordings_of_all_lengths(tmp_path: Path, corpus: Path) -> None:
    """And filterbanks get the frame rate of the first encoder."""
    given = ["evaluate", f"data_dir={corpus}", f"out_dir={tmp_path}", "baselines=[fbank]", "probe.columns=[language]"]
    given += ["encoders={other: s3prl:fbank_no_cmvn}", "probe.min_class_count=3", "rank_frames=200"]
    assert main([*given, "retrieval.queries=5"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["encoders"]["other"]["sources"] == ["s3prl:fbank_no_cmvn"]
    assert {row["frame_rate"] for row in results["encoders"].values()} == {100.0}
    # The same sentence in another voice is heard by filterbanks, whoever computes them.
    assert results["summary"]["other"]["retrieval"]["best"]["mean"] > 0.5 > results["tasks"]["retrieval"]["chance"]


def test_an_encoder_is_looked_at_again_only_where_a_file_of_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_encoder(tmp_path / "encoder", hubert())
    loaded = []

    def load(source: str) -> Encoder:
        loaded.append(source)
        return load_source(source)

    monkeypatch.setattr("speechssl.evaluation.encoders.contestants.load_source", load)
    for _ in range(3):
        contestants({"one": str(tmp_path)}, ["fbank"])
    assert loaded == [str(tmp_path)]
    save_encoder(tmp_path / "encoder", hubert())
    contestants({"one": str(tmp_path)}, ["fbank"])
    assert loaded == [str(tmp_path)] * 2


def test_two_rows_are_not_one_name_for_files() -> None:
    with pytest.raises(UserError, match="'a b' and 'a/b' are one name for files; give one of them another"):
        contestants({"a b": "nowhere", "a/b": "nowhere"}, [])


@pytest.mark.parametrize("name", ["fbank", "random"])
def test_a_row_has_not_the_name_of_a_baseline_named_or_not(name: str) -> None:
    for baselines in ([], ["fbank"]):
        with pytest.raises(UserError, match=f"encoders.{name} has the name of a baseline"):
            contestants({name: "s3prl:fbank"}, baselines)


def test_an_encoder_is_one_seed_of_a_row_once(tmp_path: Path) -> None:
    save_encoder(tmp_path / "own", hubert())
    with pytest.raises(UserError, match=r"encoders\.twice names an encoder twice"):
        contestants({"twice": [str(tmp_path / "own")] * 2}, [])
    save_encoder(tmp_path / "run/encoder", hubert())
    huggingface.write(hubert(), None, tmp_path / "hf")
    (tmp_path / "link").symlink_to(tmp_path / "run")
    run, hf = str(tmp_path / "run"), str(tmp_path / "hf")
    for other in (f"{run}/", f"{run}/encoder", str(tmp_path / "link"), f"{tmp_path}/own/../run"):
        with pytest.raises(UserError, match=r"encoders\.twice names an encoder twice"):
            contestants({"twice": [run, other]}, [])
    with pytest.raises(UserError, match=r"encoders\.twice names an encoder twice"):
        contestants({"twice": [hf, f"hf:{hf}"]}, [])
    assert len(contestants({"twice": [run, str(tmp_path / "own"), hf]}, [])) == 3
    assert len(contestants({"twice": ["s3prl:fbank", "s3prl:fbank_no_cmvn"]}, [])) == 2


@pytest.mark.parametrize("name", ["fbank", "random"])
def test_a_baseline_is_scored_once(tmp_path: Path, name: str) -> None:
    save_encoder(tmp_path / "own", hubert())
    with pytest.raises(UserError, match=r"baselines=.* names one twice"):
        contestants({"own": str(tmp_path / "own")}, [name, name])


def test_a_baseline_that_is_not_possible_offers_none_that_is_not_either() -> None:
    for rate, possible in ((100.0, r"baselines=\[fbank\]"), (40.0, r"baselines=\[\]")):
        with pytest.raises(UserError, match=f"or set {possible}"):
            contestants({"other": "s3prl:fbank"}, ["random"], fbank_rate=rate)
    with pytest.raises(UserError, match="cannot be stacked to 40: take fbank out of baselines"):
        contestants({"other": "s3prl:fbank"}, ["fbank"], fbank_rate=40.0)[0].build()


def test_random_weights_leave_all_random_numbers_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of GPUs."""
    trained, reseeded = hubert(), []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    before = torch.random.get_rng_state()
    first, again, other = (random_encoder(trained, seed).state_dict()["mask_emb"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not reseeded and torch.equal(torch.random.get_rng_state(), before)


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_encoder(tmp_path / "own", hubert())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert contestants({"own": "~/own"}, []) == contestants({"own": str(tmp_path / "own")}, [])


def test_one_encoder_needs_no_name(tmp_path: Path) -> None:
    save_encoder(tmp_path / "hubert-seed1", hubert())
    alone = contestants(str(tmp_path / "hubert-seed1"), ["random"])
    assert [rival.name for rival in alone] == ["random", "hubert-seed1"]
    assert alone == contestants({"hubert-seed1": str(tmp_path / "hubert-seed1")}, ["random"])
    assert [rival.name for rival in contestants("s3prl:fbank_no_cmvn", [])] == ["fbank_no_cmvn"]
    [filterbanks] = contestants("s3prl:fbank", [])
    assert filterbanks.name == "fbank_encoder" and filterbanks.build().dim == 240
    with pytest.raises(UserError, match=r"name an encoder|must name"):
        contestants("", ["fbank"])
