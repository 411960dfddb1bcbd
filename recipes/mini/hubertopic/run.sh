#!/usr/bin/env bash
# From recordings without labels to an encoder, its probes and a report, on two cores in a quarter of an hour.
# The default corpus is real speech in five languages from Debian packages (asterisk-core-sounds-*); --audio-dir
# takes any folder of audio instead. Does its own set-up. What is finished and unchanged is not done again.
#
# usage: bash recipes/mini/hubertopic/run.sh [options]
#
#   --audio-dir DIR  audio of your own: wav, flac, ogg, opus, mp3; any rate; mono or not
#   --metadata FILE  labels of that audio: a column `path` and any others, with tabs between them, or commas in a .csv
#                    (default: metadata.tsv, manifest.tsv or metadata.csv in DIR)
#   --method hubertopic|hubert|both  what to pretrain; hubert leaves the topics out (default both)
#   --minutes M      training time of each encoder (default 4)
#   --seeds N        encoders of each method, with seeds 1 to N (default 1)
#   --exp DIR        folder of all that is made (default exp/mini, or exp/<name of the audio folder>)
#   --config FILE    more settings, one `COMMAND key=value` a line, as in conf/default.conf
#   --stage N        first stage (default 1)
#   --stop-stage N   last stage (default 7)
#   --ngpu G         processes for units and training, one a GPU (default 1)
#
# stages: 1 manifest, 2 units, 3 topics, 4 pretrain, 5 evaluate, 6 export, 7 report
set -euo pipefail

audio_dir=
metadata=
method=both
minutes=4.0
seeds=1
exp=
config=
stage=1
stop_stage=7
ngpu=1
# shellcheck source=tools/stages.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../../tools/stages.sh" "$@"

units=$exp/units
topics=$exp/topics
band=()
if [ -n "$audio_dir" ]; then
  data=$exp/data/folder
  corpus=(corpus=folder "corpus.audio_dir=$audio_dir" ${metadata:+"corpus.metadata=$metadata"})
  probes=()
else
  # Evaluation also hears voices that no training hears, and a synthesiser that tells the time of each phone.
  data=$exp/data/asterisk
  corpus=(corpus=asterisk)
  # Telephone speech, recorded at 8 kHz; models that read waveforms have no band.
  case $(overrides pretrain | grep '^model=') in model=tiny | model=fast) band=(model.fbank_high_hz=4000) ;; esac
  probes=("test_dir=$exp/data/asterisk_voices" "phones_dirs=[$exp/data/flite_synthetic]")
fi

if stage 1 manifest "${audio_dir:-"Debian's asterisk-core-sounds-*, asterisk-prompt-* and flite"}" "$exp/data"; then
  command_run manifest "${corpus[@]}" "out=$data"
  if [ -z "$audio_dir" ]; then
    command_run manifest corpus=asterisk_voices "out=$exp/data/asterisk_voices"
    command_run manifest corpus=flite "out=$exp/data/flite_synthetic"
  fi
fi

if stage 2 units "$data" "$units"; then
  command_launch kmeans "manifest=$data/train.tsv" "out=$units"
  command_launch label "manifests=[$data/train.tsv,$data/valid.tsv]" "kmeans=$units" "out=$units"
fi

if [ "$method" != hubert ] && stage 3 topics "$units" "$topics"; then
  command_run topics "units=$units" "splits=[train,valid]" "data=$data" "out=$topics"
fi

if stage 4 pretrain "$data $units $topics" "$exp/<method>-seed<S>"; then
  pretrain_methods "$data" "$units" "$topics" "${band[@]}" "schedule.minutes=$minutes"
fi

if stage 5 evaluate "$data $exp/<method>-seed<S>" "$exp/evaluate"; then
  [ ! -f "$data/alignments.tsv" ] || probes+=("phones_dirs=[$data]") # phone times of your own
  evaluate_methods "$data" "labels_dir=$units" "${probes[@]}"
fi

if stage 6 export "$exp/<method>-seed1" "$exp/export"; then
  export_methods "$data"
fi

if stage 7 report "$exp" "$exp/report.html $exp/RESULTS.md"; then
  command_run report "exp=$exp"
fi
finish
