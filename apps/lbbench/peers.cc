#include "apps/lbbench/peers.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "images/error.h"

namespace lbrt {

std::vector<Peer> Peers([[maybe_unused]] const FloatNetwork& network) {
  std::vector<Peer> all;
  [[maybe_unused]] const auto append = [&](std::vector<Peer> peers) {
    std::ranges::move(peers, std::back_inserter(all));
  };
#if LBRT_BENCH_XNNPACK
  append(XnnpackPeers(network));
#endif
#if LBRT_BENCH_ONEDNN
  append(OneDnnPeers(network));
#endif
  return all;
}

void CheckPeer(const std::string& name, std::span<const float> result,
               std::span<const float> expected, double tolerance) {
  double largest = 0, difference = result.size() == expected.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(result.size(), expected.size()); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    difference = std::max(
        difference, std::abs(static_cast<double>(result[i]) - static_cast<double>(expected[i])));
  }
  if (!(difference <= tolerance * largest && largest > 0))
    throw InputError(name, "its result differs by " + std::to_string(difference) +
                               " from values up to " + std::to_string(largest) +
                               ", expected at most " + std::to_string(tolerance * largest));
}

}  // namespace lbrt
