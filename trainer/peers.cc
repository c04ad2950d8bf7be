// The one file that knows c10d, and what differs between Gloo and NCCL.
#include "trainer/peers.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <thread>

#include "images/error.h"

#ifndef USE_C10D_NCCL  // whatever headers are there, this LibTorch has no NCCL in it
#undef LBRT_NCCL
#endif
#if defined(LBRT_GLOO) || defined(LBRT_NCCL)
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#endif
#ifdef LBRT_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef LBRT_NCCL
#include <c10/cuda/CUDAFunctions.h>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

namespace lbrt {

// --- The environment -----------------------------------------------------------------------------

namespace {

class Environment {
 public:
  explicit Environment(const std::function<const char*(const char*)>& variable)
      : variable_(variable) {}

  std::string Text(const char* name) const {  // "": not there
    const char* value = variable_(name);
    return value == nullptr ? "" : value;
  }
  bool Has(const char* name) const { return !Text(name).empty(); }

  int Number(const char* name) const {
    const std::string text = Text(name);
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0)
      throw InputError(name, text.empty() ? "is missing in the environment, expected a number"
                                          : "is \"" + text + "\", expected a number");
    return number;
  }

  // Of the first of these names that is there, else `otherwise`.
  int FirstNumber(std::initializer_list<const char*> names, int otherwise) const {
    for (const char* name : names)
      if (Has(name)) return Number(name);
    return otherwise;
  }

