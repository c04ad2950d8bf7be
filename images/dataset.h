// Labelled images from everything the tools read: class folders, CIFAR, SVHN, IDX,
// NumPy arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "images/decode.h"
#include "images/image.h"

namespace lbrt {

// Plain data, read-only once opened: any number of threads may call image().
struct Dataset {
  std::vector<int> labels;               // one per sample
  std::vector<std::string> class_names;  // by label; empty where the source names none

  // The samples, in exactly one of three forms:
  std::vector<std::string> files;  // class folders: decoded when asked for
  std::vector<uint8_t> pixels;     // [n height width channels]: arrays of images of one size
  std::vector<float> values;       // [n shape...]: the network's own input (NCHW for images)

  int height = 0, width = 0, channels = 0;  // of `pixels`
  std::vector<int64_t> shape;               // of one sample of `values`
  std::string source;                       // the path it came from
  bool whole = false;  // the source does not tell training from test images: both splits are all

  size_t size() const;
  // Decodes files[i], which may throw InputError, or copies from `pixels`; not for `values`.
  // least_side: for training only, see decode.h.
  Image image(size_t i, const LeastSide& least_side = {}) const;
  std::string name(size_t i) const;  // "cats/tom.png", "test_batch.bin[17]"
};

enum class Split { kTrain, kTest };

// paths is one of
//   folder           of class folders. A class folder's label is the position of its name in
//                    `labels` (a model's), else its position among the sorted folders. Image files
//                    by extension, sorted; where a class folder has none, those of its folders.
//   folder           that has such folders below train/ and val/ or test/ (ImageNet, imagenette),
//                    or Tiny-ImageNet's val/images/ and val/val_annotations.txt: `split` chooses,
//                    kTest the first of val/ and test/ that is there. The sorted folders of train/
//                    are the labels of both
//   folder           of CIFAR-10 (data_batch_N.bin, test_batch.bin), of CIFAR-100 (train.bin,
//                    test.bin), of MNIST and its kind ({train,t10k}-{images-idx3,labels-idx1}-ubyte
//                    or .gz), or of SVHN ({train,extra,test}_32x32.mat, the training images being
//                    train and, where it is there, extra); `split` chooses
//   folder           that holds what the archives unpack to: cifar-10-batches-bin,
//                    cifar-100-binary, tiny-imagenet-200 or imagenette2-160
//   file.bin         CIFAR: records of 3073 bytes, or of 3074 (CIFAR-100, the fine label) where
//                    only 3074 divides the size
//   images, labels   an IDX pair, plain or gzip. Classes are named by their numbers, but those of
//                    Fashion-MNIST by their names
//   X.npy, y.npy     OpenArray's samples; y: integers [n]
// Every size and label is checked; InputError says what does not fit, and of a public set that is
// missing, how scripts/get-data.sh gets it.
Dataset OpenDataset(const std::vector<std::string>& paths, Split split,
                    const std::vector<std::string>& labels = {});

// Samples without labels: u8 images [n h w c], c = 1 or 3, or [n h w] of grey ones (but [h w 1] and
// [h w 3] are one image), or the network's own input as f32 [n ...].
Dataset OpenArray(const std::string& path);

// Samples whose labels do not matter: image files, a folder of them, an array, or whatever
// OpenDataset takes.
Dataset OpenImages(const std::vector<std::string>& paths, Split split = Split::kTest);

}  // namespace lbrt
