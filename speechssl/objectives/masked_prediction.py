"""Masked prediction of frame labels: the loss of HuBERT (arXiv 2106.07447)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.models.encoder import EncoderOutput
from speechssl.objectives.objective import Objective, ObjectiveOutput, Targets, valid_frames


class LabelPredictor(nn.Module):
    """Cosine similarity between projected frames and one embedding a label.

    fairseq and torchaudio build a `(labels + 1, frames, final_dim)` tensor of "negatives" for this. The same loss and
    the same gradients come from one matrix product, in a fraction of the time and memory.

    Args:
        dim: width of the hidden states.
        final_dim: width of the space in which frames and labels meet (256 for Base, 768 for Large).
        labels: number of labels.
        temperature: divides the similarities (0.1 as published).
    """

    def __init__(self, dim: int, final_dim: int, labels: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.projection = nn.Linear(dim, final_dim)
        # fairseq draws them from [0, 1): all point the same way at first. Centred, they are apart from the start.
        self.embeddings = nn.Parameter(torch.randn(labels, final_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits `(frames, labels)` of hidden states `(frames, dim)`, in float32."""
        # Similarities are divided by 0.1: in bf16 their rounding would be visible in the loss.
        with torch.autocast(frames.device.type, enabled=False):
            projected = F.normalize(self.projection(frames.float()), dim=-1)
            return projected @ F.normalize(self.embeddings.float(), dim=-1).T / self.temperature


class MaskedPrediction(Objective):
    """Cross-entropy of the frame labels at masked frames.

    Args:
        dim: width of the encoder's hidden states.
        final_dim: see :class:`LabelPredictor`.
        labels: number of labels of each label set.
        layers: hidden states the loss is taken at, as indices into `EncoderOutput.hidden_states`; the losses of all
            layers and label sets are summed.
        temperature: see :class:`LabelPredictor`.
        unmasked_weight: weight of the frames that are not masked (fairseq's `pred_nomask_weight`). With 0, the
            published value, the sum is over masked frames; else it is over all frames, as in fairseq.

    The metrics are `masked_loss` (in nats) and `masked_accuracy` of the first label set at the last of `layers`, and
    `masked_loss_set<S>_layer<L>` for the others.
    """

    weight = 1.0

    def __init__(
        self,
        dim: int,
        final_dim: int,
        labels: list[int],
        layers: list[int],
        temperature: float = 0.1,
        unmasked_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.counted_by = "frames" if unmasked_weight > 0 else "masked"
        self.unmasked_weight = unmasked_weight
        self.layers = layers
        self.predictors = nn.ModuleDict(
            {
                self.key(label_set, layer): LabelPredictor(dim, final_dim, number, temperature)
                for label_set, number in enumerate(labels)
                for layer in layers
            }
        )
        others = [(s, layer) for layer in layers for s in range(len(labels)) if (s, layer) != (0, layers[-1])]
        self.metrics = ["masked_loss", "masked_accuracy", *(f"masked_loss_set{s}_layer{layer}" for s, layer in others)]

    @staticmethod
    def key(label_set: int, layer: int) -> str:
        """Return the name of a predictor in `predictors`."""
        return f"set{label_set}_layer{layer}"

    def forward(self, output: EncoderOutput, targets: Targets) -> ObjectiveOutput:
        """Return the cross-entropy summed over frames, layers and label sets."""
        total = output.hidden_states[-1].new_zeros((), dtype=torch.float32)
        # Looked up once: each time a GPU would be waited for.
        masked = _places(targets.mask)
        unmasked = _places(valid_frames(output) & ~targets.mask) if self.unmasked_weight > 0 else None
        metrics: dict[str, tuple[Tensor, int]] = {}
        for layer in self.layers:
            hidden = output.hidden_states[layer].flatten(0, 1)
            hidden_masked = hidden.index_select(0, masked)
            for label_set, labels in enumerate(targets.labels):
                predictor = self.predictors[self.key(label_set, layer)]
                expected = labels.flatten().index_select(0, masked)
                logits = predictor(hidden_masked)
                loss = F.cross_entropy(logits, expected, reduction="sum")
                total = total + loss
                if unmasked is not None:
                    seen = predictor(hidden.index_select(0, unmasked))
                    visible = F.cross_entropy(seen, labels.flatten().index_select(0, unmasked), reduction="sum")
                    total = total + self.unmasked_weight * visible
                if label_set == 0 and layer == self.layers[-1]:
                    correct = (logits.argmax(dim=-1) == expected).sum()
                    metrics["masked_loss"] = (loss.detach(), len(expected))
                    metrics["masked_accuracy"] = (correct, len(expected))
                else:
                    metrics[f"masked_loss_set{label_set}_layer{layer}"] = (loss.detach(), len(expected))
        return ObjectiveOutput(total, metrics)


def _places(mask: Tensor) -> Tensor:
    """Return where `(batch, frames)` is true, as indices of its frames one after the other."""
    return mask.flatten().nonzero()[:, 0]
