#include "images/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <string_view>

#include "images/error.h"
#include "images/file.h"

namespace lbrt {
namespace {

static_assert(std::endian::native == std::endian::little,
              "arrays are stored as they lie in memory");

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxRank = 8;

size_t ElementBytes(NpyType type) {
  switch (type) {
    case NpyType::kU8:
      return 1;
    case NpyType::kI64:
      return 8;
    default:
      return 4;
  }
}

// The header is a Python dictionary literal, always of these three keys:
//   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  void Parse(NpyArray& array) {
    Expect('{');
    while (!Take('}')) {
      const std::string_view key = String();
      Expect(':');
      if (key == "descr") {
        array.type = Type(String());
        seen_ |= 1;
      } else if (key == "fortran_order") {
        if (TakeWord("True"))
          throw InputError(name_, "the array is in Fortran order, expected C order");
        if (!TakeWord("False")) Refuse();
        seen_ |= 2;
      } else if (key == "shape") {
        array.shape = Shape();
        seen_ |= 4;
      } else {
        Refuse();
      }
      if (!Take(',')) {
        Expect('}');
        break;
      }
    }
    if (seen_ != 7) Refuse();
  }

 private:
  [[noreturn]] void Refuse() const {
    throw InputError(name_, "damaged .npy header, expected descr, fortran_order and shape");
  }
  void SkipBlanks() { text_.remove_prefix(std::min(text_.find_first_not_of(" \n"), text_.size())); }
  bool Take(char c) {
    SkipBlanks();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    SkipBlanks();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  void Expect(char c) {
    if (!Take(c)) Refuse();
  }
  std::string_view String() {
    const char quote = Take('\'') ? '\'' : '"';
    if (quote == '"') Expect('"');
    const size_t end = text_.find(quote);
    if (end == std::string_view::npos) Refuse();
    const std::string_view string = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return string;
  }
  NpyType Type(std::string_view descr) const {
    if (descr == "|u1" || descr == "<u1") return NpyType::kU8;
    if (descr == "<i4") return NpyType::kI32;
    if (descr == "<i8") return NpyType::kI64;
    if (descr == "<f4") return NpyType::kF32;
    throw InputError(name_, "elements of type " + std::string(descr) +
                                ", expected uint8, int32, int64 or float32, little-endian");
  }
  std::vector<int64_t> Shape() {
    std::vector<int64_t> shape;
    Expect('(');
    while (!Take(')')) {
      int64_t side = 0;
      SkipBlanks();
      const auto [end, error] = std::from_chars(text_.data(), text_.data() + text_.size(), side);
      if (error != std::errc() || side < 0 || shape.size() == kMaxRank) Refuse();
      text_.remove_prefix(static_cast<size_t>(end - text_.data()));
      shape.push_back(side);
      if (!Take(',')) {
        Expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view text_;
  const std::string& name_;
  int seen_ = 0;
};

template <typename T, typename Out>
std::vector<Out> Converted(const std::vector<uint8_t>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return std::vector<Out>(values.begin(), values.end());
}

}  // namespace

size_t NpyArray::count() const { return bytes.size() / ElementBytes(type); }

std::vector<float> NpyArray::floats() const { return Converted<float, float>(bytes); }

std::vector<int64_t> NpyArray::integers() const {
  switch (type) {
    case NpyType::kU8:
      return Converted<uint8_t, int64_t>(bytes);
    case NpyType::kI32:
      return Converted<int32_t, int64_t>(bytes);
    default:
      return Converted<int64_t, int64_t>(bytes);
  }
}

NpyArray ReadNpy(const std::string& path) {
  NpyArray array;
  array.bytes = ReadFile(path);
  const std::vector<uint8_t>& bytes = array.bytes;
  if (bytes.size() < 10 || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0)
    throw InputError(path, "not a NumPy array, expected a .npy file");
  const int version = bytes[6];
  if (version < 1 || version > 3)
    throw InputError(path, ".npy format version " + std::to_string(version) + ", expected 1 to 3");
  const size_t begin = version == 1 ? 10 : 12;
  size_t length = bytes[8] | bytes[9] << 8;
  if (version > 1 && bytes.size() >= begin)
    length |= static_cast<size_t>(bytes[10]) << 16 | static_cast<size_t>(bytes[11]) << 24;
  if (bytes.size() < begin || length > bytes.size() - begin)
    throw InputError(path, "truncated .npy file: " + std::to_string(bytes.size()) +
                               " bytes end inside the header");
  HeaderParser({reinterpret_cast<const char*>(bytes.data()) + begin, length}, path).Parse(array);

  // Sides first, so that a product of large ones cannot wrap round. A side of 0 makes it empty.
  size_t expected = ElementBytes(array.type);
  const bool empty = std::find(array.shape.begin(), array.shape.end(), 0) != array.shape.end();
  for (const int64_t side : array.shape) {
    if (empty) break;
    if (static_cast<uint64_t>(side) > std::numeric_limits<size_t>::max() / expected)
      throw InputError(path, "an array too large for any file");
    expected *= static_cast<size_t>(side);
  }
  if (empty) expected = 0;
  const size_t data = bytes.size() - begin - length;
  if (data != expected)
    throw InputError(path, std::to_string(data) + " bytes of elements, expected " +
                               std::to_string(expected) + " for the shape in the header");
  array.bytes.erase(array.bytes.begin(),
                    array.bytes.begin() + static_cast<std::ptrdiff_t>(begin + length));
  return array;
}

void WriteNpy(const std::string& path, std::span<const float> values, size_t rows, size_t columns) {
  // NumPy aligns the elements to 64 bytes with blanks and ends the header with a newline.
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(rows) + ", " + std::to_string(columns) + "), }";
  header.append(63 - (10 + header.size()) % 64, ' ');
  header += '\n';
  const char version_and_length[4] = {1, 0, static_cast<char>(header.size() & 255),
                                      static_cast<char>(header.size() >> 8)};
  AtomicFile file(path);
  file.Write(kMagic);
  file.Write(std::string_view(version_and_length, 4));
  file.Write(header);
  file.Write({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()});
  file.Commit();
}

}  // namespace lbrt
