#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"

namespace lbrt {

Quantized FixedPointWeights(const at::Tensor& weight, int limbs,
                            const std::vector<double>& input_std) {
  // In double, as import does it: both must get the same codes.
  at::Tensor folded = weight.detach().to(at::kDouble);
  std::vector<int64_t> a_channel(static_cast<size_t>(weight.dim()), 1);
  at::Tensor fold;
  if (!input_std.empty()) {
    a_channel[1] = static_cast<int64_t>(input_std.size());
    std::vector<at::Tensor> factors;  // made on the device: a copy would wait for it
    for (const double std : input_std)
      factors.push_back(at::scalar_tensor(255 * std, folded.options()));
    fold = at::stack(factors).view(a_channel);
    folded = folded / fold;
  }
  std::vector<int64_t> an_output(static_cast<size_t>(weight.dim()), 1);
  an_output[0] = -1;
  at::Tensor scale = folded.abs().flatten(1).amax(1).view(an_output) / LimbMaximum(limbs);
  scale = at::where(scale > 0, scale, at::ones_like(scale));
  const at::Tensor codes = (folded / scale).round_();
  // The input's scale differs by channel, so it cannot stay with the codes.
  const at::Tensor one = ScalarLike(weight, 1);
  if (fold.defined())
    return {StraightThrough::apply(weight, (codes * scale * fold).to(weight.scalar_type()), one),
            at::Tensor()};
  scale = scale.to(weight.scalar_type());
  return {IdentityGradient(weight, codes.to(weight.scalar_type()), scale), scale};
}

}  // namespace lbrt
