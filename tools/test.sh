#!/usr/bin/env bash
# Set up, then run the tests. Arguments go to pytest: bash tools/test.sh tests/units -k kmeans
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup.sh
exec .venv/bin/python -m pytest "$@"
