"""Figures of layer weights: what is drawn, and where the pages link it."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes

from speechssl.evaluation.superb.figures import draw_layer_weights
from speechssl.evaluation.superb.overview import OVERVIEW
from tests.evaluation.superb.made_up import task_results

SCORES = {"fbank": {"accuracy": 0.5}, "tiny": {"accuracy": 0.75}, "deep": {"accuracy": 0.8}}
WEIGHTS = {"tiny": [[0.25, 0.25, 0.5], [0.35, 0.25, 0.4]], "deep": [[0.2] * 5]}
KS = task_results("ks", SCORES, WEIGHTS)
FBANK_ONLY = task_results("sid", {"fbank": {"accuracy": 0.5}})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """Lines by their label, and bands."""
    found: dict[str, list] = {"bands": []}
    plot, fill_between = Axes.plot, Axes.fill_between

    def watched_plot(self, x, y, **options):
        found.setdefault(options["label"], []).append(np.asarray(y))
        return plot(self, x, y, **options)

    def watched_fill(self, x, low, high, **options):
        found["bands"].append((np.asarray(low), np.asarray(high)))
        return fill_between(self, x, low, high, **options)

    monkeypatch.setattr(Axes, "plot", watched_plot)
    monkeypatch.setattr(Axes, "fill_between", watched_fill)
    return found


def test_a_line_is_the_mean_of_the_heads_and_the_band_their_spread(tmp_path: Path, drawn: dict[str, list]):
    draw_layer_weights(tmp_path / "weights.png", [KS, FBANK_ONLY])
    assert set(drawn) == {"bands", "tiny", "deep"}, "what has one hidden state has no weights"
    np.testing.assert_allclose(drawn["tiny"], [[0.3, 0.25, 0.45]])
    spread = 0.1 / np.sqrt(2)
    ((low, high),) = drawn["bands"]
    np.testing.assert_allclose((high - low) / 2, [spread, 0, spread], atol=1e-12)
    picture = matplotlib.image.imread(tmp_path / "weights.png")
    assert picture.shape[1] == pytest.approx(4.8 * 120, abs=2)


def test_encoders_of_one_name_and_different_depth_are_lines_of_their_own(tmp_path: Path, drawn: dict[str, list]):
    mixed = task_results("ks", SCORES, {"tiny": [[0.5, 0.5], [0.2, 0.3, 0.5]]})
    draw_layer_weights(tmp_path / "weights.png", [mixed])
    assert [len(line) for line in drawn["tiny"]] == [2, 3] and not drawn["bands"]


def test_the_same_numbers_give_the_same_picture(tmp_path: Path):
    for name in ("a.png", "b.png"):
        draw_layer_weights(tmp_path / name, [KS])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_without_weights_there_is_no_figure_nor_an_old_one(tmp_path: Path):
    (tmp_path / "weights.png").write_text("old")
    draw_layer_weights(tmp_path / "weights.png", [FBANK_ONLY])
    assert not list(tmp_path.iterdir())


def test_the_page_links_the_figures_that_are_there(tmp_path: Path):
    for results in (KS, FBANK_ONLY):
        folder = tmp_path / results["task"]["name"]
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(results))
    OVERVIEW.write(tmp_path)
    page = (tmp_path / "results.md").read_text()
    assert "](layer_weights.png)" in page and "](ks/layer_weights.png)" in page and "sid/layer_weights" not in page
    assert (tmp_path / "layer_weights.png").is_file()