 private:
  const std::function<const char*(const char*)>& variable_;
};

struct Starter {
  const char *rank, *size;
};

// Which variables name this process; none: it is alone. MPI before Slurm: under an mpirun inside a
// job, Slurm's speak of mpirun's daemons.
std::optional<Starter> FindStarter(const Environment& environment) {
  for (const Starter& starter : {Starter{"RANK", "WORLD_SIZE"},
                                 Starter{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                 Starter{"PMI_RANK", "PMI_SIZE"},
                                 Starter{"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}})
    if (environment.Has(starter.size)) return starter;
  // A batch script is one process before any srun, but sees the number of its job's tasks.
  if (environment.Has("SLURM_PROCID") && environment.Has("SLURM_NTASKS") &&
      environment.Text("ENVIRONMENT") != "BATCH")
    return Starter{"SLURM_PROCID", "SLURM_NTASKS"};
  return std::nullopt;
}

// The first host of Slurm's list: "n[01-04,7],m1" begins with n01.
std::string FirstHost(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  std::string host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  const size_t number = end + 1;
  host += list.substr(number, list.find_first_of(",-]", number) - number);
  return host;
}

std::string MasterHost(const Environment& environment, int size) {
  for (const char* name : {"SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"})
    if (environment.Has(name)) return FirstHost(environment.Text(name));
  if (environment.Has("SLURM_LAUNCH_NODE_IPADDR"))
    return environment.Text("SLURM_LAUNCH_NODE_IPADDR");
  const int here = environment.FirstNumber(
      {"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, 0);
  if (here == size) return "127.0.0.1";
  throw InputError("MASTER_ADDR", "is missing in the environment, expected the host of rank 0");
}

}  // namespace

Launch LaunchFrom(const std::function<const char*(const char* name)>& variable) {
  const Environment environment(variable);
  Launch launch;
  const std::optional<Starter> starter = FindStarter(environment);
  if (!starter) return launch;
  launch.rank = environment.Number(starter->rank);
  launch.size = environment.Number(starter->size);
  if (launch.rank >= launch.size)
    throw InputError(starter->rank, "is " + std::to_string(launch.rank) + ", expected less than " +
                                        starter->size + ", " + std::to_string(launch.size));
  if (launch.size == 1) return launch;
  launch.local_rank =
      environment.FirstNumber({"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                               "SLURM_LOCALID"},
                              0);
  launch.host = environment.Text("MASTER_ADDR");
  if (launch.host.empty()) launch.host = MasterHost(environment, launch.size);
  launch.port = environment.FirstNumber({"MASTER_PORT"}, launch.port);
  // There torchrun itself listens, and speaks as its own version of LibTorch does.
  if (environment.Text("TORCHELASTIC_USE_AGENT_STORE") == "True") ++launch.port;
  if (launch.port < 1 || launch.port > 65535)
    throw InputError("MASTER_PORT", "is " + std::to_string(launch.port) + ", expected 1 to 65535");
  return launch;
}

// --- The libraries -------------------------------------------------------------------------------

class Peers::Group {
 public:
  virtual ~Group() = default;
  virtual at::Device device() const = 0;
  // Of contiguous tensors on that device.
  virtual at::Tensor Sum(const at::Tensor& values) = 0;
  virtual void Broadcast(const at::Tensor& values) = 0;
};

namespace {

using Milliseconds = std::chrono::milliseconds;

#if defined(LBRT_GLOO) || defined(LBRT_NCCL)
// Where the processes find each other; rank 0's waits until all are there.
c10::intrusive_ptr<c10d::Store> OpenStore(const Launch& launch, Milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = launch.rank == 0;
  options.numWorkers = static_cast<size_t>(launch.size);
  options.timeout = timeout;
  return c10::make_intrusive<c10d::PrefixStore>(
      "lbtrain", c10::make_intrusive<c10d::TCPStore>(launch.host, options));
}
#endif

#ifdef LBRT_GLOO
class GlooGroup : public Peers::Group {
 public:
  GlooGroup(const Launch& launch, Milliseconds timeout)
      : group_(c10::make_intrusive<c10d::ProcessGroupGloo>(OpenStore(launch, timeout), launch.rank,
                                                           launch.size, Options(launch, timeout))),
        size_(static_cast<size_t>(launch.size)) {}

  at::Device device() const override { return at::kCPU; }

  at::Tensor Sum(const at::Tensor& values) override {
    std::vector<at::Tensor> own{values};
    std::vector<std::vector<at::Tensor>> all(1);
    for (size_t i = 0; i < size_; ++i) all[0].push_back(at::empty_like(values));
    group_->allgather(all, own)->wait();
    at::Tensor sum = all[0][0];
    for (size_t i = 1; i < size_; ++i) sum.add_(all[0][i]);
    return sum;
  }

  void Broadcast(const at::Tensor& values) override {
    std::vector<at::Tensor> tensors{values};
    group_->broadcast(tensors)->wait();
  }

 private:
  using Group = c10d::ProcessGroupGloo;

  static c10::intrusive_ptr<Group::Options> Options(const Launch& launch, Milliseconds timeout) {
    const c10::intrusive_ptr<Group::Options> options = Group::Options::create(timeout);
    const char* interface = std::getenv("GLOO_SOCKET_IFNAME");  // as in PyTorch
    if (interface != nullptr)
      options->devices.push_back(Group::createDeviceForInterface(interface));
    else if (launch.host == "127.0.0.1" || launch.host == "localhost")
      options->devices.push_back(Group::createDeviceForHostname("127.0.0.1"));
    else
      options->devices.push_back(Group::createDefaultDevice());
    return options;
  }

  c10::intrusive_ptr<Group> group_;
  size_t size_;
};
#endif

#ifdef LBRT_NCCL
class NcclGroup : public Peers::Group {
 public:
  NcclGroup(const Launch& launch, Milliseconds timeout) : timeout_(timeout) {
    const int devices = c10::cuda::device_count();
    if (launch.local_rank >= devices)
      throw std::runtime_error("this machine has " + std::to_string(devices) +
                               " CUDA devices, expected one for each of its processes");
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(launch.local_rank));
    // Else its watchdog ends the process in its own way.
    for (const char* name : {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "NCCL_ASYNC_ERROR_HANDLING"})
      setenv(name, "0", /*replace=*/0);
    const auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = timeout;
    group_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(OpenStore(launch, timeout), launch.rank,
                                                         launch.size, options);
  }

  at::Device device() const override { return {at::kCUDA, c10::cuda::current_device()}; }

  at::Tensor Sum(const at::Tensor& values) override {
    FinishLast();
    std::vector<at::Tensor> tensors{values.clone()};
    last_ = group_->allreduce(tensors);
    last_->wait();  // of the stream, not of this thread
    return tensors[0];
  }

  void Broadcast(const at::Tensor& values) override {
    FinishLast();
    std::vector<at::Tensor> tensors{values};
    last_ = group_->broadcast(tensors);
    last_->wait();
  }

 private:
  // A thread that ran ahead of its device would in the end wait inside CUDA for a process that is
  // gone. So it is one call ahead at most, and waits for that one with an eye on the clock. What
  // the device still waits for then only ends with the process: the group is never taken down.
  void FinishLast() {
    if (!last_) return;
    const auto start = std::chrono::steady_clock::now();
    while (!last_->isCompleted()) {
      if (std::chrono::steady_clock::now() - start > timeout_) {
        group_.release();
        throw std::runtime_error("no answer within " + std::to_string(timeout_.count() / 1000) +
                                 " s");
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    if (!last_->exception()) return;
    group_.release();
    std::rethrow_exception(last_->exception());
  }

  const Milliseconds timeout_;
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> group_;
  c10::intrusive_ptr<c10d::Work> last_;
};
#endif

std::unique_ptr<Peers::Group> Connect([[maybe_unused]] const Launch& launch,
                                      const std::string& device,
                                      [[maybe_unused]] Milliseconds timeout) {
#ifdef LBRT_NCCL
  if (device == "cuda") return std::make_unique<NcclGroup>(launch, timeout);
#endif
#ifdef LBRT_GLOO
  if (device == "cpu") return std::make_unique<GlooGroup>(launch, timeout);
#endif
  throw std::runtime_error("this program was built without " +
                           std::string(device == "cuda" ? "NCCL" : "Gloo (libgloo-dev)"));
}

// The first sentence of a library's message, without the place in its source.
std::string Reason(const std::string& message) {
  std::string line = message.substr(0, message.find('\n'));
  line.resize(std::min(line.size(), line.find(". ")));
  const size_t place = line.rfind('[', 0) == 0 ? line.find("] ") : std::string::npos;
  return place == std::string::npos ? line : line.substr(place + 2);
}

// The libraries' errors, of any type, as one line of ours.
template <typename Call>
auto Guarded(const Launch& launch, const std::string& failed, const Call& call) {
  std::string message;
  try {
    return call();
  } catch (const c10::Error& error) {
    message = error.what_without_backtrace();
  } catch (const std::exception& error) {
    message = error.what();
  }
  throw InputError("process " + std::to_string(launch.rank) + " of " + std::to_string(launch.size),
                   failed + ": " + Reason(message));
}

// Of two, it is the other one; of more, the reason has its address at best.
std::string Lost(const Launch& launch) {
  return launch.size == 2 ? "process " + std::to_string(1 - launch.rank) + " was lost"
                          : "another process was lost";
}

}  // namespace

// --- Peers ---------------------------------------------------------------------------------------

Peers::Peers(const Launch& launch, const std::string& device, std::chrono::seconds timeout)
    : launch_(launch) {
  group_ = Guarded(launch_,
                   "cannot join the others at " + launch.host + ":" + std::to_string(launch.port),
                   [&] { return Connect(launch, device, timeout); });
}

Peers::~Peers() = default;

at::Tensor Peers::Sum(const at::Tensor& values) const {
  return Guarded(launch_, Lost(launch_), [&] {
    return group_->Sum(values.detach().to(group_->device()).contiguous()).to(values.device());
  });
}

void Peers::Broadcast(const at::Tensor& values) const {
  Guarded(launch_, Lost(launch_), [&] {
    const at::Tensor target = values.detach();
    const at::Tensor sent = target.to(group_->device()).contiguous();
    group_->Broadcast(sent);
    if (!sent.is_same(target)) target.copy_(sent);
  });
}

}  // namespace lbrt
