#!/usr/bin/env bash
# UnFuSeD (arXiv 2303.05668): pretrain an encoder of clips on unlabelled audio, cluster the target task's recordings,
# distil a fresh encoder on the clusters, and measure both with few and with all labels. By default the target is the
# language of telephone prompts, with test voices that no training hears, from Debian packages. Does its own set-up.
#
# usage: bash recipes/lape/unfused/run.sh [options]
#
#   --audio-dir DIR    unlabelled audio to pretrain on (default: the target's recordings without those that are tested)
#   --task NAME        the target: a task of configs/task, or folder: your own, see docs/recipes.md (default asterisk_languages)
#   --corpus NAME      the target's corpus, as `speechssl manifest` names it (default asterisk_languages)
#   --corpus-root DIR  the target's data set, where it is not downloaded
#   --objective NAME   what is pretrained: decar, decar_mini, barlow_twins, moco ... (default decar_mini)
#   --clusters K       pseudo-labels of the target (default 0: as many as the silhouette says)
#   --minutes M        training time of the pretraining, and of the distillation (default 4)
#   --epochs N         of fine-tuning (default 10; 100 as published)
#   --seeds N          encoders with seeds 1 to N (default 1)
#   --exp DIR          folder of all that is made (default exp/lape, or exp/<name of the audio folder>)
#   --config FILE      more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N          first stage (default 1)
#   --stop-stage N     last stage (default 7)
#   --ngpu G           processes for training, one a GPU (default 1)
#
# stages: 1 manifest, 2 pretrain, 3 cluster, 4 distill, 5 evaluate, 6 finetune, 7 report
set -euo pipefail

audio_dir=
task=asterisk_languages
corpus=asterisk_languages
corpus_root=
objective=decar_mini
clusters=0
minutes=4.0
epochs=10
seeds=1
exp=
config=
stage=1
stop_stage=7
ngpu=1
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../tools/stages.sh" "$@"

target=$exp/data/$task
# What may be heard before the evaluation: where every fold is tested in turn, that is all.
heard=$exp/data/${task}_heard
unlabelled=$heard
[ -z "$audio_dir" ] || unlabelled=$exp/data/unlabelled

if stage 1 manifest "${corpus_root:-$corpus} $audio_dir" "$exp/data"; then
  command_run manifest "corpus=$corpus" ${corpus_root:+"corpus.audio_dir=$corpus_root"} "out=$target"
  command_run training_part "task=$task" "data_dir=$target" "out=$heard"
  [ -z "$audio_dir" ] || command_run manifest corpus=folder "corpus.audio_dir=$audio_dir" "out=$unlabelled"
fi

# Held-out prompts have a language, by which neighbours are watched; no training looks at it.
watched=()
if [ -z "$audio_dir" ] && [ "$task" = asterisk_languages ]; then watched=(watch_column=language); fi

if stage 2 pretrain "$unlabelled" "$exp/pretrained-seed<S>"; then
  for seed in $(seq 1 "$seeds"); do
    command_launch pretrain_clips "data.train=$unlabelled/train.tsv" "data.valid=$unlabelled/valid.tsv" "${watched[@]}" \
      "objective=$objective" "schedule.minutes=$minutes" "seed=$seed" "out=$exp/pretrained-seed$seed"
  done
fi

if stage 3 cluster "$heard $exp/pretrained-seed<S>" "$exp/clusters-seed<S>"; then
  for seed in $(seq 1 "$seeds"); do
    command_run cluster "manifests=[$heard/train.tsv,$heard/valid.tsv]" "encoder=$exp/pretrained-seed$seed" \
      "k=${clusters/#0/null}" "seed=$seed" "out=$exp/clusters-seed$seed"
  done
fi

if stage 4 distill "$heard $exp/clusters-seed<S>" "$exp/unfused-seed<S>"; then
  for seed in $(seq 1 "$seeds"); do
    command_launch distill "data.train=$heard/train.tsv" "data.valid=$heard/valid.tsv" \
      "clusters=$exp/clusters-seed$seed" schedule.epochs=null "schedule.minutes=$minutes" "seed=$seed" \
      "out=$exp/unfused-seed$seed"
  done
fi

rows=
for row in pretrained unfused; do
  rows+=${rows:+,}$row:[$(seq -s, -f "$exp/$row-seed%g" 1 "$seeds")]
done
lape=(benchmark=lape "task=$task" "data_dir=$target" "encoders={$rows}" "out_dir=$exp/lape")

if stage 5 evaluate "$target $exp/pretrained-seed<S> $exp/unfused-seed<S>" "$exp/lape"; then
  without='^finetune[.]' command_run evaluate "${lape[@]}" "lr=[1e-3,1e-2,1e-1]"
fi

if stage 6 finetune "$target $exp/pretrained-seed<S> $exp/unfused-seed<S>" "$exp/lape"; then
  command_launch evaluate "${lape[@]}" mode=finetune "epochs=$epochs" "seeds=[1]"
fi

if stage 7 report "$exp" "$exp/report.html $exp/RESULTS.md"; then
  command_run report "exp=$exp"
fi
finish
