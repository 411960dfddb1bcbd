"""Penalty on large outputs of the convolutional front end (fairseq `hubert_criterion`)."""

from __future__ import annotations

from speechssl.models.encoder import EncoderOutput
from speechssl.objectives.objective import Objective, ObjectiveOutput, Targets, valid_frames


class FeaturePenalty(Objective):
    """Mean square of the front end's output before its layer norm, over the valid frames.

    Args:
        weight: 10 as published.
    """

    counted_by = "frames"
    metrics = ("feature_penalty",)

    def __init__(self, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, output: EncoderOutput, targets: Targets) -> ObjectiveOutput:
        """Return the mean square over channels, summed over frames."""
        features = output.features.float()
        loss = (features.pow(2).mean(dim=-1) * valid_frames(output)).sum()
        return ObjectiveOutput(loss, {"feature_penalty": (loss.detach(), int(output.lengths.sum()))})
