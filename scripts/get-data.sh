#!/usr/bin/env bash
# Downloads a public data set into a folder of its own, checks it, and unpacks it.
#
#   scripts/get-data.sh NAME DIR
#
# NAME is cifar10, cifar100, svhn, tiny-imagenet, imagenette or fashion-mnist. DIR is then what
# lbtrain's --data takes. What is there already is not fetched again. A file whose checksum is wrong
# is dropped: whatever appears in DIR is complete.
#
# LBRT_DATA_MIRROR=URL fetches URL/FILE instead of the publisher's. LBRT_DATA_CHECKSUMS=FILE
# replaces the checksums (the lines of md5sum), for files that are not the published ones.
set -euo pipefail

# File, the MD5 that its publisher or torchvision states, the folder it unpacks to (- for none).
cifar10() {
  from=https://www.cs.toronto.edu/~kriz
  get cifar-10-binary.tar.gz c32a1d4ab5d03f1284b67883e8d87530 cifar-10-batches-bin
}
cifar100() {
  from=https://www.cs.toronto.edu/~kriz
  get cifar-100-binary.tar.gz 03b5dce01913d631647c71ecec9e9cb8 cifar-100-binary
}
svhn() {
  from=http://ufldl.stanford.edu/housenumbers
  get train_32x32.mat e26dedcc434d2e4c54c9b2d4a06d8373 -
  get test_32x32.mat eb5a983be6a315427106f1b164d9cef3 -
  get extra_32x32.mat a93ce644f1a588dc4d68dda5feec44a7 -
}
tiny-imagenet() {
  need unzip
  from=http://cs231n.stanford.edu
  get tiny-imagenet-200.zip 90528d7ca1a48142e341f4ef8d21d0de tiny-imagenet-200
}
imagenette() {
  from=https://s3.amazonaws.com/fast-ai-imageclas
  get imagenette2-160.tgz e793b78cc4c9e9a4ccc0c1155377a412 imagenette2-160
}
fashion-mnist() {
  from=http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
  get train-images-idx3-ubyte.gz 8d4fb7e6c68d591d4c3dfef9ec88bf0d -
  get train-labels-idx1-ubyte.gz 25c81989df183df01b3e8a0aad5dffbe -
  get t10k-images-idx3-ubyte.gz bef4ecab320f06d8554ea6380940ec79 -
  get t10k-labels-idx1-ubyte.gz bb300cfdad3c16e7a12a480ee83cd310 -
}

fail() {
  echo "get-data: $1" >&2
  exit "${2:-1}"
}

need() {
  command -v "$1" > /dev/null || fail "needs $1, which is not installed"
}

# get FILE MD5 FOLDER: the file, or the folder that it holds, appears in $dir whole or not at all.
get() {
  local file=$1 expected=$2 folder=$3 result=$1
  if [ "$folder" != - ]; then
    result=$folder
  fi
  if [ -e "$dir/$result" ]; then
    echo "$dir/$result is there"
    return
  fi
  if [ -n "${LBRT_DATA_CHECKSUMS:-}" ]; then
    expected=$(awk -v file="$file" '$2 == file { print $1 }' "$LBRT_DATA_CHECKSUMS")
  fi

  local url=${LBRT_DATA_MIRROR:-$from}/$file
  echo "$url"
  curl --fail --location --silent --show-error --retry 3 --output "$work/$file" "$url" ||
    fail "$url: cannot download"
  local md5
  md5=$(md5sum < "$work/$file" | cut -d' ' -f1)
  if [ "$md5" != "$expected" ]; then
    fail "$url: MD5 $md5, expected ${expected:-none, the file has no checksum}"
  fi
  if [ "$folder" != - ]; then
    unpack "$work/$file" "$work"
    [ -d "$work/$folder" ] || fail "$file: holds no $folder"
  fi
  mv -T "$work/$result" "$dir/$result"
}

unpack() {
  case $1 in
    *.zip) unzip -q "$1" -d "$2" ;;
    *) tar -xzf "$1" -C "$2" --no-same-owner ;;
  esac
  rm "$1"
}

names=(cifar10 cifar100 svhn tiny-imagenet imagenette fashion-mnist)
if [ $# -ne 2 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
known=false
for name in "${names[@]}"; do
  if [ "$name" = "$1" ]; then
    known=true
  fi
done
if ! $known; then
  fail "unknown data set \"$1\", expected one of: ${names[*]}" 2
fi
need curl
mkdir -p "$2"
dir=$(cd "$2" && pwd)
work=$(mktemp -d "$dir/.get-data.XXXXXX")  # in $dir, so that a move is a rename
trap 'rm -rf "$work"' EXIT
"$1"
