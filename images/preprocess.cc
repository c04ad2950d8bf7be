#include "images/preprocess.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "images/error.h"
#include "images/transform.h"

namespace lbrt {
namespace {

constexpr int kLargestSide = 16384;  // of a network's input; kMaxPixels as a square
constexpr int kLargestPad = 1024;

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Everything before the first `separator` (or all); `text` keeps what follows it.
std::string_view TakeUntil(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view taken = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return taken;
}

// A list of numbers apart by blanks, all of them finite; empty where it is not one.
std::vector<double> Numbers(std::string_view text) {
  std::vector<double> numbers;
  while (!text.empty()) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const size_t used = static_cast<size_t>(end - text.data());
    if (error != std::errc() || !std::isfinite(value)) return {};
    if (used < text.size() && text[used] != ' ' && text[used] != '\t') return {};
    numbers.push_back(value);
    text = Trim(text.substr(used));
  }
  return numbers;
}

bool AreIntegers(const std::vector<double>& numbers, int low, int high) {
  for (const double v : numbers)
    if (v < low || v > high || v != std::floor(v)) return false;
  return !numbers.empty();
}

// Stores one `key = value`; says what was expected where it cannot.
std::string Assign(Preprocessing& p, std::string_view key, const std::vector<double>& v) {
  const auto range = [](int low, int high) {
    return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
  };
  const auto integer = [&](int low, int high) {
    return v.size() == 1 && AreIntegers(v, low, high);
  };
  if (key == "channels") {
    if (!integer(1, 3) || v[0] == 2) return "1 or 3";
    p.channels = static_cast<int>(v[0]);
  } else if (key == "resize") {
    if (!integer(0, kLargestSide)) return range(0, kLargestSide);
    p.resize = static_cast<int>(v[0]);
  } else if (key == "crop") {
    if (v.size() > 2 || !AreIntegers(v, 0, kLargestSide) || (v.front() == 0) != (v.back() == 0))
      return "height and width, or one side of a square, up to " + std::to_string(kLargestSide);
    p.crop_height = static_cast<int>(v.front());
    p.crop_width = static_cast<int>(v.back());
  } else if (key == "pad") {
    if (!integer(0, kLargestPad)) return range(0, kLargestPad);
    p.pad = static_cast<int>(v[0]);
  } else if (key == "mean") {
    if (v.empty()) return "a number per channel";
    p.mean = v;
  } else {
    for (const double s : v)
      if (!(s > 0)) return "numbers above 0";
    if (v.empty()) return "a number per channel";
    p.std = v;
  }
  return "";
}

std::string NumberText(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};  // shortest that reads back
}

}  // namespace

Image Apply(const Preprocessing& p, Image image) {
  image = WithChannels(std::move(image), p.channels);
  Size size = {image.width, image.height};
  if (p.resize > 0) size = ShorterSideSize(image, p.resize);
  if (p.crop_height > 0) {
    image = ResizeAndCrop(image, size, p.crop_width, p.crop_height);
  } else if (size.width * size.height <= kMaxPixels) {
    image = Resize(image, static_cast<int>(size.width), static_cast<int>(size.height));
  } else {
    throw InputError("an image of " + std::to_string(image.width) + "x" +
                     std::to_string(image.height) + " pixels becomes too large when resized to " +
                     std::to_string(p.resize) + ", expected a less elongated one");
  }
  return p.pad > 0 ? Pad(image, p.pad) : image;
}

std::vector<float> NormaliseTable(const Preprocessing& p) {
  std::vector<float> table;
  for (size_t c = 0; c < p.mean.size(); ++c)
    for (int v = 0; v < 256; ++v)
      table.push_back(static_cast<float>((v / 255.0 - p.mean[c]) / p.std[c]));
  return table;
}

std::string ToText(const Preprocessing& p) {
  std::ostringstream text;
  text << "channels = " << p.channels << "\nresize = " << p.resize;
  text << "\ncrop = " << p.crop_height << ' ' << p.crop_width << "\npad = " << p.pad;
  text << "\nmean =";
  for (const double v : p.mean) text << ' ' << NumberText(v);
  text << "\nstd =";
  for (const double v : p.std) text << ' ' << NumberText(v);
  text << '\n';
  return text.str();
}

Preprocessing FromText(std::string_view text, const std::string& name) {
  static constexpr std::string_view kKeys[] = {"channels", "resize", "crop", "pad", "mean", "std"};
  Preprocessing p;
  std::set<std::string, std::less<>> seen;
  for (int line = 1; !text.empty(); ++line) {
    const auto refuse = [&](const std::string& what) {
      throw InputError(name, "line " + std::to_string(line) + ": " + what);
    };
    std::string_view rest = TakeUntil(text, '\n');
    rest = Trim(TakeUntil(rest, '#'));
    if (rest.empty()) continue;
    if (rest.find('=') == std::string_view::npos) refuse("expected `key = value`");
    const std::string key(Trim(TakeUntil(rest, '=')));
    if (std::find(std::begin(kKeys), std::end(kKeys), key) == std::end(kKeys))
      refuse("unknown key " + key + ", expected channels, resize, crop, pad, mean or std");
    if (!seen.insert(key).second) refuse(key + " is given twice");
    const std::string expected = Assign(p, key, Numbers(Trim(rest)));
    if (!expected.empty()) refuse("bad " + key + ", expected " + expected);
  }
  for (const char* key : {"channels", "mean", "std"})
    if (!seen.contains(key)) throw InputError(name, std::string("no ") + key + " is given");
  const auto channels = static_cast<size_t>(p.channels);
  if (p.mean.size() != channels || p.std.size() != channels)
    throw InputError(name, std::to_string(p.mean.size()) + " means and " +
                               std::to_string(p.std.size()) + " stds, expected " +
                               std::to_string(channels) + " of each, one per channel");
  return p;
}

}  // namespace lbrt
