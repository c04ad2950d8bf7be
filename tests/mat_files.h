// Writes .mat files, and SVHN's.
#pragma once

#include <gtest/gtest.h>
#include <matio.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/image_files.h"

namespace lbrt {

struct MatVariable {
  std::string name;
  matio_classes type;
  std::vector<size_t> shape;
  std::vector<uint8_t> data;
};

inline void WriteMat(const std::string& path, const std::vector<MatVariable>& variables,
              matio_compression compression = MAT_COMPRESSION_ZLIB, mat_ft version = MAT_FT_MAT5) {
  mat_t* file = Mat_CreateVer(path.c_str(), nullptr, version);
  ASSERT_NE(file, nullptr);
  for (MatVariable v : variables) {
    const matio_types type = v.type == MAT_C_UINT8    ? MAT_T_UINT8
                             : v.type == MAT_C_DOUBLE ? MAT_T_DOUBLE
                                                      : MAT_T_INT16;
    matvar_t* variable =
        Mat_VarCreate(v.name.c_str(), v.type, type, static_cast<int>(v.shape.size()),
                      v.shape.data(), v.data.data(), MAT_F_DONT_COPY_DATA);
    ASSERT_EQ(Mat_VarWrite(file, variable, compression), 0);
    Mat_VarFree(variable);
  }
  Mat_Close(file);
}

// Noise of another seed for each file, column by column as MATLAB keeps it.
inline MatVariable SvhnImages(size_t count, uint32_t seed) {
  return {"X", MAT_C_UINT8, {32, 32, 3, count}, Noise(count * 3072, seed)};
}
inline MatVariable SvhnLabels(const std::vector<uint8_t>& labels) {
  return {"y", MAT_C_UINT8, {labels.size(), 1}, labels};
}

}  // namespace lbrt
