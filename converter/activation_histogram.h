// How often values of which size occur, and the step of codes that represents them best.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lbrt {

// Of values that are finite and not negative. The order in which they come changes nothing.
class ActivationHistogram {
 public:
  void Add(std::span<const float> values);

  // Of codes RoundHalfEven(Clip(x / step, 0, levels)), the step with the least mean squared error,
  // among fractions of largest / levels down to 1/32; 1 where all values are zero.
  double BestStep(int levels) const;
  // The sum of squared errors with that, in relation to the sum of squares. Zeros have no error.
  double Error(double step, int levels) const;
  double largest() const { return largest_; }

 private:
  void AddOne(double value);
  template <typename Visit>
  void VisitBins(Visit visit) const;  // visit(middle of the bin, how many)

  // Bins are equally wide, a power of two, which doubles when a larger value comes. There are
  // enough of them for 200 and more a step.
  std::vector<uint64_t> counts_;
  double width_ = 0x1p-100;
  double largest_ = 0;
};

}  // namespace lbrt
