#!/usr/bin/env bash
# Makes .venv: the pinned libraries and mmkd itself (editable). No compiler is needed: mmcv is
# installed without compiled operators, and mmkd supplies them from torchvision and PyTorch.
# With the argument openmmlab: .venv-openmmlab, the same on OpenMMLab's original packages.
# With the argument compiled: .venv-compiled, with mmcv's own operators, to compare with.
#
#   PYTHON=python3.11   which Python to use (3.11 or 3.12; default: what .venv has, else python3)
#   MMKD_COMPILE=1|0    compile mmcv's operators, in ten minutes (default: what .venv has, else 0)
#   MMKD_CUDA=1|0       compile them for CUDA or for the CPU (default: what .venv has, else CUDA if
#                       there is a GPU)
#   MMKD_CACHE=DIR      where the compiled wheel is kept (default: ~/.cache/mmkd)
set -euo pipefail
cd "$(dirname "$0")/../.."

CHOSEN=${PYTHON:-}
PYTHON=${PYTHON:-python3}
MMCV=onedl-mmcv==2.3.6 MMCV_COMPILED=onedl-mmcv==2.3.6 REQUIREMENTS=tools/env/requirements.txt
case ${1:-} in
    '') VENV=.venv ;;
    compiled) VENV=.venv-compiled MMKD_COMPILE=1 ;;
    openmmlab)
        VENV=.venv-openmmlab REQUIREMENTS=tools/env/openmmlab.txt
        MMCV=mmcv-lite==2.1.0 MMCV_COMPILED=mmcv==2.1.0
        ;;
    *) printf 'usage: tools/env/setup.sh [openmmlab | compiled]\n' >&2; exit 2 ;;
esac
WHEELS=${MMKD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmkd}/wheels

say() { printf 'make env: %s\n' "$*"; }
fail() { printf 'make env: error: %s\n' "$*" >&2; exit 1; }

# A finished environment stays as it is on a machine without its GPU, or with another python3.
stamp="$VENV/.finished"
finished=$(cat "$stamp" 2>/dev/null || true)
has() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$finished"; }
python_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }
compile=${MMKD_COMPILE:-$(has compile)}
compile=${compile:-0}
gpu=0 cuda=0
if [ "$compile" = 1 ]; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then gpu=1; fi
    cuda=${MMKD_CUDA:-$(has cuda)}
    cuda=${cuda:-$gpu}
    if [ "$cuda" = 1 ] && [ "$(has cuda)" != 1 ] && ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
        say "there is a GPU but no nvcc, so mmcv gets CPU ops; with the CUDA toolkit installed, MMKD_COMPILE=1 MMKD_CUDA=1 make env builds the CUDA ops"
        cuda=0
    fi
fi

# The stamp says what a finished environment was made from; anything else is made anew.
made_from="$(cat "$REQUIREMENTS" setup.cfg tools/env/setup.sh | cksum) compile=$compile cuda=$cuda"
version=$(has python)
if [ -n "$CHOSEN" ]; then version=$(python_version "$CHOSEN" || true); fi
if [ "$finished" = "$made_from python=$version in $PWD" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

version=$(python_version "$PYTHON") \
    || fail "$PYTHON does not run; set PYTHON to a Python 3.11 or 3.12"
case $version in
    3.11 | 3.12) ;;
    *) fail "$PYTHON is Python $version; set PYTHON to a Python 3.11 or 3.12" ;;
esac
if [ "$cuda" = 1 ] && [ "$gpu" = 0 ] && [ -z "${TORCH_CUDA_ARCH_LIST:-}" ]; then
    fail 'compiling for CUDA without a GPU needs TORCH_CUDA_ARCH_LIST, such as 9.0; MMKD_CUDA=0 compiles for the CPU'
