"""The tasks of LAPE: lengths and splits as published, and columns that their corpora have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from speechssl.cli.app import main
from speechssl.cli.configuration import compose_config, config_dir
from speechssl.cli.evaluate import LAPE as LAPE_COMMAND
from speechssl.data.corpora import CORPORA, CorpusSettings, open_corpus
from speechssl.evaluation.lape.settings import LapeTask
from tests.evaluation.lape.conftest import PITCHES, write_urbansound8k

LAPE = {
    "speech_commands_v1": (1, "official"),
    "speech_commands_v2_12": (1, "official"),
    "speech_commands_v2_35": (1, "official"),
    "voxforge": (6, "stratified"),
    "libri100_speaker": (13, "stratified"),
    "libri100_chapter": (13, "stratified"),
    "voxceleb1": (8, "official"),
    "iemocap": (4, "folds"),
    "nsynth": (4, "official"),
    "birdsong": (10, "stratified"),
    "tut_urban_2018": (9, "official"),
    "urbansound8k": (4, "folds"),
}
"""Seconds of a clip and split, as LAPE publishes them or this project chose."""
OTHERS = ("esc10", "esc50")
SESSIONS = [f"Session{number}" for number in range(1, 6)]
LAYOUTS = {
    "birdsong": ["ff1010bird_metadata.csv", "warblrb10k_public_metadata.csv", "wav/"],
    "esc50": ["meta/esc50.csv", "audio/"],
    "iemocap": [f"{session}/{part}/" for session in SESSIONS for part in ("dialog/EmoEvaluation", "sentences/wav")],
    "librispeech": ["train-clean-100/"],
    "nsynth": [
        f"nsynth-{split}/{part}" for split in ("train", "valid", "test") for part in ("examples.json", "audio/")
    ],
    "speech_commands": ["validation_list.txt", "testing_list.txt", "_background_noise_/"],
    "tut_urban_2018": ["meta.csv", "audio/", "evaluation_setup/fold1_train.txt", "evaluation_setup/fold1_evaluate.txt"],
    "urbansound8k": ["metadata/UrbanSound8K.csv", "audio/"],
    "voxceleb1": ["iden_split.txt", "wav/"],
    "voxforge": ["fr/"],
}
"""What makes a folder a corpus's, without recordings."""
ALL = "all"
NAMES = [path.stem for path in sorted((config_dir() / "task").glob("*.yaml")) if path.stem != ALL]


def task_named(name: str) -> LapeTask:
    return OmegaConf.merge(OmegaConf.structured(LapeTask), OmegaConf.load(config_dir() / "task" / f"{name}.yaml"))


def test_all_tasks_of_lape_are_there() -> None:
    found = {name: task_named(name) for name in NAMES}
    assert {name: (task.clip_seconds, task.split.value) for name, task in found.items() if name in LAPE} == LAPE
    assert {*LAPE, *OTHERS, "folder"} <= set(NAMES)


def test_task_all_is_each_task_of_lape_with_the_settings_of_its_file() -> None:
    members = compose_config(LAPE_COMMAND, [f"task={ALL}"]).task.members
    assert set(members) == set(LAPE)
    assert {name: OmegaConf.to_object(member) for name, member in members.items()} == {
        name: OmegaConf.to_object(task_named(name)) for name in LAPE
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_task_has_its_own_name_and_a_corpus(name: str) -> None:
    task = task_named(name)
    assert task.name == name and task.corpus in CORPORA


@pytest.mark.parametrize("name", [*LAPE, *OTHERS])
def test_a_task_has_columns_of_its_corpus(name: str, tmp_path: Path) -> None:
    """Of one without recordings; tests of the corpora see that these have the columns."""
    task = task_named(name)
    for part in LAYOUTS[task.corpus]:
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).mkdir() if part.endswith("/") else (tmp_path / part).touch()
    corpus = open_corpus(CorpusSettings(task.corpus, str(tmp_path), parts=list(task.parts)))
    columns = {task.column, task.fold_column, *(task.only or {})} - {None}
    columns |= {task.group_column} - {"speaker"}
    assert columns <= set(corpus.labels)


@pytest.fixture(scope="module")
def urbansound8k(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_urbansound8k(tmp_path_factory.mktemp("UrbanSound8K"))


def test_urbansound8k_from_its_own_folder(urbansound8k: Path, tmp_path: Path) -> None:
    given = ["evaluate", "benchmark=lape", "task=urbansound8k", f"corpus_dir={urbansound8k}", f"out_dir={tmp_path}"]
    given += ["encoders={}", "baselines=[fbank]", "seeds=[1]", "epochs=10", "lr=[1e-1]", "workers=1"]
    for settings, tested in (
        ([], ["fold 10"]),
        (["task.test_fold=null"], [f"fold {number}" for number in range(1, 11)]),
    ):
        assert main([*given, *settings]) == 0
        results = json.loads((tmp_path / "urbansound8k/results.json").read_text())
        assert [division["name"] for division in results["task"]["divisions"]] == tested
        assert results["task"]["padded"] == 30 and results["task"]["classes"] == sorted(PITCHES)
        assert results["summary"]["fbank"]["1"]["accuracy"]["mean"] > 0.6
