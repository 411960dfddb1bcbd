# What every recipe's run.sh shares: options, set-up, which stages run, where output goes, what a failure shows.
# Sourced with the recipe's arguments, after the defaults of its options. A recipe has the options exp, config,
# stage, stop_stage and ngpu, and may have audio_dir, metadata and corpus_root. The work is done from the project's
# root; a folder the user names stays relative to where the user is.
#
# Overrides of a command come from three places, the later winning: conf/default.conf beside run.sh, the words that
# run.sh gives, and --config FILE. A .conf file has one `COMMAND key=value` a line; # starts a comment.

recipe_command="bash $0 ${*@Q}"
started_in=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
recipe=$(realpath --relative-to="$root" "$(dirname "$0")")
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh" "$@"

stages_fail() {
  echo "$recipe/run.sh: $1" >&2
  exit 2
}

for name in audio_dir metadata corpus_root config; do
  [ -n "${!name:-}" ] || continue
  [ -e "${!name}" ] || stages_fail "--${name//_/-} ${!name} does not exist"
  printf -v "$name" %s "$(realpath --relative-base="$root" "${!name}")"
done
if [ -z "$exp" ]; then
  exp=$root/exp/$(basename "${audio_dir:-$(dirname "$recipe")}")
fi
exp=$(realpath -m --relative-base="$root" "$exp")

cd "$root"
export PATH="$root/.venv/bin:$PATH"
exec 3>&2 # progress bars go straight to the terminal, so that logs have none
export SPEECHSSL_PROGRESS_FD=3

# stage NUMBER NAME READS WRITES: true when this stage is to run; says what it reads and writes.
stage() {
  if [ "$1" -lt "$stage" ] || [ "$1" -gt "$stop_stage" ]; then return 1; fi
  stage_log=$exp/log/$2.log
  : >"$stage_log"
  printf '\n== stage %s: %s (at %s s)\n   reads  %s\n   writes %s\n   log    %s\n' \
    "$1" "$2" "$SECONDS" "$3" "$4" "$stage_log"
}

# Run a command; its output goes to the terminal and the stage's log. A failure ends the recipe with the log's end.
run() {
  printf '$ %s\n' "${*@Q}" >>"$stage_log"
  local status=0
  "$@" 2>&1 | tee -a "$stage_log" || status=$? # pipefail is on: also where the log cannot be written
  [ "$status" -ne 0 ] || return 0
  {
    printf '\n%s/run.sh: failed with status %s: %s\nThe last 20 lines of %s:\n' "$recipe" "$status" "${*@Q}" "$stage_log"
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

# The same, in $ngpu processes.
command_launch() {
  local words
  if [ "$ngpu" -le 1 ]; then
    command_run "$@"
    return
  fi
  mapfile -t words < <(overrides "$@")
  run torchrun --standalone --nproc-per-node "$ngpu" -m speechssl "$1" "${words[@]}"
}

# Print the overrides of command $1, one a line: the last one given for each key.
overrides() {
  local name=$1
  shift
  {
    conf_lines "$name" "$recipe/conf/default.conf"
    printf '%s\n' "$@"
    if [ -n "$config" ]; then conf_lines "$name" "$config"; fi
  } | awk '{ key = $0; sub(/=.*/, "", key); if (!(key in last)) order[++n] = key; last[key] = $0 }
    END { for (i = 1; i <= n; i++) print last[order[i]] }'
}

# The overrides of command $1 in the .conf file $2.
conf_lines() { sed -n "s/[[:space:]]*#.*//; s/^$1[[:space:]]\{1,\}//p" "$2"; }

# The trained encoders as hydra's dictionary: {hubert:[exp/hubert-seed1,exp/hubert-seed2]}.
encoders_dict() {
  local method seed seeds_of_method result=
  for method in $methods; do
    seeds_of_method=
    for seed in $(seq 1 "${seeds:-1}"); do
      seeds_of_method+=${seeds_of_method:+,}$exp/$method-seed$seed
    done
    result+=${result:+,}$method:[$seeds_of_method]
  done
  echo "{$result}"
}

mkdir -p "$exp/log"
if [ "$stage" -gt "$stop_stage" ]; then stages_fail "--stage $stage is after --stop-stage $stop_stage"; fi
stage_log=$exp/log/setup.log
: >"$stage_log"
# The run folder keeps the command that made it.
printf '#!/usr/bin/env bash\n# Does this run again, or goes on with it.\ncd %q && %s\n' \
  "$started_in" "$recipe_command" >"$exp/run.sh"
run bash tools/setup.sh
