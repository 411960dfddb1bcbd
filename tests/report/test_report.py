import itertools
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from speechssl.cli.app import main
from speechssl.report.page import plain

ATTACK = "<script>alert('x')</script>"


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.bold: list[str] = []
        self.texts: list[str] = []
        self._in_bold = False
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_bold = tag == "strong"

    def handle_endtag(self, tag):
        self._in_bold = False

    def handle_data(self, data):
        self.texts.append(data)
        if self._in_bold:
            self.bold.append(data)

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]


def report(exp: Path, *overrides: str) -> Page:
    assert main(["report", f"exp={exp}", *overrides]) == 0
    return Page(exp / "report.html")


@pytest.fixture
def small(exp: Path) -> Path:
    """The invented experiment with one run, which takes less time to draw."""
    for folder in exp.glob("hubert*"):
        if folder.name != "hubert-seed1":
            for file in sorted(folder.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            folder.rmdir()
    return exp


def test_page_needs_nothing_else(exp):
    page = report(exp)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert all(str(image["src"]).startswith("data:image/") and image["alt"] for image in page.images())
    targets = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert targets and all(target.startswith("#") for target in targets)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    text = (exp / "report.html").read_text()
    assert "http://" not in text and "https://" not in text


def test_every_part_of_the_run_is_drawn(exp):
    told = [str(image["alt"]).lower() for image in report(exp).images()]
    for part in (
        "masked loss (nats a frame), train",
        "masked loss (nats a frame), valid",
        "masked accuracy, valid",
        "topic loss (nats an utterance), train",
        "pnmi",
        "picture topics.png",
        "weights of the layers for phones flite",
        "phones flite, accuracy, by layer",
        "rankme",
        "audio seconds a second",
    ):
        assert any(part in alt for alt in told), part
    valid = next(alt for alt in told if alt.startswith("masked loss (nats a frame), valid"))
    for run in ("hubert seed 1", "hubert seed 3", "hubertopic seed 2"):
        assert run in valid


def test_probe_table_has_mean_spread_and_best(exp):
    page = report(exp)
    scores = json.loads((exp / "evaluate/results.json").read_text())["scores"]
    for encoder in ("random", "hubert", "hubertopic"):
        seeds = [score["best"] for score in scores[encoder]["phones flite"]]
        text = f"{np.mean(seeds):.3f} ±\u00a0{np.std(seeds, ddof=1):.3f}"
        assert text in page.texts
        assert (text in page.bold) == (encoder == "hubertopic")
    assert "↑ more is better" in page.texts


def test_results_file_has_command_versions_and_numbers(small):
    report(small)
    text = (small / "RESULTS.md").read_text()
    for part in (
        "bash recipes/mini/hubertopic/run.sh --method both --seeds 3",
        "git revision",
        "| fairseq2 |",
        "| cores |",
    ):
        assert part in text
    last = json.loads((small / "hubert-seed1/metrics/valid.jsonl").read_text().splitlines()[-1])
    assert f"| {last['masked_loss']:.3f} |" in text
    assert "| export/hubert/huggingface | config.json (0.00 MB), model.safetensors (0.04 MB) |" in text
    assert "| huggingface largest difference | 2.4e-06 |" in text
    assert "hidden size" not in text  # what is inside an export is the other toolkit's
    assert f"From `{small}/evaluate/results.json`." in text
    lines = text.splitlines()
    for above, line in itertools.pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count(" | ") == line.count(" | "), line


def test_names_out_of_the_data_do_not_inject(small):
    for name in ("units/quality.json", "topics/quality.json", "evaluate/results.json"):
        text = (small / name).read_text()
        for word in ('"train"', '"language"', '"hubert"', '"pnmi"', '"one class only"', '"by speaker"'):
            text = text.replace(word, json.dumps(ATTACK + word.strip('"') + "|\" onload='x'"))
        (small / name).write_text(text)
    (small / "hubert-seed1/config.yaml").write_text(f"name: {ATTACK}</pre>")
    (small / "hubert-seed1").rename(small / "<script>alert(1)<-seed1")
    (small / "run.sh").write_text(f"cd / && bash run.sh {ATTACK}")
    page = report(small, "title='<script>alert(2)'")
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert any("alert('x')" in text for text in page.texts), "it is shown as text"
    assert "<script" not in (small / "RESULTS.md").read_text()


def test_runs_on_clips_and_lape_are_on_the_page_and_in_the_results(clip_exp):
    page = report(clip_exp)
    for part in ("LAPE: one class a clip", "Signs of collapse", "Clusters and metadata", "Confusion matrices (1)"):
        assert part in " ".join(page.texts)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert "Not found" not in page.texts
    assert "80.0 ±\u00a00.4" in page.bold
    text = (clip_exp / "RESULTS.md").read_text()
    assert "| languages, 10 % of labels | 31.0 | 33.0 ± 1.0 | 61.2 ± 1.2 | **70.0 ± 1.0** |" in text
    assert "| chosen by | highest silhouette, 0.230 | given |" in text
    assert "Protocol paper: MAXIMUM of the test accuracy over the epochs." in text


def test_what_is_not_found_is_said_with_the_folder(small, capsys):
    (small / "units/kmeans.json").unlink()
    page = report(small)
    assert f"report: not found in {small}: k-means (units/kmeans.json)" in capsys.readouterr().out
    assert "Not found" in page.bold and f"Not found in {small}:" in (small / "RESULTS.md").read_text()
    assert "Encoders trained: hubert, seed 1." in (small / "RESULTS.md").read_text()


def test_of_a_benchmark_s_folder_the_encoders_are_named(clip_exp):
    report(clip_exp / "lape")
    assert "Encoders evaluated: FBANK, pretrained, unfused." in (clip_exp / "lape/RESULTS.md").read_text()


def test_names_of_classes_and_encoders_do_not_inject(clip_exp):
    for file in clip_exp.glob("**/*.json"):
        text = file.read_text()
        for word in ("languages", "pretrained", "en", "official", "fbank", "language", "birds"):
            text = text.replace(f'"{word}"', json.dumps(ATTACK + word + "|\" onload='x'"))
        file.write_text(text)
    page = report(clip_exp)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert any("alert('x')" in text for text in page.texts), "it is shown as text"
    assert "<script" not in (clip_exp / "RESULTS.md").read_text()


def test_missing_parts_are_listed(tmp_path, capsys):
    page = report(tmp_path)
    listed, said = " ".join(page.texts), capsys.readouterr().out
    parts = ("units/quality.json", "topics/quality.json", "evaluate/results.json", "topics/*.png", "export", "run.sh")
    for part in (*parts, "pretraining"):
        assert part in listed
        assert part in said


def test_unchanged_is_not_made_again_but_new_metrics_are(small, capsys):
    report(small)
    capsys.readouterr()
    report(small)
    assert "done before and unchanged" in capsys.readouterr().out
    with open(small / "hubert-seed1/metrics/valid.jsonl", "a") as file:
        file.write(json.dumps({"step": 2200, "masked_loss": 1.2345}) + "\n")
    assert "1.234" in " ".join(report(small).texts)


def test_broken_metrics_are_one_line(small, capsys):
    with open(small / "hubert-seed1/metrics/train.jsonl", "a") as file:
        file.write('{"step": 30')
    assert main(["report", f"exp={small}"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "train.jsonl, line 997" in error
    assert not (small / "report.html").exists()


def test_out_must_be_a_page(small, capsys):
    assert main(["report", f"exp={small}", f"results={small}/./report.html"]) == 1
    assert "report.html is the page too: give a name that ends in .md" in capsys.readouterr().err
    assert main(["report", f"exp={small}", f"out={small}/report.pdf"]) == 1
    assert ".html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("_silence_ and word_two", r"\_silence\_ and word_two"),
        ("label_/2", r"label\_/2"),
        ("a__b", r"a\_\_b"),
        ("~5~ s", r"\~5\~ s"),
    ],
)
def test_names_have_no_meaning_in_markdown(text, shown):
    assert plain(text) == shown
