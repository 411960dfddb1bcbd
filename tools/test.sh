#!/usr/bin/env bash
# Set up, then run the tests, on all cores. Arguments go to pytest: bash tools/test.sh tests/units -k kmeans
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup.sh
# One thread for each process, one process for each core; a process takes about a gigabyte of memory.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec .venv/bin/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal "$@"
