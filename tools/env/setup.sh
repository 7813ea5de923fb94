#!/usr/bin/env bash
# Makes .venv: the pinned libraries, mmcv with compiled ops, and mmkd itself (editable).
# With the argument openmmlab: .venv-openmmlab, the same on OpenMMLab's original packages.
#
#   PYTHON=python3.11  which Python to use (3.10 to 3.12)
#   MMKD_CACHE=DIR     where the compiled mmcv wheel is kept (default: ~/.cache/mmkd)
#   MMKD_CUDA=1|0      compile mmcv for CUDA or for the CPU (default: CUDA if there is a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."

PYTHON=${PYTHON:-python3}
case ${1:-} in
    '') VENV=.venv MMCV=onedl-mmcv==2.3.6 REQUIREMENTS=tools/env/requirements.txt ;;
    openmmlab) VENV=.venv-openmmlab MMCV=mmcv==2.1.0 REQUIREMENTS=tools/env/openmmlab.txt ;;
    *) printf 'usage: tools/env/setup.sh [openmmlab]\n' >&2; exit 2 ;;
esac
WHEELS=${MMKD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmkd}/wheels

say() { printf 'make env: %s\n' "$*"; }
fail() { printf 'make env: error: %s\n' "$*" >&2; exit 1; }

gpu=0
if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpu=1; fi
cuda=${MMKD_CUDA:-$gpu}
if [ "$cuda" = 1 ] && ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
    say "there is a GPU but no nvcc, so mmcv gets CPU ops; with the CUDA toolkit installed, MMKD_CUDA=1 make env builds the CUDA ops"
    cuda=0
fi

# The stamp says what a finished environment was made from; anything else is made anew.
stamp="$VENV/.finished"
wanted="$(cat "$REQUIREMENTS" setup.cfg tools/env/setup.sh | cksum) cuda=$cuda"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
    || fail "$PYTHON does not run; set PYTHON to a Python 3.10, 3.11 or 3.12"
case $version in
    3.10 | 3.11 | 3.12) ;;
    *) fail "$PYTHON is Python $version; set PYTHON to a Python 3.10, 3.11 or 3.12" ;;
esac
command -v g++ >/dev/null || fail 'g++ is missing; install a C++ compiler (Debian, Ubuntu: build-essential)'
header=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
[ -f "$header" ] || fail "$header is missing; install Python's headers (Debian, Ubuntu: python$version-dev)"

say "making $VENV with Python $version"
"$PYTHON" -m venv --clear "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --upgrade 'pip>=24' 'setuptools>=77,<82' wheel ninja packaging psutil
say 'installing the pinned libraries'
pip install --quiet -r "$REQUIREMENTS"
# OpenMMLab asks for both builds of OpenCV, which share their files; the headless one, put last,
# needs no OpenGL on the machine.
pip install --quiet --no-deps --force-reinstall "$(grep '^opencv-python-headless==' "$REQUIREMENTS")"

# One wheel for each Python, torch, machine and kind of ops, compiled once and kept.
torch=$(sed -n 's/^torch==//p' "$REQUIREMENTS")
kept="$WHEELS/${MMCV//==/-}-py$version-torch$torch-$(uname -m)-cuda$cuda"
if ! ls "$kept"/*.whl >/dev/null 2>&1; then
    say "compiling $MMCV (about ten minutes, once; kept in $WHEELS)"
    mkdir -p "$WHEELS"
    building=$(mktemp -d "$WHEELS/.building.XXXXXX")
    trap 'rm -rf "$building"' EXIT
    # Python's own flags but for -g: debugging symbols take half of the compiler's time. pip's cache
    # would give a wheel that was compiled for another torch, or for no GPU.
    flags='-O3 -DNDEBUG -fwrapv -g0'
    MMCV_WITH_OPS=1 FORCE_CUDA=$cuda MAX_JOBS=${MAX_JOBS:-$(nproc)} CFLAGS=$flags CXXFLAGS=$flags \
        pip wheel --quiet --no-cache-dir --no-build-isolation --no-deps --wheel-dir "$building" "$MMCV"
    rm -rf "$kept"
    mv "$building" "$kept"
fi
pip install --quiet "$kept"/*.whl
pip install --quiet --no-build-isolation --no-deps --config-settings editable_mode=compat --editable .
"$VENV/bin/python" -c 'import mmkd'
printf '%s' "$wanted" >"$stamp"
say 'ready'
