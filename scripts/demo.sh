#!/usr/bin/env bash
# Real images through a network of one-bit weights and activations, from nothing: installs what is
# missing, builds lbrun and lbconvert (no LibTorch), evaluates a shipped model on the 10,000 test
# images of Fashion-MNIST and classifies a few of them from PNG files.
#
#   scripts/demo.sh             a few of the test images
#   scripts/demo.sh IMAGE...    these images instead
set -euo pipefail
images=()
for image in "$@"; do
  images+=("$(realpath "$image")")
done
cd "$(dirname "$0")/.."

model=models/recu-resnet20-fashion-mnist.lbm
data=/usr/share/datasets/fashion-mnist
build=build/demo

scripts/install-packages.sh demo
mkdir -p $build/images
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DLBRT_TESTS=OFF > $build/configure.log 2>&1 ||
  { cat $build/configure.log >&2; exit 1; }
cmake --build $build --target lbrun lbconvert

# Image number $1 of the test file as a PNG file, named by its number and what it shows.
write_png() {
  local classes=(t-shirt trouser pullover dress coat sandal shirt sneaker bag ankle-boot)
  local label
  label=$(od -An -tu1 -j $((8 + $1)) -N 1 $build/labels | tr -d ' ')
  png=$build/images/$(printf %04d "$1")-${classes[$label]}.png
  {
    printf 'P5 28 28 255\n'
    dd if=$build/pixels iflag=skip_bytes,count_bytes skip=$((16 + 784 * $1)) count=784 status=none
  } | pnmtopng -quiet > "$png"
}

echo
echo "$model: the network, as it is stored"
$build/bin/lbconvert --describe $model
echo
echo "Accuracy on the 10,000 test images of Fashion-MNIST"
$build/bin/lbrun $model --eval $data

if [ ${#images[@]} -eq 0 ]; then
  gzip -dc $data/t10k-images-idx3-ubyte.gz > $build/pixels
  gzip -dc $data/t10k-labels-idx1-ubyte.gz > $build/labels
  for number in 0 1 2 3 23 7000; do
    write_png $number
    images+=("$png")
  done
fi
echo
echo "Images, classified"
$build/bin/lbrun $model "${images[@]}" --top 3
