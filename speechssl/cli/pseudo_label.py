"""`speechssl pseudo_label`."""

from speechssl.cli.command import Command
from speechssl.data.manifest import unwatched_audio
from speechssl.training.clips.pseudo_labels import pseudo_label, pseudo_label_inputs, pseudo_label_outputs
from speechssl.training.clips.settings import PseudoLabelSettings

COMMAND = Command(
    name="pseudo_label",
    summary="label a target's unlabelled recordings by a fine-tuned classifier, where its nearest neighbours agree",
    settings=PseudoLabelSettings,
    run=pseudo_label,
    keeps_memory=True,
    examples=(
        "classifier=exp/birds manifest=data/birds/train.tsv out=exp/birds-pseudo",
        "classifier=exp/birds manifest=data/birds/train.tsv confidence=0.9 neighbours=15 out=exp/birds-pseudo",
    ),
    inputs=pseudo_label_inputs,
    outputs=pseudo_label_outputs,
    audio=lambda settings: unwatched_audio(settings.manifest),
)
