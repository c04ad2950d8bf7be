// How long a training step takes.
#pragma once

#include "trainer/precision.h"
#include "trainer/recipe.h"

namespace lbrt {

// Median time of a training step on random images, without data loading. Without `fuse`, by
// LibTorch's own operators one after another.
double MillisecondsPerStep(const Recipe& recipe, at::Device device, Precision precision, int steps,
                           bool fuse);

}  // namespace lbrt
