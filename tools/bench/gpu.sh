#!/usr/bin/env bash
# What is to be measured on a GPU, one after the other, in at most nine minutes. Each measurement has a log of its own; one that
# fails, or takes longer than it may, is listed at the end, and the others go on.
#
# usage: bash tools/bench/gpu.sh OUT
#
#   OUT     folder of the logs
#   PYTHON  (environment) the interpreter that has the packages (default .venv/bin/python)
set -euo pipefail
out=${1:?usage: bash tools/bench/gpu.sh OUT}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
  { echo "gpu.sh: torch sees no GPU here; the benchmarks run one by one on a processor (tools/bench/*.py --help)" >&2; exit 1; }
mkdir -p "$out"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
failed=()

# measure NAME SECONDS command ...: its output in OUT/NAME.log, and its end here.
measure() {
  local name=$1 seconds=$2
  shift 2
  echo "== $name: $*"
  if timeout "$seconds" "$@" >"$out/$name.log" 2>&1; then
    tail -n 4 "$out/$name.log"
  else
    failed+=("$name (exit status $?, $out/$name.log)")
    tail -n 2 "$out/$name.log"
  fi
}

bench() { measure "$1" "$2" "$python" "tools/bench/$3.py" "${@:4}"; }

git log -1 --format='revision %h' || echo 'revision not known: no git checkout'
measure gpu 20 nvidia-smi
measure doctor 40 "$python" -m speechssl doctor
bench step-base 70 train_step --batch 16 --seconds 12 --labels 500 --repeat 10
bench step-base-padded 50 train_step --batch 16 --seconds 12 --labels 500 --repeat 10 --padded
bench step-base-fp32 60 train_step --batch 16 --seconds 12 --labels 500 --repeat 5 --fp32
bench step-large 60 train_step --size large --batch 8 --seconds 12 --labels 500 --repeat 5
bench masked-loss 30 masked_loss --frames 20000 --labels 500 --repeat 10
bench kmeans 80 kmeans --k 500 --seeds 1
bench clips 70 clips --clips 512 --recordings 2048 --steps 40
bench lape 60 lape
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
