# shellcheck shell=bash disable=SC2154 # the options are the recipe's
# What every recipe's run.sh shares: options, set-up, which stages run, where output goes, what a failure shows.
# Sourced with the recipe's arguments, after the defaults of its options. A recipe has the options exp, config,
# seeds, stage and stop_stage, and may have method, ngpu, audio_dir, corpus_root, data_dir, timit, metadata and tasks.
# Those that a stage cannot do without stand in `needs`, as words STAGE:option, or STAGE:option/option where one of them
# will do. The work is done from the project's root; a folder or file that the user names is relative to where the user
# is. A default of exp is relative to the project's root; where the recipe gives none, it is exp/ and the name of the
# audio or recipe.
#
# Overrides of a command come from three places, the later winning: conf/default.conf beside run.sh, the words that
# run.sh gives, and --config FILE. A .conf file has one `COMMAND key=value` a line; # at the start of a word starts a
# comment.
#
# SPEECHSSL_ENVIRONMENT=own leaves the set-up out: `speechssl`, `torchrun` and `python` are those on the PATH.

recipe_command=$(printf '%q ' bash "$0" "$@")
started_in=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe=$(realpath --relative-to="$root" "$(dirname "$0")")
default_exp=$exp
exp=
without=
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh" "$@"

stages_fail() {
  echo "$recipe/run.sh: $1" >&2
  exit 2
}

for need in ${needs:-}; do
  given=
  names=${need#*:}
  for name in ${names//\// }; do given+=${!name}; done
  if [ "${need%:*}" -ge "$stage" ] && [ "${need%:*}" -le "$stop_stage" ] && [ -z "$given" ]; then
    names=${names//_/-}
    stages_fail "--${names//\// or --} is needed by stage ${need%:*} (--help says what it is)"
  fi
done
for name in audio_dir corpus_root data_dir timit metadata tasks config; do
  [ -n "${!name:-}" ] || continue
  case $name in
    metadata | tasks | config) [ -f "${!name}" ] || stages_fail "--$name ${!name} is no file" ;;
    *) [ -d "${!name}" ] || stages_fail "--${name//_/-} ${!name} is no folder" ;;
  esac
  printf -v "$name" %s "$(realpath --relative-base="$root" "${!name}")"
done

# The words of the .conf file, or file of tasks, $1, a line of it each; comments and blanks at both ends are gone, and so are CRs.
conf_words() { sed -E 's/(^|[[:space:]]+)#.*//; s/[[:space:]]+$//; s/^[[:space:]]+//' "$1"; }

# A line of --config that begins with no command, or has no setting, ends the recipe now. One of a command that this recipe
# does not call is passed over: one file may serve several recipes.
check_config() {
  local name override number=0 line commands
  [ -r "$config" ] || stages_fail "--config $config cannot be read"
  commands=$(cd "$root/speechssl/cli" && grep -l '^COMMAND = ' -- *.py | sed 's/[.]py$//')
  # The last line may end without a newline.
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    read -r name override <<<"$line"
    [ -n "$name" ] || continue
    grep -qxF -- "$name" <<<"$commands" ||
      stages_fail "--config $config, line $number: no command named '$name' (known: ${commands//$'\n'/, })"
    case $override in
      *=* | "~"*) ;;
      *) stages_fail "--config $config, line $number: after $name comes key=value, not '$override'" ;;
    esac
  done < <(conf_words "$config")
}

if [ -z "$exp" ]; then
  name=$(basename "${audio_dir:-$(dirname "$recipe")}")
  named=$(printf %s "$name" | LC_ALL=C tr -c 'A-Za-z0-9._-' _)
  # Two folders whose names differ only in what was replaced are two experiments.
  [ "$named" = "$name" ] || named+=-$(printf %s "$name" | cksum | cut -d' ' -f1)
  exp=$root/${default_exp:-exp/$named}
fi
exp=$(realpath -m --relative-base="$root" "$exp")
[[ $exp =~ ^[A-Za-z0-9._/@+-]+$ ]] || stages_fail "--exp $exp: use only letters, digits and . _ - + @ in its name"

set -euo pipefail
cd "$root"
case ${SPEECHSSL_ENVIRONMENT:-} in
  own)
    command -v speechssl >/dev/null ||
      stages_fail "SPEECHSSL_ENVIRONMENT=own, but no speechssl is on the PATH: activate the environment that has it"
    ;;
  "") export PATH="$root/.venv/bin:$PATH" ;;
  *) stages_fail "SPEECHSSL_ENVIRONMENT=$SPEECHSSL_ENVIRONMENT is not known: give own, or nothing" ;;
esac
exec 3>&2 # progress bars go straight to the terminal, so that logs have none
export SPEECHSSL_PROGRESS_FD=3

# stage NUMBER NAME READS WRITES: true when this stage is to run; says what it reads and writes. What the log has of
# earlier times stays: skipped updates are named nowhere else.
stage() {
  if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ]; then return 1; fi
  stage_log=$exp/log/$2.log
  printf '%s: stage %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$1" >>"$stage_log" || stages_fail "cannot write $stage_log"
  printf '\n== stage %s: %s (at %s s)\n   reads  %s\n   writes %s\n   log    %s\n' \
    "$1" "$2" "$SECONDS" "$3" "$4" "$stage_log" || stages_fail "cannot write to the terminal"
}

