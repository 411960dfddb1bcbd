"""What the documentation tells a user to type works."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli.app import COMMANDS
from speechssl.cli.configuration import compose_config, load_settings
from speechssl.data.corpora import CORPORA
from speechssl.errors import UserError
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import SIZES, HubertConfig, size_config
from speechssl.models.save import save_encoder

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = HubertConfig(front_end="fbank", num_layers=2, dim=32, ffn_dim=64, num_heads=2)
    save_encoder(tmp_path / "exp/mini/hubertopic-seed1/encoder", HubertEncoder(config))
    soundfile.write("speech.flac", np.random.default_rng(1).uniform(-0.5, 0.5, 16000), 16000)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    encoder, output = names["encoder"], names["output"]
    assert isinstance(encoder, HubertEncoder)
    assert output.hidden_states[-1].shape == (1, int(encoder.frame_lengths(output.lengths.new_tensor([16000]))), 32)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    missing = [link for link in links if not (page.parent / link).exists()]
    paths = re.findall(r"`((?:tools|recipes|configs|speechssl|docs|tests)/[\w./-]+)`", text)
    missing += [path for path in paths if not (ROOT / path).exists()]
    assert missing == []


def anchors(page: Path) -> set[str]:
    """Return what a link to a heading of a page may have behind its #."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([\w./-]*)#([^)]+)\)", page.read_text())
    wrong = [
        f"{file}#{anchor}" for file, anchor in links if anchor not in anchors(page.parent / file if file else page)
    ]
    assert wrong == []


def test_the_table_of_sizes_is_the_code() -> None:
    section = (ROOT / "docs" / "encoders.md").read_text().split("\n## Model sizes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d.]+) \| (\d+) \| (\d+) \| (\d+) \|", section, flags=re.MULTILINE)
    assert {name for name, *_ in rows} == set(SIZES)
    for name, *written in rows:
        with torch.device("meta"):
            encoder = HubertEncoder(size_config(name))
        millions = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
        assert written == [f"{millions:.1f}", str(encoder.num_layers), str(encoder.dim), f"{encoder.frame_rate:g}"]


def test_settings_in_the_documentation_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    lines = re.findall(rf"^({'|'.join(COMMANDS)}) +(\S+=\S+)", text, re.MULTILINE)
    assert len(lines) >= 5
    for name, override in lines:
        # What the recipes give `evaluate` themselves.
        what = "benchmark=lape" if override.startswith("task.") else "labels_dir=units"
        given = [what] if name == "evaluate" else []
        compose_config(importlib.import_module(f"speechssl.cli.{name}").COMMAND, [*given, override])


def test_every_corpus_is_in_the_table_of_corpora() -> None:
    section = (ROOT / "docs" / "recipes.md").read_text().split("\n## Corpora\n")[1].split("\n## ")[0]
    assert set(CORPORA) - set(re.findall(r"`(\w+)`", section)) == set()


def shell_lines(page: Path, program: str) -> list[str]:
    """Return the lines of a page's blocks of shell that start a program."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL)).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if re.match(program, line)]


def commands_of(page: Path) -> list[list[str]]:
    """Return the words of each `speechssl COMMAND key=value ...` of a page, in its blocks and within its lines."""
    text = page.read_text()
    lines = shell_lines(page, "speechssl ")
    lines += re.findall(r"(?<!`)`(speechssl [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documentation_are_accepted(page: Path) -> None:
    checked = 0
    for name, *words in commands_of(page):
        if name == "COMMAND":
            continue
        assert name in COMMANDS
        overrides = [word for word in words if word not in ("...", "--help")]
        if overrides:
            command = importlib.import_module(f"speechssl.cli.{name}").COMMAND
            try:
                load_settings(command, overrides)
            except UserError as error:
                # What a line does not show.
                assert str(error).startswith("missing setting "), overrides
            checked += 1
    assert checked >= 10 or page.name != "recipes.md"
    assert checked or not re.search(r"^speechssl \w+ .*\w=", page.read_text(), flags=re.MULTILINE)


def test_scripts_in_the_documentation_have_the_options_that_it_names() -> None:
    lines = [line for page in PAGES for line in shell_lines(page, "bash |sbatch ")]
    assert len(lines) >= 6
    for line in lines:
        _, script, *words = shlex.split(line, comments=True)
        path = ROOT / script
        assert path.is_file()
        # slurm.sh hands its options on.
        header = path.with_name("run.sh" if path.name == "slurm.sh" else path.name).read_text()
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"^#   {option} ", header, flags=re.MULTILINE), f"{script} has no option {option}"
