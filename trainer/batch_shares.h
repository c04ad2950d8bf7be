// How an epoch is cut into batches, and these into the shares of processes that train together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lbrt {

class BatchShares {
 public:
  // Batches of `batch` images in all, of which each of `processes` has `replicas` parts with
  // statistics of their own; this process is number `rank`. Throws InputError for a batch of less
  // than two images a part: a batch norm cannot use one.
  BatchShares(int batch, int replicas, int rank, int processes);

  int64_t parts() const { return parts_; }  // of each batch, in all processes
  // Images of the next batch where `left` are left of the epoch. Nothing is dropped: the last batch
  // is smaller, and images that would be left over for less than two a part join the batch before.
  size_t Batch(size_t left) const;
  // How many of a batch are this process's.
  size_t Own(size_t batch) const { return End(batch) - Begin(batch); }
  // Where they lie in an epoch of `all` images, from image `first` on, in their order.
  std::vector<uint32_t> Positions(size_t first, size_t all) const;

 private:
  size_t Begin(size_t batch) const { return batch * rank_ / processes_; }
  size_t End(size_t batch) const { return batch * (rank_ + 1) / processes_; }

  size_t batch_, rank_, processes_;
  int64_t parts_;
};

}  // namespace lbrt
