#include "images/augment.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <numbers>
#include <optional>
#include <utility>

#include "images/error.h"

namespace lbrt {
namespace {

constexpr struct {
  Augmentation augmentation;
  const char* name;
} kAugmentations[] = {{Augmentation::kNone, "none"},
                      {Augmentation::kBlack, "black"},
                      {Augmentation::kReflect, "reflect"},
                      {Augmentation::kImageNet, "imagenet"},
                      {Augmentation::kRecuImageNet, "recu-imagenet"},
                      {Augmentation::kRotate, "rotate"}};

// 0 .. n - 1.
int Below(int n, const Uniform& uniform) {
  return std::min(static_cast<int>(uniform() * n), n - 1);
}

double Between(double low, double high, const Uniform& uniform) {
  return low + uniform() * (high - low);
}

// Mean 0, variance 1 (Box and Muller).
double Normal(const Uniform& uniform) {
  const double u = 1.0 - uniform();  // (0, 1]
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2 * std::numbers::pi * uniform());
}

// Position i of an axis of n pixels continued by reflection, ... 2 1 [0 1 2 ... n-1] n-2 ...
int Reflect(int i, int n) {
  if (i < 0) i = -i;
  return i < n ? i : 2 * (n - 1) - i;
}

// Python's int(round(x)).
int Rounded(double x) { return static_cast<int>(std::nearbyint(x)); }

// `box`, of an image of full_width x full_height, in the same image decoded smaller.
Box Scaled(const Box& box, int full_width, int full_height, const Image& image) {
  const double x = static_cast<double>(image.width) / full_width;
  const double y = static_cast<double>(image.height) / full_height;
  Box scaled;
  scaled.width = std::clamp(Rounded(box.width * x), 1, image.width);
  scaled.height = std::clamp(Rounded(box.height * y), 1, image.height);
  scaled.left = std::min(Rounded(static_cast<double>(box.left) * x), image.width - scaled.width);
  scaled.top = std::min(Rounded(static_cast<double>(box.top) * y), image.height - scaled.height);
  return scaled;
}

// A random box of the image, resized. It is drawn before the image is decoded, which is then made
// no larger than leaves the box the wanted size.
Image RandomBox(const Dataset& dataset, size_t i, int channels, double max_area, int width,
                int height, const Uniform& uniform) {
  std::optional<Box> box;
  int full_width = 0, full_height = 0;
  Image image = dataset.image(i, [&](int w, int h) {
    box = DrawBox(full_width = w, full_height = h, max_area, uniform);
    const double enlarged = std::max(static_cast<double>(width) / box->width,
                                     static_cast<double>(height) / box->height);
    return static_cast<int>(std::ceil(std::min(w, h) * std::min(enlarged, 1.0)));
  });
  image = WithChannels(std::move(image), channels);
  if (!box) return ResizeBox(image, DrawBox(image.width, image.height, max_area, uniform), width,
                             height);
  return ResizeBox(image, Scaled(*box, full_width, full_height, image), width, height);
}

Image Prepared(const Dataset& dataset, size_t i, const Preprocessing& preprocessing) {
  LeastSide least_side;
  if (preprocessing.resize > 0)
    least_side = [&](int, int) { return preprocessing.resize; };
  return Apply(preprocessing, dataset.image(i, least_side));
}

}  // namespace

Augmentation ParseAugmentation(const std::string& text) {
  std::string names;
  for (size_t i = 0; i < std::size(kAugmentations); ++i) {
    if (text == kAugmentations[i].name) return kAugmentations[i].augmentation;
    names += i == 0 ? "" : i + 1 < std::size(kAugmentations) ? ", " : " or ";
    names += kAugmentations[i].name;
  }
  throw InputError("unknown augmentation \"" + text + "\", expected " + names);
}

const char* AugmentationName(Augmentation augmentation) {
  for (const auto& a : kAugmentations)
    if (augmentation == a.augmentation) return a.name;
  return "";
}

