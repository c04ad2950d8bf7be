#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages that are missing, and nothing where none is.
#
#   scripts/install-packages.sh demo    what scripts/demo.sh needs
#   scripts/install-packages.sh all     what scripts/test.sh needs: everything
set -euo pipefail

packages=(
  g++ cmake ninja-build pkg-config                                    # to build
  flatbuffers-compiler libflatbuffers-dev                             # schema/
  libhwy-dev libcpuinfo-dev libpthreadpool-dev                        # kernels/, runtime/
  libjpeg-dev libpng-dev zlib1g-dev libmatio-dev libzip-dev           # images/, network/
  libcli11-dev                                                        # apps/
)
case ${1:-} in
  demo)
    packages+=(dataset-fashion-mnist netpbm)
    ;;
  all)
    packages+=(
      dataset-fashion-mnist
      curl unzip                                                      # scripts/get-data.sh
      ccache clang libclang-rt-dev
      libgtest-dev nlohmann-json3-dev python3-torch                   # tests/
      libtorch-dev libgloo-dev                                        # trainer/
      libxnnpack-dev libdnnl-dev                                      # lbbench's other engines
      g++-aarch64-linux-gnu qemu-user                                 # the aarch64 preset
      gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib  # cortex-m4
      qemu-system-arm                                                 # a board with one
    )
    ;;
  *)
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

missing=()
for package in "${packages[@]}"; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
    missing+=("$package")
  fi
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

echo "Installing: ${missing[*]}"
root=()
if [ "$(id -u)" -ne 0 ]; then
  root=(sudo)
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -qq --yes --no-install-recommends "${missing[@]}" > /dev/null
