#include "trainer/precision.h"

#include <ATen/Context.h>

#include "images/error.h"

namespace lbrt {

Precision ParsePrecision(const std::string& text, at::Device device) {
  if (text == "fp32") return Precision::kFp32;
  if (text == "bf16") return Precision::kBf16;
  if (text != "tf32")
    throw InputError("unknown precision \"" + text + "\", expected fp32, tf32 or bf16");
  if (!device.is_cuda()) throw InputError("precision tf32 needs --device cuda");
  return Precision::kTf32;
}

void AllowTf32(bool allow) {
  at::globalContext().setAllowTF32CuBLAS(allow);
  at::globalContext().setAllowTF32CuDNN(allow);
}

}  // namespace lbrt
