import base64
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from speechssl.plot_style import COLOURS
from speechssl.report.plots import Line, bar_plot, colours_of, line_plot, panel_plot, thinned


def svg(uri: str) -> str:
    kind, _, data = uri.partition(";base64,")
    assert kind == "data:image/svg+xml"
    text = base64.b64decode(data).decode()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    return text


SVG = "{http://www.w3.org/2000/svg}"


def points(path: ElementTree.Element) -> np.ndarray:
    return np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.attrib["d"]), dtype=float)


def drawn(uri: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the axes and the points of the first line, `(points, 2)` each, y from the top."""
    root = ElementTree.fromstring(svg(uri))
    (axes,) = root.iterfind(f".//{SVG}g[@id='patch_2']/{SVG}path")
    line = next(
        path
        for path in root.iter(f"{SVG}path")
        if "clip-path" in path.attrib and COLOURS[0].lower() in path.attrib["style"]
    )
    return points(axes), points(line)


def test_shares_are_as_far_apart_as_their_logarithms():
    _, line = drawn(line_plot([Line("a", [0.01, 0.1, 1], [1.0, 2.0, 3.0], 0)], "share", "%", x_axis="shares"))
    np.testing.assert_allclose(line[1, 0] - line[0, 0], line[2, 0] - line[1, 0], rtol=1e-4)


@pytest.mark.parametrize("from_zero", [False, True])
def test_from_zero_a_fall_is_as_deep_as_it_looks(from_zero):
    axes, line = drawn(line_plot([Line("a", [1, 2], [10.0, 8.0], 0)], "step", "rank", from_zero=from_zero))
    heights = axes[:, 1].max() - line[:, 1]
    assert (abs(heights[1] / heights[0] - 0.8) < 1e-4) == from_zero


def test_plots_are_svg_without_scripts_or_fonts():
    lines = [Line("$x^2$ <script>", [1, 2, 3], [3.0, 2.0, 1.0], 0, spread=[0.1, 0.1, 0.1]), Line("b", [1], [2.0], 1)]
    for uri in (
        line_plot(lines, "training step", "loss (nats)"),
        bar_plot({"a": 1.0, "b $ & <": 0.5}, "NMI"),
        panel_plot({"PNMI": {"train": 0.2, "valid": 0.3}, "perplexity": {"train": 70.0}, "runs": {"valid": 2.0}}),
    ):
        text = svg(uri)
        assert "<script" not in text
        assert "<text" not in text  # letters are outlines, so no font is needed


def test_equal_plots_are_equal_bytes():
    lines = [Line("hubert seed 1", [1, 2], [2.0, 1.0], 0)]
    assert line_plot(lines, "step", "loss") == line_plot(lines, "step", "loss")


def test_line_has_the_colour_of_its_method():
    text = svg(line_plot([Line("x", [1, 2], [2.0, 1.0], 1)], "step", "loss"))
    assert COLOURS[1].lower() in text.lower()


def test_known_encoders_keep_their_colours():
    assert colours_of(["FBANK", "other", "hubert"]) == [6, 3, 0]
    assert colours_of(["hubert"]) == [0]
    assert len(set(colours_of(["a", "b", "c", "hubert", "hubertopic", "random", "fbank"]))) == 7
    assert len(set(colours_of(["fbank", "a", "b", "c", "d", "e", "f"]))) == 7


def test_thinning_takes_means_of_neighbours():
    x, y = np.arange(1000.0), np.random.default_rng(0).normal(size=1000)
    short_x, short_y = thinned(x, y, most=250)
    np.testing.assert_allclose(short_x, x.reshape(250, 4).mean(1))
    np.testing.assert_allclose(short_y, y.reshape(250, 4).mean(1))


def test_what_is_not_finite_is_left_out():
    assert thinned([1, 2, 3], [1.0, float("nan"), 2.0]) == ([1, 3], [1.0, 2.0])


def test_bars_whose_shortened_names_are_the_same_stand_apart():
    panel = {"a-long-name-of-a-split-1": 0.2, "a-long-name-of-a-split-2": 0.3}
    root = ElementTree.fromstring(svg(panel_plot({"PNMI": panel})))
    bars = [path for path in root.iter(f"{SVG}path") if COLOURS[0].lower() in path.attrib.get("style", "").lower()]
    tops = {points(path)[:, 1].min() for path in bars}
    assert len(bars) == len(tops) == 2
