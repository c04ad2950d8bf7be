#!/usr/bin/env bash
# Packs what the trainer needs besides LibTorch, for a machine with a GPU, a C++ compiler, CMake,
# CUDA's nvcc and Python's PyTorch, but without a network or these libraries: a Debian or Ubuntu of
# the same processor, no older than this one.
#
#   scripts/bundle-for-gpu.sh FOLDER [SHARED]      e.g. build/for-gpu ../shared
#
# FOLDER then holds the libraries, the golden traces and lists of names of SHARED where that is
# given, and a script. There, in the folder of these sources, with FOLDER copied to any place,
#
#   FOLDER/build.sh [TARGET...]
#
# builds TARGETs (lbtrain where none is named) in build/gpu, and says how to run its tests.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
packages=(
  ninja-build pkgconf
  flatbuffers-compiler libflatbuffers-dev
  libhwy-dev libcpuinfo-dev libpthreadpool-dev
  libjpeg-dev libpng-dev zlib1g-dev libmatio-dev libzip-dev
  libcli11-dev nlohmann-json3-dev libgtest-dev libgmock-dev
  libgloo-dev
)
present=(
  libc6 libc6-dev libgcc-s1 libstdc++6                                # the compiler's own
  debconf adduser libgfortran5 libssl-dev libcurl4-openssl-dev        # nothing here uses them
  libibverbs-dev libhiredis-dev
)

rm -rf "$1"
mkdir -p "$1"
folder=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$(dirname "$0")/unpack-packages.sh" "$(dpkg --print-architecture)" "$work/libraries" \
  "${packages[@]}" -- "${present[@]}"
rm -rf "$work/libraries/usr/src"
# Static archives have shared twins, but for GoogleTest's.
find "$work/libraries" -name '*.a' ! -name 'libgtest*' ! -name 'libgmock*' -delete
tar -C "$work" -cJf "$folder/libraries.tar.xz" libraries
if [ $# -eq 2 ]; then
  tar -C "$2" -cJf "$folder/shared.tar.xz" --transform 's,^,shared/,' --mode=u+w golden names
fi

cat > "$folder/build.sh" <<'END'
#!/usr/bin/env bash
# Builds the trainer with CUDA from the sources in the current folder, in build/gpu:
#   build.sh [TARGET...]
set -euo pipefail
bundle=$(cd "$(dirname "$0")" && pwd)
build=$PWD/build/gpu
mkdir -p "$build"
for archive in "$bundle"/*.tar.xz; do
  stamp=$build/$(basename "$archive").sum
  if [ "$(cat "$stamp" 2>/dev/null)" != "$(cksum < "$archive")" ]; then
    (cd "$build" && cmake -E tar xf "$archive")
    cksum < "$archive" > "$stamp"
  fi
done

root=$build/libraries
libraries=$(cd "$root"/usr/lib/*-linux-gnu && pwd)
architecture=${libraries##*/}
cat > "$build/pkg-config" <<PKG_CONFIG
#!/bin/sh
export LD_LIBRARY_PATH=$libraries
export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_LIBDIR=$libraries/pkgconfig
exec "$root/usr/bin/pkgconf" "\$@"
PKG_CONFIG
chmod +x "$build/pkg-config"
torch=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
# A compiler may come with the archive of C++'s library alone. LibTorch brings the shared one, and
# two in a process free each other's memory when it ends: the shared one is found first.
mkdir -p "$build/shared-libraries"
ln -sf "$(ldconfig -p | sed -n "s,.* => \(.*/$architecture/libstdc++\.so\.6\)\$,\1,p")" \
  "$build/shared-libraries/libstdc++.so"
# An old-style path in the programs is searched for the libraries of libraries too.
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DLBRT_TRAINER=ON \
  -DCMAKE_MAKE_PROGRAM="$root/usr/bin/ninja" -DPKG_CONFIG_EXECUTABLE="$build/pkg-config" \
  -DCMAKE_PREFIX_PATH="$root/usr;$torch" \
  -DCMAKE_CXX_FLAGS="-isystem $root/usr/include/$architecture" \
  -DCMAKE_EXE_LINKER_FLAGS="-L$build/shared-libraries \
-Wl,--disable-new-dtags,-rpath,$libraries:$root/lib/$architecture"
if [ $# -eq 0 ]; then
  set -- lbtrain
fi
cmake --build "$build" --parallel --target "$@"
echo "Programs: $build/bin; tests: LBRT_SHARED=$build/shared $build/tests/NAME_test"
END
chmod +x "$folder/build.sh"
