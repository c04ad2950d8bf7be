#!/usr/bin/env bash
# Unpacks packages of this very distribution, and all that they need, into a folder. The system's
# own package state is neither used nor changed.
#
#   scripts/unpack-packages.sh ARCHITECTURE FOLDER PACKAGE... [-- PRESENT...]
#
# PRESENT packages count as installed: they and what only they need are left out. Exit status 3: the
# package sources of this system do not offer them all for that architecture.
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
architecture=$1
folder=$2
shift 2
packages=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  packages+=("$1")
  shift
done
[ $# -eq 0 ] || shift

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
: > "$state/status"  # nothing is installed: everything needed is fetched
options=(-qq
  -o APT::Architecture="$architecture" -o APT::Architectures::="$architecture"
  -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status"
  -o Dir::Cache="$state/cache" -o APT::Sandbox::User="$(id -un)" -o Debug::NoLocking=1
  -o APT::Install-Recommends=0 -o Acquire::Languages=none -o Acquire::Retries=3)
apt-get "${options[@]}" update > "$state/log" 2>&1 || true  # a source may lack the architecture
for present in "$@"; do
  apt-cache "${options[@]}" show --no-all-versions "$present" |
    grep -E '^(Package|Architecture|Multi-Arch|Version|Provides):'
  printf 'Status: install ok installed\n\n'
done > "$state/status"
if ! apt-get "${options[@]}" install --yes --download-only "${packages[@]}" \
    > "$state/log" 2>&1; then
  echo "no packages for $architecture here: $(grep -m1 '^E:' "$state/log")" >&2
  exit 3
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
for package in "$state"/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
# Absolute links would lead out of the folder.
find "$folder" -type l -lname '/*' | while read -r link; do
  ln -sfnr "$folder$(readlink "$link")" "$link"
done
rm -rf "${folder:?}"/{boot,dev,home,media,mnt,opt,proc,root,run,srv,sys,tmp,var} \
  "$folder"/usr/{share/{doc,man,locale,perl,zoneinfo,i18n},lib/*/perl*}
