#!/usr/bin/env bash
# Make .venv with the pinned stack and this project in it. Quick when nothing has changed.
#
# usage: bash tools/setup.sh [options]
#
#   --python PYTHON  the Python to use, 3.10 to 3.12 (default: the first that is found); makes .venv anew
#
# The stack needs about 8 GB of disk. What it installs is in setup.py, at the versions of tools/constraints.txt.
set -euo pipefail

python=
# shellcheck source=tools/parse_options.sh
source "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh" "$@"
case $python in */*) python=$(realpath -s "$python") ;; esac # a path is relative to where the user is
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Whether the Python $1 runs, has the module $2, and is of a version that the stack takes.
fits() { "$1" -c "import sys, $2; sys.exit(not (3, 10) <= sys.version_info < (3, 13))" 2>/dev/null; }

find_python() {
  local candidate
  local candidates=(python3.11 python3.12 python3.10 python3)
  [ -z "$python" ] || candidates=("$python")
  for candidate in "${candidates[@]}"; do
    # A name on the PATH can be a shim without an interpreter behind it, or lack ensurepip: so it has to run.
    if fits "$candidate" ensurepip; then
      command -v "$candidate"
      return
    fi
  done
  echo "setup: no Python 3.10 to 3.12 with venv was found${python:+ at $python}; install one" \
    "(Debian, Ubuntu: apt-get install python3-venv) or name it with --python" >&2
  return 1
}

# fairseq2's C++ half loads the system's libsndfile, or else one beside this environment's site-packages.
# soundfile's wheel carries a complete one: link that, which needs no root.
link_libsndfile() {
  local own
  own=$(.venv/bin/python -c 'import glob, soundfile, os
print(*glob.glob(os.path.join(os.path.dirname(soundfile.__file__), "_soundfile_data", "libsndfile*.so")))')
  if [ -n "$own" ]; then
    ln -sf "$own" .venv/lib/libsndfile.so.1
  elif ! .venv/bin/python -c 'import ctypes; ctypes.CDLL("libsndfile.so.1")' 2>/dev/null; then
    echo "setup: libsndfile is missing; install it (Debian, Ubuntu: apt-get install libsndfile1)" >&2
    return 1
  fi
}

# uv is three times as fast as pip here. It does not read pip's configuration (mirrors), so pip comes after it.
# As with pip, modules are compiled now: where Python may not write (PYTHONDONTWRITEBYTECODE, often set in containers),
# each command would compile what it imports again, which doubles its start.
install_stack() {
  local what=(--constraint tools/constraints.txt --editable '.[train,superb,export,dev]')
  echo "setup: installing the pinned stack into .venv (about 8 GB, a few minutes; log in .venv/setup.log)"
  {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -c tools/constraints.txt uv &&
      .venv/bin/uv pip install --compile-bytecode --python .venv/bin/python "${what[@]}"
  } >.venv/setup.log 2>&1 && return
  echo "setup: uv could not install it; trying pip"
  if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input "${what[@]}" >>.venv/setup.log 2>&1; then
    tail -n 20 .venv/setup.log >&2
    echo "setup: pip failed; the whole log is in .venv/setup.log, and the same command tries again" >&2
    return 1
  fi
}

# In a copy of the project the commands of .venv are still the original's.
made_here() {
  local here
  here=$(pwd -P)/.venv
  grep -qF -e "VIRTUAL_ENV=$here" -e "VIRTUAL_ENV=\"$here" -e "VIRTUAL_ENV='$here" .venv/bin/activate 2>/dev/null
}

# fairseq2's C++ half has no other wheels.
check_system() {
  local libc
  libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=
  if [ "$(uname -sm)" != "Linux x86_64" ] || ! printf '%s\n' "glibc 2.28" "$libc" | sort -C -V; then
    echo "setup: the stack runs on Linux on x86-64 with glibc 2.28 or newer, and this is $(uname -sm)" \
      "with ${libc:-another C library}" >&2
    return 1
  fi
}

check_system
exec 9<tools/setup.sh
flock 9 # two commands that both set up wait for one another
wanted=$(cat tools/constraints.txt setup.py | sha256sum | cut -d' ' -f1)
if [ -z "$python" ] && [ "$(cat .venv/setup.stamp 2>/dev/null)" = "$wanted" ] &&
  .venv/bin/speechssl --version >/dev/null 2>&1 && made_here; then
  echo "setup: .venv is up to date"
  exit 0
fi
if [ -n "$python" ] || ! made_here || ! fits .venv/bin/python pip; then
  found=$(find_python)
  "$found" -m venv --clear .venv
fi
rm -f .venv/setup.stamp
install_stack
link_libsndfile
.venv/bin/speechssl doctor
echo "$wanted" >.venv/setup.stamp
