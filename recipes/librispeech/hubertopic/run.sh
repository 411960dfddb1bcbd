#!/usr/bin/env bash
# HuBERT and HuBERTopic on LibriSpeech's 960 hours, in two iterations with HuBERT's published settings (arXiv
# 2106.07447), but for the frames that k-means is fitted on; what HuBERTopic's paper (2310.03975) leaves open is this project's choice. Iteration 1 is HuBERT on MFCC
# units (k = 100, 250 k updates). Iteration 2 starts again from scratch on units of its layer 6 (k = 500, 400 k
# updates), with their topics as an auxiliary task. For GPUs: 32 as published; fewer accumulate to the same batch.
# slurm.sh beside this file is for several machines.
#
# usage: bash recipes/librispeech/hubertopic/run.sh [options]
#
#   --corpus-root DIR  LibriSpeech as unpacked, with SPEAKERS.TXT (default: it is downloaded, 60 GB, and checked)
#   --timit DIR        TIMIT, or NLTK's sample of it, for the phone probe (default: no phone probe)
#   --method hubertopic|hubert|both  the second iteration; hubert leaves the topics out (default hubertopic)
#   --steps1 N         updates of iteration 1 (default 250000)
#   --steps2 N         updates of iteration 2 (default 400000)
#   --seeds N          encoders of each method in iteration 2, with seeds 1 to N (default 1)
#   --exp DIR          folder of all that is made (default exp/librispeech)
#   --config FILE      more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N          first stage (default 1)
#   --stop-stage N     last stage (default 9)
#   --ngpu G           processes for units and training, one a GPU (default 1)
#
# stages: 1 manifest, 2 units1, 3 pretrain1, 4 units2, 5 topics, 6 pretrain2, 7 evaluate, 8 export, 9 report
set -euo pipefail

corpus_root=
timit=
method=hubertopic
steps1=250000
steps2=400000
seeds=1
exp=
config=
stage=1
stop_stage=9
ngpu=1
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../tools/stages.sh" "$@"

data=$exp/data/librispeech
first=$exp/iteration1
units=$exp/units
topics=$exp/topics
splits="[$data/train.tsv,$data/valid.tsv]"
probes=()
[ -z "$timit" ] || probes+=("phones_dirs=[$exp/data/timit]")

if stage 1 manifest "${corpus_root:-openslr.org/12} $timit" "$exp/data"; then
  command_run manifest corpus=librispeech ${corpus_root:+"corpus.audio_dir=$corpus_root"} "out=$data"
  [ -z "$timit" ] || command_run manifest corpus=timit "corpus.audio_dir=$timit" "out=$exp/data/timit"
fi

if stage 2 units1 "$data" "$first/units"; then
  command_launch kmeans "manifest=$data/train.tsv" features=mfcc k=100 "out=$first/units"
  command_launch label "manifests=$splits" "kmeans=$first/units" "out=$first/units"
fi

if stage 3 pretrain1 "$data $first/units" "$first/hubert-seed1"; then
  exp=$first seeds=1 methods=hubert pretrain_methods "$data" "$first/units" "" "schedule.steps=$steps1"
fi

if stage 4 units2 "$data $first/hubert-seed1" "$units"; then
  command_launch kmeans "manifest=$data/train.tsv" features=encoder "features.encoder=$first/hubert-seed1" \
    features.layer=6 k=500 "out=$units"
  command_launch label "manifests=$splits" "kmeans=$units" "out=$units"
fi

if [ "$method" != hubert ] && stage 5 topics "$units" "$topics"; then
  command_run topics "units=$units" "data=$data" "out=$topics"
fi

if stage 6 pretrain2 "$data $units $topics" "$exp/<method>-seed<S>"; then
  pretrain_methods "$data" "$units" "$topics" "schedule.steps=$steps2"
fi

if stage 7 evaluate "$data $exp/<method>-seed<S>" "$exp/evaluate"; then
  evaluate_methods "$data" "labels_dir=$units" "${probes[@]}"
fi

if stage 8 export "$exp/<method>-seed1" "$exp/export"; then
  export_methods "$data"
fi

if stage 9 report "$exp" "$exp/report.html $exp/RESULTS.md $first/report.html"; then
  command_run report "exp=$first" "title=LibriSpeech, iteration 1"
  command_run report "exp=$exp" title=LibriSpeech
fi
finish
