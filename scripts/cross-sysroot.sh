#!/usr/bin/env bash
# Unpacks the libraries that a cross build links into a folder, as a sysroot: packages of this very
# distribution, of another architecture. The system's own package state is neither used nor changed
# (Debian's XNNPACK and pthreadpool cannot be installed for two architectures side by side).
#
#   scripts/cross-sysroot.sh ARCHITECTURE FOLDER     e.g. arm64 build/sysroot-arm64
#
# Exit status 3: the package sources of this system offer nothing for that architecture.
set -euo pipefail

if [ $# -ne 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
packages=(
  libc6-dev libstdc++-12-dev
  libhwy-dev libcpuinfo-dev libpthreadpool-dev libflatbuffers-dev
  libjpeg62-turbo-dev libpng-dev libmatio-dev libzip-dev zlib1g-dev
  libgtest-dev libgmock-dev libcli11-dev nlohmann-json3-dev
)

# A finished sysroot names what is in it; the same list again means there is nothing to do.
stamp=$1:${packages[*]}
if [ "$(cat "$2/.complete" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
rm -rf "$2"
"$(dirname "$0")/unpack-packages.sh" "$1" "$2" "${packages[@]}"
rm -rf "${2:?}"/usr/{bin,sbin}
echo "$stamp" > "$2/.complete"
