// Other engines that run the same topology: how fast they are is what speed is measured against.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "apps/lbbench/float_network.h"

namespace lbrt {

struct Peer {
  std::string name;           // engine and precision
  std::function<void()> run;  // one image, one thread
};

// The engines this build found. Each has checked its result against Run (float_network.h); one that
// is wrong throws InputError. `network` must outlive them.
std::vector<Peer> Peers(const FloatNetwork& network);

std::vector<Peer> XnnpackPeers(const FloatNetwork& network);
std::vector<Peer> OneDnnPeers(const FloatNetwork& network);

// Throws InputError where the largest difference exceeds `tolerance` times the largest value.
void CheckPeer(const std::string& name, std::span<const float> result,
               std::span<const float> expected, double tolerance);

}  // namespace lbrt
