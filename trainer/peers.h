// Several processes that train one model together, on several devices or machines, each on its part
// of every batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace lbrt {

// A process among those of a run.
struct Launch {
  int rank = 0, size = 1;
  int local_rank = 0;  // among those of this machine: the number of its CUDA device
  std::string host;    // where rank 0 listens
  int port = 29500;
};

// What the starter of this process left in the environment, the first of these that is there:
//   torchrun           RANK, WORLD_SIZE, LOCAL_RANK
//   Open MPI's mpirun  OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_LOCAL_RANK
//   MPICH's mpirun     PMI_RANK, PMI_SIZE, MPI_LOCALRANKID
//   srun               SLURM_PROCID, SLURM_STEP_NUM_TASKS (else SLURM_NTASKS), SLURM_LOCALID
// and MASTER_ADDR, MASTER_PORT. Without MASTER_ADDR, rank 0 is on the first of Slurm's nodes, or on
// this machine where its starter says that all are. Nothing there: one process. `variable` is
// std::getenv; throws InputError naming a variable that is missing or is no number.
Launch LaunchFrom(const std::function<const char*(const char* name)>& variable);

// The connection to the others: Gloo on CPUs, NCCL on CUDA devices. All processes make the same
// calls in the same order. Every call throws InputError where a process is gone or has not answered
// within the timeout.
class Peers {
 public:
  // Waits for all of them. `device`: "cpu", or "cuda": then the local rank's device becomes the
  // current one of this thread.
  Peers(const Launch& launch, const std::string& device, std::chrono::seconds timeout);
  ~Peers();

  int rank() const { return launch_.rank; }
  int size() const { return launch_.size; }

  // The sum over all processes, element by element: on CPUs in the order of the ranks, so the same
  // bits everywhere and every time; on CUDA devices in NCCL's order.
  at::Tensor Sum(const at::Tensor& values) const;
  void Broadcast(const at::Tensor& values) const;  // rank 0's, into all others'

  class Group;  // one of each library, in peers.cc

 private:
  const Launch launch_;
  std::unique_ptr<Group> group_;
};

}  // namespace lbrt
