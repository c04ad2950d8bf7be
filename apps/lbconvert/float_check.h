// `lbconvert --verify`, where LibTorch is built in: the model against the float network.
#pragma once

#include <string>

#include "apps/lbconvert/verify.h"
#include "images/dataset.h"
#include "images/preprocess.h"
#include "network/network.h"

namespace lbrt {

// Executes the network with LibTorch, at a width of its own (0: the widest, or none), on the images
// that were verified, and says in one line how far
// the logits are from the model's and on how many images both choose the same class.
std::string FloatCheck(const Network& network, const StateDict& tensors, int width,
                       const Preprocessing& preprocessing, const Dataset& data,
                       const Verification& verified);

}  // namespace lbrt
