#include "trainer/batch_shares.h"

#include <string>

#include "images/error.h"

namespace lbrt {

BatchShares::BatchShares(int batch, int replicas, int rank, int processes)
    : batch_(static_cast<size_t>(batch)),
      rank_(static_cast<size_t>(rank)),
      processes_(static_cast<size_t>(processes)),
      parts_(int64_t{replicas} * processes) {
  if (batch < 2 * parts_)
    throw InputError("recipe", "batch = " + std::to_string(batch) + " is too small for " +
                                   std::to_string(parts_) +
                                   " parts, expected two images of each");
}

size_t BatchShares::Batch(size_t left) const {
  return left < batch_ + 2 * static_cast<size_t>(parts_) ? left : batch_;
}

std::vector<uint32_t> BatchShares::Positions(size_t first, size_t all) const {
  std::vector<uint32_t> positions;
  while (first < all) {
    const size_t count = Batch(all - first);
    for (size_t i = Begin(count); i < End(count); ++i)
      positions.push_back(static_cast<uint32_t>(first + i));
    first += count;
  }
  return positions;
}

}  // namespace lbrt
