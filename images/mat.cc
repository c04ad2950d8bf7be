// SVHN: MATLAB files of version 5, read by libmatio.
#include <matio.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

#include "images/dataset_parts.h"
#include "images/error.h"

namespace lbrt {
namespace {

constexpr size_t kSide = 32, kPlane = kSide * kSide, kImageBytes = 3 * kPlane;

struct Close {
  void operator()(mat_t* file) const { Mat_Close(file); }
  void operator()(matvar_t* variable) const { Mat_VarFree(variable); }
};
using MatFile = std::unique_ptr<mat_t, Close>;
using Variable = std::unique_ptr<matvar_t, Close>;

[[noreturn]] void RefuseFormat(const std::string& path) {
  throw InputError(path, "not a MATLAB file of version 5, expected one of SVHN's cropped digits");
}

// A file is a header of 128 bytes and elements: type, bytes, data. libmatio takes a truncated one
// for complete and leaves the rest of the data as it is, so they must end where the file does.
void CheckComplete(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  file.seekg(0, std::ios::end);
  const auto size = static_cast<uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  constexpr uint64_t kHeader = 128, kTag = 8;
  std::array<uint8_t, kTag> tag;
  const auto read_at = [&](uint64_t at) {
    file.seekg(static_cast<std::streamoff>(at));
    return static_cast<bool>(file.read(reinterpret_cast<char*>(tag.data()), kTag));
  };
  // Its last four bytes: version 0x0100, then the byte order, which is this one or 'M' 'I'.
  if (size < kHeader || !read_at(kHeader - kTag) || tag[4] != 0 || tag[5] != 1 || tag[6] != 'I' ||
      tag[7] != 'M')
    RefuseFormat(path);
  uint64_t end = kHeader;
  while (end < size) {
    if (!read_at(end)) break;
    constexpr uint32_t kCompressed = 15;  // only these are not padded to 8 bytes
    const auto u32 = [&](size_t i) {
      return static_cast<uint32_t>(tag[i + 3]) << 24 | tag[i + 2] << 16 | tag[i + 1] << 8 | tag[i];
    };
    const uint64_t bytes = u32(4);
    end += kTag + (u32(0) == kCompressed ? bytes : (bytes + 7) / 8 * 8);
  }
  if (end != size)
    throw InputError(path, "truncated or damaged: " + std::to_string(size) +
                               " bytes end inside an array");
}

// The variable without its data.
Variable Find(mat_t* file, const std::string& path, const char* name) {
  Variable variable(Mat_VarReadInfo(file, name));
  if (!variable)
    throw InputError(path, std::string("holds no variable ") + name + ", expected X and y");
  return variable;
}

std::string ShapeOf(const matvar_t& variable) {
  std::string text = "[";
  for (int i = 0; i < variable.rank; ++i)
    text += (i > 0 ? " " : "") + std::to_string(variable.dims[i]);
  return text + "]";
}

void ReadData(mat_t* file, const std::string& path, matvar_t& variable) {
  if (Mat_VarReadDataAll(file, &variable) != 0 || variable.data == nullptr)
    throw InputError(path, std::string("damaged: cannot read ") + variable.name);
}

size_t CheckImages(const std::string& path, const matvar_t& x) {
  if (x.class_type != MAT_C_UINT8 || x.isComplex || x.rank != 4 || x.dims[0] != kSide ||
      x.dims[1] != kSide || x.dims[2] != 3 || x.dims[3] == 0)
    throw InputError(path, "X is " + ShapeOf(x) + " of class " + std::to_string(x.class_type) +
                               ", expected uint8 [32 32 3 n]");
  return x.dims[3];
}

// MATLAB's own numbers are doubles; the published files hold bytes.
void CheckLabels(const std::string& path, const matvar_t& y, size_t count) {
  const bool type = y.class_type == MAT_C_UINT8 || y.class_type == MAT_C_DOUBLE;
  if (!type || y.isComplex || y.rank != 2 || std::min(y.dims[0], y.dims[1]) != 1 ||
      y.dims[0] * y.dims[1] != count)
    throw InputError(path, "y is " + ShapeOf(y) + " of class " + std::to_string(y.class_type) +
                               ", expected [" + std::to_string(count) +
                               " 1] of class uint8 or double, one label per image");
}

}  // namespace

void AppendSvhn(const std::string& path, Dataset& data) {
  CheckComplete(path);
  const MatFile file(Mat_Open(path.c_str(), MAT_ACC_RDONLY));
  if (!file) RefuseFormat(path);
  const Variable x = Find(file.get(), path, "X"), y = Find(file.get(), path, "y");
  const size_t count = CheckImages(path, *x);
  CheckLabels(path, *y, count);

  ReadData(file.get(), path, *y);
  for (size_t i = 0; i < count; ++i) {
    const double label = y->class_type == MAT_C_UINT8 ? static_cast<const uint8_t*>(y->data)[i]
                                                      : static_cast<const double*>(y->data)[i];
    if (!(label >= 1 && label <= 10) || label != static_cast<int>(label))
      throw InputError(path, "label " + std::to_string(label) + " of image " + std::to_string(i) +
                                 ", expected 1 to 10");
    data.labels.push_back(static_cast<int>(label) % 10);
  }

  ReadData(file.get(), path, *x);
  data.height = data.width = kSide;
  data.channels = 3;
  const size_t before = data.pixels.size();
  data.pixels.resize(before + count * kImageBytes);
  uint8_t* out = data.pixels.data() + before;
  const uint8_t* in = static_cast<const uint8_t*>(x->data);
  for (size_t i = 0; i < count; ++i, in += kImageBytes)
    for (size_t row = 0; row < kSide; ++row)
      for (size_t column = 0; column < kSide; ++column)
        for (size_t c = 0; c < 3; ++c) *out++ = in[c * kPlane + column * kSide + row];
}

}  // namespace lbrt
