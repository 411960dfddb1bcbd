#!/usr/bin/env bash
# SUPERB (arXiv 2105.01051): frozen encoders side by side in all tasks whose corpora are there, with the published heads.
# What each task reads is said in docs/superb.md; the first stage says what is missing, and where to get it. As many
# updates as published: `evaluate preset=quick` in a file for --config makes a tenth.
#
# usage: bash recipes/superb/run.sh --corpus-root DIR --encoders 'NAME: FOLDER, NAME: FOLDER' [options]
#
#   --corpus-root DIR  folder with the corpora, each as it is unpacked
#   --data-dir DIR     instead: csv files of a corpus of your own, for one --task
#   --encoders LIST    e.g. 'hubert: exp/mini/hubert-seed1, wavlm: "s3prl:wavlm_local?ckpt=FILE"', from the project's root
#   --task NAME        one task, or all (default all)
#   --seeds N          heads of each encoder, with seeds 1 to N (default 1)
#   --exp DIR          folder of all that is made (default exp/superb)
#   --config FILE      more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N          first stage (default 1)
#   --stop-stage N     last stage (default 2)
#
# stages: 1 check, 2 evaluate
set -euo pipefail

corpus_root=
data_dir=
encoders=
task=all
seeds=1
exp=exp/superb
config=
stage=1
stop_stage=2
readonly needs="1:corpus_root/data_dir 2:corpus_root/data_dir 2:encoders"
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/stages.sh" "$@"

superb=(benchmark=superb "task=$task")
[ -z "$corpus_root" ] || superb+=("corpus_dir=$corpus_root")
[ -z "$data_dir" ] || superb+=("data_dir=$data_dir")
if [ "$task" = qbe ]; then
  # It trains nothing, and refuses settings of training.
  without='^(labels|preset|steps|check_every|batch_size|lr|seeds|head_width|head_bf16)='
fi

if stage 1 check "$corpus_root$data_dir" "nothing"; then
  command_run evaluate "${superb[@]}" check=true
fi

if stage 2 evaluate "$corpus_root$data_dir" "$exp/results.md"; then
  command_run evaluate "${superb[@]}" "encoders={$encoders}" "seeds=[$(seq -s, 1 "$seeds")]" "out_dir=$exp" \
    "cache_dir=$exp/cache"
fi

finish
