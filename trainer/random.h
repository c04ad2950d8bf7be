// The one source of randomness of a training run: initial weights, order of the images, crops and
// flips. Its whole state is one number, which the checkpoint keeps, so a resumed run goes on
// exactly.
#pragma once

#include <cmath>
#include <cstdint>

namespace lbrt {

// SplitMix64 (Steele, Lea, Flood 2014).
class Random {
 public:
  explicit Random(uint64_t state) : state_(state) {}
  uint64_t state() const { return state_; }

  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0 .. n - 1, n < 2^32, each as likely (to 2^-32).
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(((Next() >> 32) * n) >> 32); }
  // [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // Mean 0, variance 1 (Box and Muller's cosine half; the other half is dropped to keep the state
  // one number).
  double Normal() {
    const double u = 1.0 - Uniform();  // (0, 1]
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * Uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace lbrt
