"""An encoder with a linear classifier: what fine-tuning trains and keeps."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.files import read_json
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder, read_tensors
from speechssl.objectives.label_augmentation import LabelAugmentation
from speechssl.training.clips.reader import ClipBatch
from speechssl.training.trainable import Metrics

BEST = "best"
"""Folder of the encoder and classifier of the validation with the highest accuracy."""


class Classifier(nn.Module):
    """An encoder with a linear classifier.

    Args:
        encoder: learns too.
        classes: number of classes.
        augmentation: of the labels, in training; the classifier alone predicts.
    """

    def __init__(
        self, encoder: HubertEncoder | ClipEncoder, classes: int, augmentation: LabelAugmentation | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, classes)
        self.augmentation = augmentation

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss: cross-entropy, or in training with augmented labels theirs.

        The metrics are `loss` and `accuracy` of the classifier, and those of the augmentation.
        """
        assert batch.labels is not None
        waveforms, count = batch.waveforms[0], len(batch.labels)
        augmented: Metrics = {}
        if self.augmentation is not None and self.training:
            pooled = self.pooled(self.augmentation.see(waveforms))
            logits = self.classify(pooled[:count])
            loss, augmented = self.augmentation(pooled, logits, batch.labels)
        else:
            logits = self.logits(waveforms)
            loss = F.cross_entropy(logits, batch.labels)
        correct = (logits.argmax(dim=1) == batch.labels).sum()
        return loss, {"loss": (loss.detach() * count, count), "accuracy": (correct, count), **augmented}

    def pooled(self, waveforms: Tensor) -> Tensor:
        """Return `(batch, dim)`: what the encoder makes of clips `(batch, samples)`."""
        return self.encoder.pool(self.encoder(waveforms))

    def classify(self, pooled: Tensor) -> Tensor:
        """Return `(batch, classes)` logits in float32 of what the encoder pooled."""
        logits: Tensor = self.classifier(pooled)
        return logits.float()

    def logits(self, waveforms: Tensor) -> Tensor:
        """Return `(batch, classes)` logits in float32 of clips `(batch, samples)`."""
        return self.classify(self.pooled(waveforms))


def load_classifier(folder: Path) -> tuple[Classifier, list[str]]:
    """Return the model of a run's `best/`, in evaluation mode on the CPU, and the names of its classes.

    Raises:
        UserError: they are not there, or not whole.
    """
    classes = read_json(folder / "best.json")["classes"]
    model = Classifier(require_tunable(load_encoder(folder), str(folder)), len(classes))
    model.classifier.load_state_dict(read_tensors(folder / "classifier.safetensors"))
    return model.eval(), classes


def require_tunable(encoder: Encoder, name: str) -> HubertEncoder | ClipEncoder:
    """Return `encoder` if it is of a kind that can be trained, else raise a `UserError` with its name."""
    if not isinstance(encoder, HubertEncoder | ClipEncoder):
        raise UserError(f"{name} cannot be fine-tuned: it is a {type(encoder).__name__}")
    return encoder