fi
if [ "$compile" = 1 ]; then
    command -v g++ >/dev/null || fail 'g++ is missing; install a C++ compiler (Debian, Ubuntu: build-essential), or leave out MMKD_COMPILE'
    header=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
    [ -f "$header" ] || fail "$header is missing; install Python's headers (Debian, Ubuntu: python$version-dev), or leave out MMKD_COMPILE"
fi

# pip keeps what it downloads until all of it is installed. An environment that is there goes first.
NEEDED_MB=8000
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
kept=$(du -sk "$VENV" 2>/dev/null | awk '{ print int($1 / 1024) }' || true)
if [ $((free + ${kept:-0})) -lt $NEEDED_MB ]; then
    fail "the disk of $PWD has $free MB free: expected $NEEDED_MB MB to install in; free some"
fi

pip() { "$VENV/bin/python" -m pip --disable-pip-version-check "$@"; }

# Leaves in $kept one wheel for each Python, torch, machine and kind of operators, compiled once.
compile_mmcv() {
    torch=$(sed -n 's/^torch==//p' "$REQUIREMENTS")
    kept="$WHEELS/${MMCV_COMPILED//==/-}-py$version-torch$torch-$(uname -m)-cuda$cuda"
    if ! ls "$kept"/*.whl >/dev/null 2>&1; then
        say "compiling $MMCV_COMPILED (about ten minutes, once; kept in $WHEELS)"
        mkdir -p "$WHEELS"
        pip install --quiet ninja packaging psutil
        building=$(mktemp -d "$WHEELS/.building.XXXXXX")
        trap 'rm -rf "$building"' EXIT
        # Python's own flags but for -g: debugging symbols take half of the compiler's time. pip's
        # cache would give a wheel that was compiled for another torch, or for no GPU.
        flags='-O3 -DNDEBUG -fwrapv -g0'
        export MMCV_WITH_OPS=1 FORCE_CUDA=$cuda
        if [ "$cuda" = 0 ]; then
            export CUDA_VISIBLE_DEVICES=  # mmcv ignores FORCE_CUDA=0 if it sees a GPU
        else
            nvcc=$({ "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" --version || nvcc --version; } 2>/dev/null \
                | sed -n 's/.*release \([0-9]*\)\..*/\1/p' || true)
            built=$("$VENV/bin/python" -c 'import torch; print((torch.version.cuda or "none").split(".")[0])')
            [ "$nvcc" = "$built" ] || fail "nvcc is of CUDA ${nvcc:-none}, torch of CUDA $built; \
install that toolkit and set CUDA_HOME to it, or add MMKD_CUDA=0 for CPU operators"
        fi
        MAX_JOBS=${MAX_JOBS:-$(nproc)} CFLAGS=$flags CXXFLAGS=$flags \
            pip wheel --quiet --no-cache-dir --no-build-isolation --no-deps --wheel-dir "$building" "$MMCV_COMPILED"
        rm -rf "$kept"
        mv "$building" "$kept"
    fi
}

say "making $VENV with Python $version"
"$PYTHON" -m venv --clear "$VENV"
pip install --quiet --upgrade 'pip>=24' 'setuptools>=77,<82' wheel
say 'installing the pinned libraries'
pip install --quiet -r "$REQUIREMENTS"
# OpenMMLab asks for both builds of OpenCV, which share their files; the headless one, put last,
# needs no OpenGL on the machine.
pip install --quiet --no-deps --force-reinstall "$(grep '^opencv-python-headless==' "$REQUIREMENTS")"

if [ "$compile" = 1 ]; then
    compile_mmcv
    pip install --quiet "$kept"/*.whl
else
    # Built without torch in sight, mmcv leaves its operators out. pip's cache may hold a wheel that
    # was compiled.
    pip install --quiet --no-cache-dir "$MMCV"
fi
pip install --quiet --no-build-isolation --no-deps --config-settings editable_mode=compat --editable .
"$VENV/bin/python" -c 'import mmkd'
printf '%s' "$made_from python=$version in $PWD" >"$stamp"
say 'ready'
