// `lbconvert MODEL.onnx MODEL.lbm`: QONNX graphs, as Brevitas, QKeras and FINN write them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lbrt {

struct OnnxConversion {
  std::string graph, model;         // paths, read and written
  std::string preprocess, labels;   // files; empty: the model takes arrays, has no labels
  std::vector<std::string> verify;  // samples, none: no verification
  size_t limit = 16;                // of them
};

bool IsOnnx(const std::string& path);  // by its name

// Writes the model and returns the report. Throws InputError, having written nothing.
std::string ConvertOnnx(const OnnxConversion& conversion);

}  // namespace lbrt
