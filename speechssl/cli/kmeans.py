"""`speechssl kmeans`."""

from speechssl.cli.command import Command
from speechssl.data.manifest import unwatched_audio
from speechssl.units.fit import KMeansSettings, kmeans_inputs, kmeans_outputs, run_kmeans

COMMAND = Command(
    name="kmeans",
    summary="Fit k-means on MFCC or an encoder layer, streamed from the audio of a manifest.",
    settings=KMeansSettings,
    run=run_kmeans,
    examples=(
        "manifest=data/mini/train.tsv out=exp/units",
        "manifest=data/mini/train.tsv out=exp/units2 features=encoder features.encoder=exp/mini/hubert-seed1 k=500",
        "manifest=data/mini/train.tsv out=exp/units fraction=1 memory_megabytes=4096 seed=1",
    ),
    inputs=kmeans_inputs,
    outputs=kmeans_outputs,
    audio=lambda settings: unwatched_audio(settings.manifest),
)
