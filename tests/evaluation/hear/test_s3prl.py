"""Our network, scores and events beside those of s3prl, which took them from hear-eval-kit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.evaluation.hear.data import read_metadata, read_task
from speechssl.evaluation.hear.events import Postprocessing, find_events, frame_times
from speechssl.evaluation.hear.heads import HeadOptions, Point, loss_of, new_head
from speechssl.evaluation.hear.metrics import event_scores
from speechssl.evaluation.hear.tasks import SceneTask
from speechssl.s3prl_patches import guarded_s3prl

with guarded_s3prl():
    from s3prl.dataio.encoder.category import CategoryEncoder
    from s3prl.nn.hear import HearFullyConnectedPrediction
    from s3prl.task._hear_score import available_scores
    from s3prl.task.event_prediction import create_events_from_prediction
    from s3prl.task.scene_prediction import ScenePredictionTask

OPTIONS = HeadOptions(False, 6, 0.1, 16, 1, 1, 1, torch.device("cpu"))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_network_begins_as_s3prls(layers: int) -> None:
    torch.manual_seed(4)
    ours = new_head(5, 3, Point(layers, 0.1), OPTIONS).state_dict()
    torch.manual_seed(4)
    theirs = HearFullyConnectedPrediction(5, 3, hidden_size=6, hidden_layers=layers).state_dict()
    assert [value.tolist() for value in ours.values()] == [value.tolist() for value in theirs.values()]


@pytest.mark.parametrize("folder", ["tones-v1-full", "chords-v1-full"])
def test_a_scene_task_gives_the_numbers_of_s3prl(tasks: Path, folder: str) -> None:
    """Any features do, and a network that has learnt nothing: the numbers are then far from 0 and 1."""
    data = read_task(read_metadata(tasks / folder))
    names, kind = data.metadata.scores, "multilabel" if data.metadata.multilabel else "multiclass"
    features = torch.randn(len(data.recordings), 5, generator=torch.Generator().manual_seed(1))
    theirs = HearFullyConnectedPrediction(5, len(data.classes), hidden_size=6, hidden_layers=1).eval()
    ours = new_head(5, len(data.classes), Point(1, 0.1), OPTIONS).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    tested = data.divisions[0].test
    task = SceneTask(data, features)
    logits = ours(features[task.rows(tested)]).detach()
    scores = task.scores(logits, tested, None)

    reference = ScenePredictionTask(theirs, CategoryEncoder(data.classes), kind, names)
    with torch.no_grad():
        loss, cached = reference.forward(
            "test", features[tested], torch.ones(len(tested)), task.targets(tested), None, "x"
        )
    expected = reference.reduction("test", [cached])
    assert float(loss_of(logits, task.targets(tested), data.metadata.multilabel)) == pytest.approx(float(loss))
    assert 0 < scores[names[0]] < 1
    assert scores == pytest.approx({name: expected[name] for name in names})


def test_events_and_their_scores_are_those_of_s3prl(tasks: Path) -> None:
    data = read_task(read_metadata(tasks / "beeps-v1-full"))
    clips, how = data.divisions[0].test, Postprocessing(250, 125)
    random, times = np.random.default_rng(3), frame_times(200, 50.0)
    names = data.metadata.scores
    found, theirs, truth = [], {}, {}
    for clip in clips:
        # Slow noise crosses a half often enough for events of any length.
        probabilities = np.clip(0.5 + 0.1 * np.cumsum(random.standard_normal((200, 2)), axis=0), 0, 1)
        probabilities = probabilities.astype(np.float32)
        found.append(find_events(probabilities, times, how))
        by_time = dict(zip(times.tolist(), torch.from_numpy(probabilities), strict=True))
        theirs[str(clip)] = create_events_from_prediction(by_time, dict(enumerate(data.classes)), 0.5, *how)
        truth[str(clip)] = [{"label": data.classes[e.label], "start": e.start, "end": e.end} for e in data.labels[clip]]
    listed = [
        [{"label": data.classes[e.label], "start": e.start, "end": e.end} for e in sorted(part, key=lambda e: e.start)]
        for part in found
    ]
    assert [len(part) for part in listed] != [0, 0]
    assert listed == list(theirs.values())
    scores = event_scores(names, found, [data.labels[clip] for clip in clips], len(data.classes))
    index = {name: number for number, name in enumerate(data.classes)}
    for name in names:
        expected = available_scores[name](label_to_idx=index)(theirs, truth)[0][1]
        assert scores[name] == pytest.approx(expected)
