#!/usr/bin/env bash
# HuBERT and HuBERTopic on speechocean762 (arXiv 2104.01378, openslr.org/101): 5000 English sentences by 250 Mandarin
# speakers, half of them children. Probes of speaker, gender and age; of phones with --timit. One hour on two cores;
# --config recipes/speechocean762/hubertopic/conf/gpu.conf trains a larger model on a GPU.
#
# usage: bash recipes/speechocean762/hubertopic/run.sh --corpus-root DIR [options]
#
#   --corpus-root DIR  the unpacked archive, with WAVE/, train/ and test/
#   --timit DIR        TIMIT, or NLTK's sample of it, for the phone probe (default: no phone probe)
#   --method hubertopic|hubert|both  what to pretrain; hubert leaves the topics out (default both)
#   --minutes M        training time of each encoder (default 30)
#   --seeds N          encoders of each method, with seeds 1 to N (default 1)
#   --exp DIR          folder of all that is made (default exp/speechocean762)
#   --config FILE      more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N          first stage (default 1)
#   --stop-stage N     last stage (default 7)
#   --ngpu G           processes for units and training, one a GPU (default 1)
#
# stages: 1 manifest, 2 units, 3 topics, 4 pretrain, 5 evaluate, 6 export, 7 report
set -euo pipefail

corpus_root=
timit=
method=both
minutes=30.0
seeds=1
exp=
config=
stage=1
stop_stage=7
ngpu=1
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../tools/stages.sh" "$@"

data=$exp/data/speechocean762
units=$exp/units
topics=$exp/topics
probes=()
[ -z "$timit" ] || probes+=("phones_dirs=[$exp/data/timit]")

if stage 1 manifest "$corpus_root $timit" "$exp/data"; then
  command_run manifest corpus=speechocean762 ${corpus_root:+"corpus.audio_dir=$corpus_root"} "out=$data"
  [ -z "$timit" ] || command_run manifest corpus=timit "corpus.audio_dir=$timit" "out=$exp/data/timit"
fi

if stage 2 units "$data" "$units"; then
  command_launch kmeans "manifest=$data/train.tsv" "out=$units"
  command_launch label "manifests=[$data/train.tsv,$data/valid.tsv]" "kmeans=$units" "out=$units"
fi

if [ "$method" != hubert ] && stage 3 topics "$units" "$topics"; then
  command_run topics "units=$units" "data=$data" "out=$topics"
fi

if stage 4 pretrain "$data $units $topics" "$exp/<method>-seed<S>"; then
  pretrain_methods "$data" "$units" "$topics" "schedule.minutes=$minutes"
fi

if stage 5 evaluate "$data $exp/<method>-seed<S>" "$exp/evaluate"; then
  evaluate_methods "$data" "labels_dir=$units" "${probes[@]}"
fi

if stage 6 export "$exp/<method>-seed1" "$exp/export"; then
  export_methods "$data"
fi

if stage 7 report "$exp" "$exp/report.html $exp/RESULTS.md"; then
  command_run report "exp=$exp" title=speechocean762
fi
finish
