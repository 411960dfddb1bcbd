"""RankMe: how many dimensions the hidden states of a layer fill."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from speechssl.evaluation.extract import Hidden, Request
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.probes.tasks import Score
from speechssl.evaluation.recordings import Recording
from speechssl.models.encoder import Encoder
from speechssl.objectives.collapse import rank_me


class RankTask:
    """RankMe of every layer on frames of the data folder."""

    name = "rankme"

    def __init__(self, recordings: list[Recording], settings: EvaluateSettings) -> None:
        self._recordings = recordings
        self._frames = -(-settings.rank_frames // len(recordings))
        self.description: dict[str, Any] = {
            "metric": "RankMe",
            "better": "",
            "kind": "frames",
            "frames_a_recording": self._frames,
        }

    def requests(self) -> Iterable[Request]:
        """As many frames of each recording."""
        return (Request(recording, rank_frames=self._frames) for recording in self._recordings)

    def score(self, hidden: Hidden, encoder: Encoder) -> Score:
        """Return RankMe of every layer; that of the last layer is the value."""
        assert hidden.gram is not None
        layers = [rank_me(gram) for gram in hidden.gram]
        return Score(layers=layers, value=layers[-1], details={"frames": hidden.gram_frames})
