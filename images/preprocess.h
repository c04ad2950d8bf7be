// What is done to an image before a network sees it. Stored with every checkpoint and model,
// applied to every image however it came.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "images/image.h"

namespace lbrt {

// In this order: channels, resize, crop, pad, normalise.
struct Preprocessing {
  int channels = 3;                     // 1 or 3: colour to luma, grey repeated
  int resize = 0;                       // the shorter side; 0 = as it is
  int crop_height = 0, crop_width = 0;  // from the centre; both 0 = no crop
  int pad = 0;                          // black pixels on each side
  std::vector<double> mean;             // per channel, of values in 0..1
  std::vector<double> std;              // per channel, > 0

  friend bool operator==(const Preprocessing&, const Preprocessing&) = default;
};

// Everything up to the normalisation.
Image Apply(const Preprocessing& preprocessing, Image image);

// [channels 256]: (v / 255 - mean) / std for each channel and byte value, in double, rounded once.
std::vector<float> NormaliseTable(const Preprocessing& preprocessing);

// The text form: one `key = value` per line, '#' begins a comment. Numbers survive the round trip.
//   channels = 3
//   resize = 28
//   crop = 28 28          height, width
//   pad = 2
//   mean = 0.5 0.5 0.5
//   std = 0.5 0.5 0.5
// channels, mean and std must be there; resize, crop and pad are 0 when absent; `crop = 28` is a
// square. FromText throws InputError "name: line 3: ...".
std::string ToText(const Preprocessing& preprocessing);
Preprocessing FromText(std::string_view text, const std::string& name);

}  // namespace lbrt
