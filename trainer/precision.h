// The arithmetic of training's products: convolutions and dense layers, forward and backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace lbrt {

enum class Precision {
  kFp32,
  kTf32,  // of fp32 operands the 10 upper bits of the fraction; CUDA only
  kBf16,  // operands and results rounded to bf16, sums inside in fp32; not the last layer, whose
          // logits the loss reads. Codes of up to 8 bits are exact.
};

// "fp32", "tf32" or "bf16"; throws InputError for others, and for tf32 on a CPU.
Precision ParsePrecision(const std::string& text, at::Device device);

// Whether LibTorch's fp32 products on CUDA may be TF32; left to itself, it does so in convolutions.
void AllowTf32(bool allow);

}  // namespace lbrt
