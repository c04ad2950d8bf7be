#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"

namespace lbrt {

Quantized EdmipsWeights(const at::Tensor& weight, int bits) {
  const at::Tensor w = weight.detach();
  // The reference multiplies the deviation, rounded to the weights' type, in double.
  const at::Tensor step =
      (w.std(/*unbiased=*/true).to(at::kDouble) * EdmipsStep(bits)).to(w.scalar_type());
  const int largest = (1 << bits) - 1;
  const at::Tensor codes =
      (w / step + 0.5).round_().mul_(2).sub_(1).clamp_(-largest, largest);
  const at::Tensor scale = step / 2;
  return {IdentityGradient(weight, codes, scale), scale};
}

at::Tensor EdmipsMixture(const at::Tensor& weight, const at::Tensor& alphas) {
  const at::Tensor shares = alphas.softmax(0);
  at::Tensor sum;
  for (size_t i = 0; i < std::size(kMixtureWeightBits); ++i) {
    const at::Tensor part = EdmipsWeights(weight, kMixtureWeightBits[i]).Value() *
                            shares[static_cast<int64_t>(i)];
    sum = sum.defined() ? sum + part : part;
  }
  return sum;
}

}  // namespace lbrt