# Run a command; its output goes to the terminal and the stage's log. A failure ends the recipe with the log's end.
run() {
  { printf '$'; printf ' %q' "$@"; echo; } >>"$stage_log"
  local status=0
  "$@" 2>&1 | tee -ia "$stage_log" || status=$? # pipefail is on: also where the log cannot be written
  [ "$status" -ne 0 ] || return 0
  {
    printf "\n%s/run.sh: '%s' failed with status %s\n" "$recipe" "$1 $2" "$status"
    [ "$status" -le 128 ] || echo "It was ended by signal $((status - 128)); the same command goes on."
    printf 'The last 20 lines of %s:\n' "$stage_log"
    tail -n 20 "$stage_log" | sed 's/^/  | /'
  } >&2
  exit "$status"
}

# command NAME key=value ...: run `speechssl NAME` with these words and the overrides of the .conf files.
command_run() {
  local words
  mapfile -t words < <(overrides "$@")
  run speechssl "$1" "${words[@]}"
}

# The same, in $ngpu processes. LAUNCHER starts them in another way, e.g. on several machines (see slurm.sh of LibriSpeech).
command_launch() {
  local words
  if [ "$ngpu" -le 1 ] && [ -z "${LAUNCHER:-}" ]; then
    command_run "$@"
    return
  fi
  mapfile -t words < <(overrides "$@")
  # LAUNCHER is several words on purpose.
  # shellcheck disable=SC2086
  run ${LAUNCHER:-torchrun --standalone --nproc-per-node "$ngpu"} -m speechssl "$1" "${words[@]}"
}

# Print the overrides of command $1, one a line: the last one given for each key. Those that match the pattern $without,
# if it is set, are left out and told: two stages may be one command, and one of them lack a setting.
overrides() {
  local name=$1
  shift
  {
    conf_lines "$name" "$recipe/conf/default.conf"
    printf '%s\n' "$@"
    if [ -n "$config" ]; then conf_lines "$name" "$config"; fi
  } | awk -v name="$name" -v without="$without" '
    without != "" && $0 ~ without { print "left out of " name " here: " $0 >"/dev/stderr"; next }
    { key = $0; sub(/=.*/, "", key); if (!(key in last)) order[++n] = key; last[key] = $0 }
    END { for (i = 1; i <= n; i++) print last[order[i]] }'
}

# The overrides of command $1 in the .conf file $2, or the settings of task $1 in the file of tasks $2.
conf_lines() { conf_words "$2" | sed -nE "s/^$1[[:space:]]+//p"; }

# pretrain_methods DATA UNITS TOPICS key=value ...: an encoder of each method and seed, in $exp/<method>-seed<S>.
pretrain_methods() {
  local data=$1 units=$2 topics=$3 seed each words
  shift 3
  for seed in $(seq 1 "$seeds"); do
    for each in $methods; do
      words=("objective=$each")
      [ "$each" = hubert ] || words+=("data.topics=$topics")
      command_launch pretrain "data.train=$data/train.tsv" "data.valid=$data/valid.tsv" "data.labels=[$units]" \
        "${words[@]}" "$@" "seed=$seed" "out=$exp/$each-seed$seed"
    done
  done
}

# evaluate_methods DATA key=value ...: all of these encoders side by side, in $exp/evaluate.
evaluate_methods() {
  local data=$1 each runs encoders=
  shift
  for each in $methods; do
    runs=$(seq -s, -f "$exp/$each-seed%g" 1 "$seeds")
    encoders+=${encoders:+,}$each:[$runs]
  done
  command_run evaluate "data_dir=$data" "$@" "encoders={$encoders}" "out_dir=$exp/evaluate"
}

# export_methods DATA: the first encoder of each method, in $exp/export/<method>.
export_methods() {
  local each
  for each in $methods; do
    command_run export "encoder=$exp/$each-seed1" "audio=$1/valid.tsv" "out=$exp/export/$each"
  done
}

finish() { printf '\n%s/run.sh: stages %s to %s are done, in %s s\n' "$recipe" "$stage" "$stop_stage" "$SECONDS"; }

methods=${method:-}
methods=${methods/both/hubert hubertopic}
mkdir -p "$exp/log"
if [ "$stage" -gt "$stop_stage" ]; then stages_fail "--stage $stage is after --stop-stage $stop_stage"; fi
if [ -n "$config" ]; then check_config; fi
stage_log=$exp/log/setup.log
: >"$stage_log"
# The run folder keeps the commands that made it, in their order; one that is given again is there already.
made=$(printf 'cd %q && %s' "$started_in" "$recipe_command")
[ -s "$exp/run.sh" ] || printf '#!/usr/bin/env bash\n# Does this run again, or goes on with it.\n' >"$exp/run.sh"
grep -qxF -- "$made" "$exp/run.sh" || printf '%s\n' "$made" >>"$exp/run.sh"
[ -n "${SPEECHSSL_ENVIRONMENT:-}" ] || run bash tools/setup.sh
