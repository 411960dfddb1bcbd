"""Topic prediction: the auxiliary task of HuBERTopic (arXiv 2310.03975)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.models.encoder import EncoderOutput
from speechssl.objectives.objective import Objective, ObjectiveOutput, Targets, valid_frames

Pool = Literal["mean", "cls"]
TargetKind = Literal["soft", "hard"]


class TopicPrediction(Objective):
    """Cross-entropy between one prediction an utterance and its topics.

    The paper does not say where the head sits, whether targets are hard or soft, or the weight; each is an argument,
    and the defaults are this project's choice.

    Args:
        dim: width of the encoder's hidden states.
        topics: number of topics.
        layer: hidden state that the head reads, an index into `EncoderOutput.hidden_states` (default: the last).
        pool: `mean` over the valid frames, or the encoder's `cls` frame.
        targets: `soft` posteriors or the `hard` most probable topic.
        weight: weight of the loss, which is a mean over utterances.
    """

    counted_by = "utterances"
    metrics = ("topic_loss", "topic_accuracy")

    def __init__(
        self,
        dim: int,
        topics: int,
        layer: int = -1,
        pool: Pool = "mean",
        targets: TargetKind = "soft",
        weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.pool = pool
        self.targets = targets
        self.weight = weight
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, topics)

    def forward(self, output: EncoderOutput, targets: Targets) -> ObjectiveOutput:
        """Return the cross-entropy summed over utterances."""
        assert targets.topics is not None, "the batch has no topics"
        logits = self.classifier(self.norm(self._pooled(output))).float()
        best = targets.topics.argmax(dim=-1)
        expected = targets.topics if self.targets == "soft" else best
        loss = F.cross_entropy(logits, expected, reduction="sum")
        correct = (logits.argmax(dim=-1) == best).sum()
        count = len(best)
        return ObjectiveOutput(loss, {"topic_loss": (loss.detach(), count), "topic_accuracy": (correct, count)})

    def _pooled(self, output: EncoderOutput) -> Tensor:
        """Return one vector an utterance, `(batch, dim)`, in float32."""
        if self.pool == "cls":
            assert output.cls is not None, "the encoder has no CLS frame"
            return output.cls[self.layer].float()
        hidden = output.hidden_states[self.layer].float()
        return (hidden * valid_frames(output)[..., None]).sum(dim=1) / output.lengths[:, None]
