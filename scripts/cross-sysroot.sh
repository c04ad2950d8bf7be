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
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
architecture=$1
packages=(
  libc6-dev libstdc++-12-dev
  libhwy-dev libcpuinfo-dev libpthreadpool-dev libflatbuffers-dev
  libjpeg62-turbo-dev libpng-dev libmatio-dev libzip-dev zlib1g-dev
  libgtest-dev libgmock-dev libcli11-dev nlohmann-json3-dev
)

# A finished sysroot names what is in it; the same list again means there is nothing to do.
stamp=$architecture:${packages[*]}
if [ "$(cat "$2/.complete" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
rm -rf "$2"
mkdir -p "$2"
sysroot=$(cd "$2" && pwd)

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
: > "$state/status"  # nothing is installed, so that everything needed is fetched
apt=(apt-get -qq
  -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture"
  -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status"
  -o Dir::Cache="$state/cache" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1
  -o APT::Install-Recommends=0 -o Acquire::Languages=none -o Acquire::Retries=3)
"${apt[@]}" update > "$state/log" 2>&1 || true  # a foreign source may lack the architecture
if ! "${apt[@]}" install --yes --download-only "${packages[@]}" > "$state/log" 2>&1; then
  echo "cross-sysroot: no packages for $architecture here: $(grep -m1 '^E:' "$state/log")" >&2
  rmdir "$sysroot"
  exit 3
fi

for package in "$state"/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$sysroot"
done
# Absolute links would lead out of the sysroot.
find "$sysroot" -type l -lname '/*' | while read -r link; do
  ln -sfnr "$sysroot$(readlink "$link")" "$link"
done
rm -rf "${sysroot:?}"/{boot,dev,home,media,mnt,opt,proc,root,run,srv,sys,tmp,var} \
  "$sysroot"/usr/{share/{doc,man,locale,perl,zoneinfo,i18n},lib/*/perl*,bin,sbin}
echo "$stamp" > "$sysroot/.complete"
