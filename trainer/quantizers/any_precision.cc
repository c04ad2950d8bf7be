#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"

namespace lbrt {

Quantized AnyPrecisionWeights(const at::Tensor& weight, int bits, bool truncating) {
  const at::Tensor mean = weight.detach().abs().mean();
  const at::Tensor t = weight.tanh();
  const at::Tensor largest = t.abs().max();
  if (bits == 32) return {t / largest, mean};
  const at::Tensor u = t / 2 / largest + 0.5;
  const int levels = (1 << bits) - 1;
  const at::Tensor plain = u.detach();
  const at::Tensor q = truncating ? (plain * (1 << bits)).floor_().clamp_max_(levels)
                                  : (plain * levels).round_();
  const at::Tensor codes =
      StraightThrough::apply(u, q.mul_(2).sub_(levels), ScalarLike(u, 2.0 * levels));
  return {codes, mean / levels};
}

}  // namespace lbrt
