"""`speechssl label`."""

from speechssl.cli.command import Command
from speechssl.data.manifest import unwatched_audio
from speechssl.units.label import LabelSettings, label_inputs, label_outputs, run_label

COMMAND = Command(
    name="label",
    summary="Turn audio into one unit a frame with a fitted k-means, and say how good the units are.",
    settings=LabelSettings,
    run=run_label,
    examples=(
        "manifests=[data/mini/train.tsv,data/mini/valid.tsv] kmeans=exp/units out=exp/units",
        "manifests=[data/mini/test.tsv] kmeans=exp/units out=exp/units device=cpu threads=4",
    ),
    inputs=label_inputs,
    outputs=label_outputs,
    audio=lambda settings: unwatched_audio(*settings.manifests),
)
