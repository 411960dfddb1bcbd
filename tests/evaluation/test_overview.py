"""The tables of several tasks."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.report.reading import read_benchmark
from tests.evaluation.superb.made_up import task_results


def leave(folder: Path, name: str, sources: list[str]) -> None:
    """Write the results of a task with one encoder."""
    results = task_results(name, {"mine": {"accuracy": 0.5}})
    results["encoders"][0]["sources"] = sources
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "results.json").write_text(json.dumps(results))


def test_a_row_that_is_another_encoder_in_another_task_is_told(tmp_path: Path) -> None:
    leave(tmp_path, "ks", ["exp/a"])
    leave(tmp_path, "sid", ["exp/a"])
    OVERVIEW.write(tmp_path)
    assert "Not the same encoders" not in (tmp_path / "results.md").read_text()
    leave(tmp_path, "ks", ["exp/a", "exp/b"])
    leave(tmp_path, "sid", ["exp/b", "exp/a"])
    OVERVIEW.write(tmp_path)
    assert "Not the same encoders" not in (tmp_path / "results.md").read_text()
    leave(tmp_path, "sid", ["exp/b"])
    OVERVIEW.write(tmp_path)
    assert "Not the same encoders in all tasks: mine." in (tmp_path / "results.md").read_text()


def test_other_weights_of_one_name_are_told(tmp_path: Path) -> None:
    for name, identities in (("ks", {"exp/a": "1"}), ("sid", {"exp/a": "2"}), ("ic", None)):
        leave(tmp_path, name, ["exp/a"])
        file = tmp_path / name / "results.json"
        results = json.loads(file.read_text())
        if identities is not None:  # as results of earlier versions are
            results["encoders"][0]["identities"] = identities
        file.write_text(json.dumps(results))
    OVERVIEW.write(tmp_path)
    told = "Not the same encoders in all tasks: mine (other weights in exp/a)."
    assert told in (tmp_path / "results.md").read_text()


def test_what_failed_or_is_missing_is_told_until_that_task_is_made(tmp_path: Path) -> None:
    def told() -> tuple[set[str], list[str]]:
        found = json.loads((tmp_path / "results.json").read_text())
        return set(found["tasks"]), [item["what"] for item in found["left_out"]]

    for name in ("ks", "sid"):
        leave(tmp_path, name, ["exp/a"])
    missing = [{"what": "asr", "reason": "no folder"}, {"what": "sid", "reason": "failed: broken"}]
    OVERVIEW.write(tmp_path, ["ks", "sid"], missing, ["sid"])
    assert told() == ({"ks"}, ["asr", "sid"])
    OVERVIEW.write(tmp_path, ["ks"])
    OVERVIEW.refresh(tmp_path, tmp_path / "ks")
    assert told() == ({"ks"}, ["asr", "sid"])
    assert "left out: sid: failed: broken" in (tmp_path / "results.md").read_text()
    assert [each["task"]["name"] for each in read_benchmark(tmp_path, "superb").tasks] == ["ks"]
    OVERVIEW.write(tmp_path, ["sid/inner"])
    assert told() == ({"ks"}, ["asr", "sid"])
    OVERVIEW.refresh(tmp_path, tmp_path / "sid")
    assert told() == ({"ks", "sid"}, ["asr"])
    OVERVIEW.write(tmp_path, ["ks", "sid"], [])
    assert told() == ({"ks", "sid"}, [])


def test_of_two_commands_that_end_together_the_later_table_has_both_tasks(tmp_path: Path, monkeypatch) -> None:
    leave(tmp_path, "ks", ["exp/a"])
    drawing, go_on = threading.Event(), threading.Event()
    draw = OVERVIEW.draw

    def slow(folder: Path, tasks: list) -> None:
        if not drawing.is_set():
            drawing.set()
            assert go_on.wait(30)
        draw(folder, tasks)

    monkeypatch.setitem(OVERVIEW.__dict__, "draw", slow)
    first = threading.Thread(target=OVERVIEW.write, args=(tmp_path,))
    first.start()
    assert drawing.wait(30)
    leave(tmp_path, "sid", ["exp/a"])
    second = threading.Thread(target=OVERVIEW.write, args=(tmp_path,))
    second.start()
    second.join(0.5)
    assert second.is_alive(), "it waits for the first"
    go_on.set()
    first.join()
    second.join()
    assert set(json.loads((tmp_path / "results.json").read_text())["tasks"]) == {"ks", "sid"}
