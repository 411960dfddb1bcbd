"""`speechssl cluster`."""

from __future__ import annotations

from speechssl.cli.command import Command
from speechssl.clusters.settings import ClusterSettings
from speechssl.clusters.stage import cluster_inputs, cluster_outputs, run_cluster
from speechssl.data.manifest import unwatched_audio

COMMAND = Command(
    name="cluster",
    summary="cluster whole recordings by what an encoder makes of them: pseudo-labels for `speechssl distill`",
    settings=ClusterSettings,
    run=run_cluster,
    keeps_memory=True,
    examples=(
        "manifests=[data/esc50/train.tsv,data/esc50/valid.tsv] encoder=exp/decar k=50 out=exp/clusters",
        "manifests=[data/birds/train.tsv] encoder=exp/decar out=exp/clusters",
    ),
    inputs=cluster_inputs,
    outputs=cluster_outputs,
    audio=lambda settings: unwatched_audio(*settings.manifests),
)