Image TrainingImage(const Dataset& dataset, size_t i, const Preprocessing& preprocessing,
                    Augmentation augmentation, int width, int height, const Uniform& uniform) {
  Image image;
  switch (augmentation) {
    case Augmentation::kNone:
      image = Prepared(dataset, i, preprocessing);
      break;
    case Augmentation::kBlack:
    case Augmentation::kReflect: {
      const Image whole = Prepared(dataset, i, preprocessing);
      const bool reflect = augmentation == Augmentation::kReflect;
      if (reflect && std::min(whole.width, whole.height) <= kCropBorder)
        throw InputError(dataset.name(i), "is too small for a reflected border of " +
                                              std::to_string(kCropBorder) + " pixels");
      image = Image(whole.width, whole.height, whole.channels);
      Place(whole.pixels.data(), whole.height, whole.width, whole.channels, reflect,
            DrawPlacement(uniform), image.pixels.data());
      break;
    }
    case Augmentation::kImageNet:
      image = RandomBox(dataset, i, preprocessing.channels, 1.0, width, height, uniform);
      if (DrawFlip(uniform)) image = FlipLeftRight(image);
      break;
    case Augmentation::kRecuImageNet:
      image = RandomBox(dataset, i, preprocessing.channels, 1.25, width, height, uniform);
      AddLighting(DrawLighting(uniform), image);
      if (DrawFlip(uniform)) image = FlipLeftRight(image);
      break;
    case Augmentation::kRotate:
      image = Rotate(Prepared(dataset, i, preprocessing), DrawRotation(uniform));
      if (DrawFlip(uniform)) image = FlipLeftRight(image);
      break;
  }
  if (image.width != width || image.height != height)
    throw InputError(dataset.name(i), "is " + std::to_string(image.width) + " x " +
                                          std::to_string(image.height) +
                                          " pixels after preprocessing, the network takes " +
                                          std::to_string(width) + " x " + std::to_string(height));
  return image;
}

Placement DrawPlacement(const Uniform& uniform) {
  Placement p;
  p.y = Below(2 * kCropBorder + 1, uniform) - kCropBorder;
  p.x = Below(2 * kCropBorder + 1, uniform) - kCropBorder;
  p.flip = DrawFlip(uniform);
  return p;
}

void Place(const uint8_t* image, int height, int width, int channels, bool reflect,
           const Placement& placement, uint8_t* out) {
  const size_t c = static_cast<size_t>(channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x, out += c) {
      int from_y = y + placement.y;
      int from_x = (placement.flip ? width - 1 - x : x) + placement.x;
      if (reflect) {
        from_y = Reflect(from_y, height);
        from_x = Reflect(from_x, width);
      }
      if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width)
        std::memset(out, 0, c);
      else
        std::memcpy(out, image + (static_cast<size_t>(from_y) * width + from_x) * c, c);
    }
}

bool DrawFlip(const Uniform& uniform) { return uniform() >= 0.5; }

Box DrawBox(int width, int height, double max_area, const Uniform& uniform) {
  constexpr double kMinArea = 0.08, kMinRatio = 3.0 / 4.0, kMaxRatio = 4.0 / 3.0;
  const double area = static_cast<double>(width) * height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * Between(kMinArea, max_area, uniform);
    const double ratio = std::exp(Between(std::log(kMinRatio), std::log(kMaxRatio), uniform));
    const int w = Rounded(std::sqrt(target * ratio)), h = Rounded(std::sqrt(target / ratio));
    if (w <= 0 || w > width || h <= 0 || h > height) continue;
    const int top = Below(height - h + 1, uniform);
    return {Below(width - w + 1, uniform), top, w, h};
  }
  int w = width, h = height;
  const double ratio = static_cast<double>(width) / height;
  if (ratio < kMinRatio) h = Rounded(width / kMinRatio);
  if (ratio > kMaxRatio) w = Rounded(height * kMaxRatio);
  return {(width - w) / 2, (height - h) / 2, w, h};
}

double DrawRotation(const Uniform& uniform) { return Between(-20, 20, uniform); }

std::array<double, 3> DrawLighting(const Uniform& uniform) {
  constexpr double kDeviation = 0.1;
  constexpr double kValues[3] = {0.2175, 0.0188, 0.0045};
  constexpr double kAxes[3][3] = {  // of red, green and blue, along each axis
      {-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};
  std::array<double, 3> shift = {};
  for (int axis = 0; axis < 3; ++axis) {
    const double along = static_cast<float>(kDeviation * Normal(uniform)) * kValues[axis];
    for (int c = 0; c < 3; ++c) shift[c] += kAxes[c][axis] * along;
  }
  return shift;
}

void AddLighting(const std::array<double, 3>& shift, Image& image) {
  if (image.channels != 3) return;
  uint8_t table[3][256];
  for (int c = 0; c < 3; ++c)
    for (int value = 0; value < 256; ++value)
      table[c][value] = static_cast<uint8_t>(std::clamp(value + shift[c], 0.0, 255.0));
  for (size_t i = 0; i < image.pixels.size(); i += 3)
    for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = table[c][image.pixels[i + c]];
}

}  // namespace lbrt
