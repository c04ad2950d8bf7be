#include "images/transform.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <numbers>
#include <utility>
#include <vector>

namespace lbrt {
namespace {

// Pillow's Resample.c: 8 bits of result and 2 bits for sums beyond 255 leave 22 of 32.
constexpr int kPrecisionBits = 32 - 8 - 2;

// One output position of one pass: the inputs first .. first + count - 1 and their coefficients.
struct Taps {
  int first = 0, count = 0;
  size_t offset = 0;  // into Coefficients::values
};
struct Coefficients {
  std::vector<Taps> taps;
  std::vector<int32_t> values;
};

// The coefficients of the outputs begin .. begin + count - 1 of `output`, from `input` pixels. The
// triangle's width grows with the reduction: that is the antialiasing. Every double operation in
// Pillow's order, since its rounding decides bits.
Coefficients BilinearCoefficients(int input, int64_t output, int64_t begin, int count) {
  const double scale = static_cast<double>(input) / static_cast<double>(output);
  const double support = std::max(scale, 1.0);
  const double slope = 1.0 / support;

  Coefficients result;
  result.taps.resize(static_cast<size_t>(count));
  std::vector<double> weights;
  for (int i = 0; i < count; ++i) {
    const double center = (static_cast<double>(begin + i) + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int last = std::min(static_cast<int>(center + support + 0.5), input);
    weights.assign(static_cast<size_t>(last - first), 0.0);
    double sum = 0;
    for (int x = 0; x < last - first; ++x) {
      const double distance = std::fabs((x + first - center + 0.5) * slope);
      weights[x] = distance < 1.0 ? 1.0 - distance : 0.0;
      sum += weights[x];
    }
    result.taps[i] = {first, last - first, result.values.size()};
    for (const double weight : weights)
      result.values.push_back(
          static_cast<int32_t>(0.5 + (sum != 0 ? weight / sum : weight) * (1 << kPrecisionBits)));
  }
  return result;
}

// All products are positive and the coefficients sum to one within their rounding, so the sum fits
// and only the upper end needs clipping.
inline uint8_t Clip8(int32_t sum) {
  return static_cast<uint8_t>(std::min(sum >> kPrecisionBits, 255));
}

// Rows first_row .. first_row + rows - 1 of `image` from pixel `left` on, resized along x.
Image ResizeRows(const Image& image, int left, int first_row, int rows,
                 const Coefficients& columns) {
  const int channels = image.channels;
  Image result(static_cast<int>(columns.taps.size()), rows, channels);
  for (int y = 0; y < rows; ++y) {
    const uint8_t* in = image.row(first_row + y) + static_cast<size_t>(left) * channels;
    uint8_t* out = result.row(y);
    for (const Taps& taps : columns.taps) {
      const int32_t* k = columns.values.data() + taps.offset;
      for (int c = 0; c < channels; ++c) {
        const uint8_t* p = in + static_cast<size_t>(taps.first) * channels + c;
        int32_t sum = 1 << (kPrecisionBits - 1);
        for (int x = 0; x < taps.count; ++x) sum += p[static_cast<size_t>(x) * channels] * k[x];
        *out++ = Clip8(sum);
      }
    }
  }
  return result;
}

// `image`, whose first row is row `first_row` of the whole, resized along y. Row by row, since
// columns would jump through memory.
Image ResizeColumns(const Image& image, int first_row, const Coefficients& rows) {
  const size_t width = static_cast<size_t>(image.width) * image.channels;
  Image result(image.width, static_cast<int>(rows.taps.size()), image.channels);
  std::vector<int32_t> sums(width);
  for (int y = 0; y < result.height; ++y) {
    const Taps& taps = rows.taps[y];
    std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
    for (int i = 0; i < taps.count; ++i) {
      const uint8_t* in = image.row(taps.first - first_row + i);
      const int32_t k = rows.values[taps.offset + i];
      for (size_t x = 0; x < width; ++x) sums[x] += in[x] * k;
    }
    std::transform(sums.begin(), sums.end(), result.row(y), Clip8);
  }
  return result;
}

Image Copy(const Image& image, const Box& region) {
  Image result(region.width, region.height, image.channels);
  const size_t bytes = static_cast<size_t>(region.width) * image.channels;
  for (int y = 0; y < region.height; ++y)
    std::memcpy(result.row(y),
                image.row(static_cast<int>(region.top) + y) + region.left * image.channels, bytes);
  return result;
}

// `image` on a ground of `value`, `left` and `top` pixels from the corner.
Image Surround(const Image& image, int width, int height, int left, int top, uint8_t value) {
  Image result(width, height, image.channels);
  std::fill(result.pixels.begin(), result.pixels.end(), value);
  for (int y = 0; y < image.height; ++y)
    std::memcpy(result.row(top + y) + static_cast<size_t>(left) * image.channels, image.row(y),
                static_cast<size_t>(image.width) * image.channels);
  return result;
}

// Python's round(excess / 2.0) for excess >= 0: a half goes to the even side.
int64_t HalfRoundedToEven(int64_t excess) {
  const int64_t half = excess / 2;
  return excess % 2 != 0 && half % 2 != 0 ? half + 1 : half;
}

// The pixels `region` of what `source`, a part of the image, becomes when resized to `size`.
Image ResizePart(const Image& image, const Box& source, Size size, const Box& region) {
  if (size.width == source.width && size.height == source.height)
    return Copy(image, {source.left + region.left, source.top + region.top, region.width,
                        region.height});
  const Coefficients columns =
      BilinearCoefficients(source.width, size.width, region.left, region.width);
  const Coefficients rows =
      BilinearCoefficients(source.height, size.height, region.top, region.height);
  // The first pass makes only the rows that the second one reads. A pass that keeps its size would
  // copy: one coefficient of 1.
  const int first_row = rows.taps.front().first;
  const int last_row = rows.taps.back().first + rows.taps.back().count;
  return ResizeColumns(ResizeRows(image, static_cast<int>(source.left),
                                  static_cast<int>(source.top) + first_row, last_row - first_row,
                                  columns),
                       first_row, rows);
}

}  // namespace

Image Resize(const Image& image, Size size, const Box& region) {
  return ResizePart(image, {0, 0, image.width, image.height}, size, region);
}

Image Resize(const Image& image, int width, int height) {
  return Resize(image, {width, height}, {0, 0, width, height});
}

Image ResizeBox(const Image& image, const Box& box, int width, int height) {
  return ResizePart(image, box, {width, height}, {0, 0, width, height});
}

Size ShorterSideSize(const Image& image, int shorter) {
  const int64_t w = image.width, h = image.height;
  if (w <= h) return {shorter, shorter * h / w};
  return {shorter * w / h, shorter};
}

Image ResizeShorterSide(const Image& image, int shorter) {
  const Size size = ShorterSideSize(image, shorter);
  return Resize(image, static_cast<int>(size.width), static_cast<int>(size.height));
}

Image ResizeAndCrop(const Image& image, Size size, int crop_width, int crop_height) {
  const Box kept = {HalfRoundedToEven(std::max<int64_t>(size.width - crop_width, 0)),
                    HalfRoundedToEven(std::max<int64_t>(size.height - crop_height, 0)),
                    static_cast<int>(std::min<int64_t>(size.width, crop_width)),
                    static_cast<int>(std::min<int64_t>(size.height, crop_height))};
  Image result = Resize(image, size, kept);
  if (kept.width == crop_width && kept.height == crop_height) return result;
  return Surround(result, crop_width, crop_height, (crop_width - kept.width) / 2,
                  (crop_height - kept.height) / 2, 0);
}

Image CenterCrop(const Image& image, int width, int height) {
  return ResizeAndCrop(image, {image.width, image.height}, width, height);
}

Image Pad(const Image& image, int border, uint8_t value) {
  return Surround(image, image.width + 2 * border, image.height + 2 * border, border, border,
                  value);
}

Image FlipLeftRight(const Image& image) {
  Image result(image.width, image.height, image.channels);
  const size_t channels = static_cast<size_t>(image.channels);
  for (int y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y) + static_cast<size_t>(image.width) * channels;
    uint8_t* out = result.row(y);
    for (int x = 0; x < image.width; ++x, out += channels)
      std::memcpy(out, in -= channels, channels);
  }
  return result;
}

// Python's round(x, 15): the nearest decimal number of 15 places.
static double RoundTo15Places(double x) {
  char text[32];
  const char* end = std::to_chars(text, text + sizeof text, x, std::chars_format::fixed, 15).ptr;
  std::from_chars(text, end, x);
  return x;
}

// Image.rotate, then Geometry.c's affine transformation in 16.16 fixed point.
Image Rotate(const Image& image, double degrees) {
  if (degrees == 0) return image;
  const double radians = -(degrees * (std::numbers::pi / 180));
  const double cosine = RoundTo15Places(std::cos(radians));
  const double sine = RoundTo15Places(std::sin(radians));
  const double x = image.width / 2.0, y = image.height / 2.0;  // of the centre, which stays
  const double left = cosine * -x + sine * -y + 0.0 + x;
  const double top = -sine * -x + cosine * -y + 0.0 + y;
  const auto fixed = [](double v) { return static_cast<int>(std::floor(v * 65536.0 + 0.5)); };
  const int dxx = fixed(cosine), dxy = fixed(sine), dyx = fixed(-sine), dyy = fixed(cosine);
  int row_x = fixed(left + cosine * 0.5 + sine * 0.5);
  int row_y = fixed(top + -sine * 0.5 + cosine * 0.5);

  Image result(image.width, image.height, image.channels);
  const size_t channels = static_cast<size_t>(image.channels);
  for (int i = 0; i < image.height; ++i, row_x += dxy, row_y += dyy) {
    uint8_t* out = result.row(i);
    int from_x = row_x, from_y = row_y;
    for (int j = 0; j < image.width; ++j, out += channels, from_x += dxx, from_y += dyx) {
      const int column = from_x >> 16, row = from_y >> 16;
      if (column >= 0 && column < image.width && row >= 0 && row < image.height)
        std::memcpy(out, image.row(row) + static_cast<size_t>(column) * channels, channels);
    }
  }
  return result;
}

Image WithChannels(Image image, int channels) {
  if (image.channels == channels) return image;
  Image result(image.width, image.height, channels);
  const size_t count = static_cast<size_t>(image.width) * image.height;
  const uint8_t* in = image.pixels.data();
  uint8_t* out = result.pixels.data();
  if (channels == 3) {
    for (size_t i = 0; i < count; ++i) std::fill_n(out + 3 * i, 3, in[i]);
  } else {
    for (size_t i = 0; i < count; ++i, in += 3)
      out[i] =
          static_cast<uint8_t>((19595u * in[0] + 38470u * in[1] + 7471u * in[2] + 32768u) >> 16);
  }
  return result;
}

}  // namespace lbrt
