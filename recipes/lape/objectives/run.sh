#!/usr/bin/env bash
# Which objective suits your audio? Every objective over views pretrains an encoder of clips on the same unlabelled audio, for
# every task a fresh encoder is distilled after one of them (UnFuSeD, arXiv 2303.05668), and all are measured in all tasks
# with few and with all labels: frozen, with a linear head, and fine-tuned. Does its own set-up.
#
# usage: bash recipes/lape/objectives/run.sh [options]
#
#   --audio-dir DIR    unlabelled audio to pretrain on (default: telephone prompts in five languages, from Debian packages)
#   --tasks FILE       what is measured, a task a line, as in conf/tasks.txt (default that one: the language of a prompt)
#   --objectives LIST  names with commas between (default decar_mini,barlow_twins,mixed_barlow_twins,moco,delores_m,slicer,simclr,cola,byol)
#   --epochs N         passes over the unlabelled audio (default 1)
#   --teacher NAME     the objective whose clusters UnFuSeD distils (default decar_mini)
#   --finetuned LIST   which of them are fine-tuned too; random is from scratch (default decar_mini,unfused)
#   --finetune-epochs N  passes over the labelled clips of fine-tuning (default 100, as published)
#   --encoders LIST    more rows, frozen only: 'NAME: [FOLDER, FOLDER], NAME: FOLDER', from the project's root
#   --seeds N          encoders of each objective, with seeds 1 to N (default 1)
#   --exp DIR          folder of all that is made (default exp/objectives)
#   --config FILE      more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N          first stage (default 1)
#   --stop-stage N     last stage (default 6)
#   --ngpu G           processes for training, one a GPU (default 1)
#
# stages: 1 manifest, 2 pretrain, 3 distill, 4 evaluate, 5 finetune, 6 report
set -euo pipefail

audio_dir=
tasks=
objectives=decar_mini,barlow_twins,mixed_barlow_twins,moco,delores_m,slicer,simclr,cola,byol
epochs=1
teacher=decar_mini
finetuned=decar_mini,unfused
finetune_epochs=100
encoders=
seeds=1
exp=exp/objectives
config=
stage=1
stop_stage=6
ngpu=1
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../tools/stages.sh" "$@"

tasks=${tasks:-$recipe/conf/tasks.txt}
[[ ,$objectives, == *,$teacher,* ]] || stages_fail "--teacher $teacher is not one of --objectives $objectives"
unlabelled=$exp/data/unlabelled
names=$(conf_words "$tasks" | sed '/^$/d; s/[[:space:]].*//')

# words TASK PATTERN: the settings in a task's line that match.
words() { conf_lines "$1" "$tasks" | tr -s '[:space:]' '\n' | awk "/$2/"; }

for task in $names; do
  unknown=$(words "$task" . | awk '!/^(corpus[.=]|task[.=]|k=)/ { print; exit }')
  [ -z "$unknown" ] || stages_fail "--tasks $tasks, $task: '$unknown' begins with none of corpus, task and k"
done

# rows TASK NAME,NAME: the encoders of these objectives, of every seed; those of unfused are the task's.
rows() {
  local name folder found=
  for name in ${2//,/ }; do
    folder=$exp/$name
    [ "$name" != unfused ] || folder=$exp/unfused/$1
    found+=${found:+,}$name:[$(seq -s, -f "$folder-seed%g" 1 "$seeds")]
  done
  echo "$found"
}

if stage 1 manifest "${audio_dir:-asterisk_languages} $tasks" "$exp/data"; then
  if [ -n "$audio_dir" ]; then
    command_run manifest corpus=folder "corpus.audio_dir=$audio_dir" "out=$unlabelled"
  else
    command_run manifest corpus=asterisk_languages "out=$unlabelled"
  fi
  for task in $names; do
    mapfile -t corpus < <(words "$task" ^corpus)
    command_run manifest "${corpus[@]}" "out=$exp/data/$task"
    mapfile -t settings < <(words "$task" ^task)
    command_run training_part "${settings[@]}" "data_dir=$exp/data/$task" "out=$exp/data/${task}_heard"
  done
fi

if stage 2 pretrain "$unlabelled" "$exp/<OBJECTIVE>-seed<S>"; then
  for seed in $(seq 1 "$seeds"); do
    for objective in ${objectives//,/ }; do
      words=("objective=$objective" "schedule.epochs=$epochs")
      # Held-out prompts have a language, by which neighbours are watched; no training looks at it.
      [ -n "$audio_dir" ] || words+=(watch_column=language)
      [ "$objective" != cola ] || words+=(crops=different)
      command_launch pretrain_clips "data.train=$unlabelled/train.tsv" "data.valid=$unlabelled/valid.tsv" "${words[@]}" \
        "seed=$seed" "out=$exp/$objective-seed$seed"
    done
  done
fi

if stage 3 distill "$exp/data $exp/$teacher-seed<S>" "$exp/unfused/<TASK>-seed<S>"; then
  for task in $names; do
    data=$exp/data/${task}_heard
    clusters=$exp/clusters/$task
    mapfile -t k < <(words "$task" ^k=)
    for seed in $(seq 1 "$seeds"); do
      command_run cluster "manifests=[$data/train.tsv,$data/valid.tsv]" "encoder=$exp/$teacher-seed$seed" "${k[@]}" \
        "seed=$seed" "out=$clusters-seed$seed"
      command_launch distill "data.train=$data/train.tsv" "data.valid=$data/valid.tsv" "clusters=$clusters-seed$seed" \
        "seed=$seed" "out=$exp/unfused/$task-seed$seed"
    done
  done
fi

# measure COMMAND TASK NAME,NAME key=value ...: these encoders in one task.
measure() {
  local command=$1 task=$2 names=$3 words
  shift 3
  mapfile -t words < <(words "$task" ^task)
  "$command" evaluate benchmark=lape "${words[@]}" "data_dir=$exp/data/$task" "out_dir=$exp/lape" "$@" \
    "encoders={$(rows "$task" "$names")${extra:+,}${extra:-}}"
}

if stage 4 evaluate "$exp/data $exp/<OBJECTIVE>-seed<S> $exp/unfused" "$exp/lape"; then
  for task in $names; do extra=$encoders without='^finetune[.]' measure command_run "$task" "$objectives,unfused" "lr=[1e-3,1e-2,1e-1]"; done
fi

if stage 5 finetune "$exp/data $exp/<OBJECTIVE>-seed<S> $exp/unfused" "$exp/lape"; then
  for task in $names; do measure command_launch "$task" "$finetuned" mode=finetune "epochs=$finetune_epochs" "seeds=[1]"; done
fi

if stage 6 report "$exp" "$exp/report.html $exp/RESULTS.md"; then
  command_run report "exp=$exp"
fi
finish
