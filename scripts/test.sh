#!/usr/bin/env bash
# Installs, builds and tests everything: the firmware subset, the tests on 64-bit ARM under an
# emulator, with sanitizers, the fuzzers, and the whole with the trainer. Ends with the last one's summary.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-packages.sh all

export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true  # clones share what they have built
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(nproc)}

step() {
  echo
  echo "== $1 ($((SECONDS / 60)) min)"
}

step "Cortex-M4: the firmware subset"
cmake --workflow --preset cortex-m4

step "64-bit ARM under qemu"
sysroot=0
scripts/cross-sysroot.sh arm64 build/sysroot-arm64 || sysroot=$?
if [ $sysroot -eq 0 ]; then
  cmake --workflow --preset aarch64
elif [ $sysroot -eq 3 ]; then
  echo "skipped: the package sources of this system have no arm64"
else
  exit 1
fi

step "AddressSanitizer and UndefinedBehaviorSanitizer"
cmake --workflow --preset dev

step "Fuzzing, a minute each"
cmake --workflow --preset fuzz

step "Everything, with the trainer"
cmake --preset release -DLBRT_TRAINER=ON
cmake --build --preset release
ctest --preset release
