#include "trainer/quantizers.h"
#include "trainer/quantizers/straight_through.h"

namespace lbrt {

at::Tensor TernaryWeights(const at::Tensor& weight, int t_ex) {
  const at::Tensor w = weight.detach();
  const at::Tensor magnitude = w.abs();
  const at::Tensor largest = magnitude.max();
  at::Tensor sum = at::zeros_like(w);
  for (const double t : TernaryThresholds(t_ex)) {
    const at::Tensor threshold = largest * t;
    const at::Tensor kept = (magnitude >= threshold).to(w.scalar_type());
    const at::Tensor mean = (magnitude * kept).sum() / kept.sum();
    const at::Tensor codes =
        (w >= threshold).to(w.scalar_type()) - (w < -threshold).to(w.scalar_type());
    sum.add_(codes * mean);
  }
  const at::Tensor passes = magnitude.lt(1).to(w.scalar_type()).mul_(t_ex);
  return StraightThrough::apply(weight, sum, passes);
}

}  // namespace lbrt
