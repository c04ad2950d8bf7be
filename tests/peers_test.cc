// Several processes that train together: what the environment says of them, the same weights as of
// one process with as many replicas, and what the loss of one does.
#include "trainer/peers.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>
#include <thread>

#include "network/checkpoint.h"
#include "tests/run_program.h"
#include "tests/tiny_cifar.h"
#include "trainer/samples.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

// --- The environment -----------------------------------------------------------------------------

using Variables = std::map<std::string, std::string>;

Launch LaunchOf(const Variables& variables) {
  return LaunchFrom([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string ErrorOf(const Variables& variables) {
  try {
    LaunchOf(variables);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

// rank/size, local rank, where rank 0 is.
std::string Text(const Launch& l) {
  if (l.size == 1) return "alone";
  return std::to_string(l.rank) + "/" + std::to_string(l.size) + " " +
         std::to_string(l.local_rank) + " " + l.host + ":" + std::to_string(l.port);
}

TEST(LaunchFrom, KnowsTheStarters) {
  EXPECT_EQ(Text(LaunchOf({})), "alone");
  EXPECT_EQ(Text(LaunchOf({{"MASTER_ADDR", "a"}, {"MASTER_PORT", "7"}})), "alone");
  const Variables torchrun = {{"RANK", "5"},         {"WORLD_SIZE", "8"},     {"LOCAL_RANK", "1"},
                              {"MASTER_ADDR", "n0"}, {"MASTER_PORT", "29401"}};
  EXPECT_EQ(Text(LaunchOf(torchrun)), "5/8 1 n0:29401");
  Variables agent = torchrun;
  agent["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_EQ(Text(LaunchOf(agent)), "5/8 1 n0:29402");
  EXPECT_EQ(Text(LaunchOf({{"OMPI_COMM_WORLD_RANK", "1"},
                           {"OMPI_COMM_WORLD_SIZE", "2"},
                           {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                           {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}})),
            "1/2 1 127.0.0.1:29500");
  EXPECT_EQ(Text(LaunchOf({{"PMI_RANK", "2"},
                           {"PMI_SIZE", "3"},
                           {"MPI_LOCALRANKID", "0"},
                           {"MPI_LOCALNRANKS", "1"},
                           {"MASTER_ADDR", "n7"}})),
            "2/3 0 n7:29500");
  EXPECT_EQ(Text(LaunchOf({{"RANK", "0"}, {"WORLD_SIZE", "1"}})), "alone");
}

TEST(LaunchFrom, KnowsSlurmsStepsAndBatchScripts) {
  Variables slurm = {{"SLURM_PROCID", "3"},
                     {"SLURM_NTASKS", "4"},
                     {"SLURM_LOCALID", "1"},
                     {"SLURM_JOB_NODELIST", "n[01-04,7],m1"}};
  EXPECT_EQ(Text(LaunchOf(slurm)), "3/4 1 n01:29500");
  slurm["SLURM_STEP_NUM_TASKS"] = "8";  // srun -n 8 in a job of 4
  slurm["SLURM_STEP_NODELIST"] = "m1,m2";
  EXPECT_EQ(Text(LaunchOf(slurm)), "3/8 1 m1:29500");
  slurm["ENVIRONMENT"] = "BATCH";  // of the script that called srun
  EXPECT_EQ(Text(LaunchOf(slurm)), "3/8 1 m1:29500");
  slurm.erase("SLURM_STEP_NUM_TASKS");  // the script itself
  EXPECT_EQ(Text(LaunchOf(slurm)), "alone");
  EXPECT_EQ(Text(LaunchOf({{"SLURM_PROCID", "1"},
                           {"SLURM_NTASKS", "2"},
                           {"SLURM_JOB_NODELIST", "host[8]"}})),
            "1/2 0 host8:29500");
  EXPECT_EQ(Text(LaunchOf({{"SLURM_PROCID", "1"},
                           {"SLURM_NTASKS", "2"},
                           {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.2"},
                           {"MASTER_PORT", "1234"}})),
            "1/2 0 10.0.0.2:1234");
}

TEST(LaunchFrom, SaysWhatIsMissingOrWrong) {
  const auto expect = [](const Variables& variables, const std::string& word) {
    EXPECT_NE(ErrorOf(variables).find(word), std::string::npos) << ErrorOf(variables);
  };
  expect({{"WORLD_SIZE", "2"}}, "RANK: is missing");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2"}}, "MASTER_ADDR: is missing");
  expect({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "RANK: is 2");
  expect({{"RANK", "-1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}, "RANK: is \"-1\"");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2x"}, {"MASTER_ADDR", "a"}}, "WORLD_SIZE: is \"2x\"");
  expect({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "65536"}},
         "MASTER_PORT: is 65536");
}

// --- The connection ------------------------------------------------------------------------------

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(fd);
  return ntohs(address.sin_port);
}

// Calls `work` as each of `size` processes, in threads of this one.
void AsPeers(int size, const std::function<void(const Peers&)>& work) {
  const int port = FreePort();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank)
    threads.emplace_back([&, rank] {
      work(Peers({rank, size, rank, "127.0.0.1", port}, "cpu", std::chrono::seconds(60)));
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Peers, SumsAreInTheOrderOfTheRanksForAll) {
  // In float32, each other order of these gives another sum.
  const float values[] = {1e8f, 5, -1e8f};
  AsPeers(3, [&](const Peers& peers) {
    const at::Tensor own = at::full({2, 2}, values[peers.rank()]);
    const at::Tensor sum = peers.Sum(own);
    EXPECT_TRUE(sum.equal(at::full({2, 2}, (values[0] + values[1]) + values[2]))) << sum;
    EXPECT_TRUE(own.equal(at::full({2, 2}, values[peers.rank()])));
  });
}

TEST(Peers, BroadcastsRankZerosTensorsOfAnyTypeAndOrder) {
  AsPeers(2, [&](const Peers& peers) {
    at::Tensor number = at::scalar_tensor(peers.rank() == 0 ? int64_t{1} << 40 : 3, at::kLong);
    at::Tensor image = at::arange(24, at::kFloat).view({1, 4, 3, 2}) * (1 + peers.rank());
    image = image.contiguous(at::MemoryFormat::ChannelsLast).requires_grad_();
    peers.Broadcast(number);
    peers.Broadcast(image);
    EXPECT_EQ(number.item<int64_t>(), int64_t{1} << 40);
    EXPECT_TRUE(image.equal(at::arange(24, at::kFloat).view({1, 4, 3, 2})));
  });
}

// --- Their images --------------------------------------------------------------------------------

const Preprocessing kHalf = {.channels = 3, .mean = {.5, .5, .5}, .std = {.5, .5, .5}};

TEST(Peers, ABatcherGivesAPositionItsImageWhoeverElseIsLeftOut) {
  const TemporaryFolder folder;
  WriteTinyCifar(folder.path());
  const Samples samples =
      Prepare(OpenDataset({folder.path()}, Split::kTrain), kHalf, 32, 32, 10, 0);
  std::vector<uint32_t> order(samples.size());
  std::iota(order.rbegin(), order.rend(), 0u);
  Batcher whole(samples, kHalf, at::kCPU), part(samples, kHalf, at::kCPU);
  whole.Start(order, 4, Augmentation::kReflect, 7);
  part.Start(order, std::vector<uint32_t>{5, 6, 9}, Augmentation::kReflect, 7);
  const Batch all = whole.Next(6), two = part.Next(2), one = part.Next(1);
  EXPECT_TRUE(two.input.equal(all.input.slice(0, 1, 3)));
  EXPECT_TRUE(two.labels.equal(all.labels.slice(0, 1, 3)));
  EXPECT_TRUE(one.input.equal(all.input.slice(0, 5, 6)));
  EXPECT_FALSE(one.input.equal(all.input.slice(0, 4, 5)));
}

// --- Runs ----------------------------------------------------------------------------------------

constexpr char kProgram[] = LBRT_BIN_DIR "/lbtrain";

class PeersTest : public testing::Test {
 protected:
  PeersTest() {
    fs::create_directory(folder_ / "data");
    WriteTinyCifar(folder_ / "data");
    // More than one batch of an evaluation, so that each process has a share.
    std::minstd_rand random(3);
    std::ofstream test(folder_ / "data/test_batch.bin", std::ios::binary);
    for (int i = 0; i < 230; ++i) test << TinyCifarRecord(random);
  }

  static std::string RecipeFile(const std::string& name) {
    return LBRT_SOURCE_DIR "/trainer/recipes/" + name + ".toml";
  }

  std::vector<std::string> Command(const std::string& recipe, const std::string& out,
                                   std::vector<std::string> more) const {
    more.insert(more.begin(), {kProgram, "--threads", "1", "--data", folder_ / "data", "--recipe",
                               RecipeFile(recipe), "--batch", "18", "--out", folder_ / out});
    return more;
  }

  // Two processes at work; their output folder is rank 0's business.
  class Pair {
   public:
    explicit Pair(const std::vector<std::string>& command) {
      const std::string port = std::to_string(FreePort());
      for (const char* rank : {"0", "1"}) {
        std::vector<std::string> arguments = {"env", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                              "MASTER_PORT=" + port,
                                              "RANK=" + std::string(rank)};
        arguments.insert(arguments.end(), command.begin(), command.end());
        programs_.push_back(std::make_unique<RunningProgram>(arguments));
      }
    }
    RunningProgram& operator[](size_t rank) { return *programs_[rank]; }

   private:
    std::vector<std::unique_ptr<RunningProgram>> programs_;
  };

  void WaitForFile(const std::string& name) const {
    for (int i = 0; i < 3000 && !fs::exists(folder_ / name); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(fs::exists(folder_ / name)) << name;
  }

  // Without the columns of times.
  std::vector<std::vector<std::string>> Metrics(const std::string& out) const {
    std::ifstream file(folder_ / (out + "/metrics.csv"));
    std::vector<std::vector<std::string>> lines;
    for (std::string line; std::getline(file, line);) {
      std::vector<std::string>& fields = lines.emplace_back();
      std::istringstream in(line);
      for (std::string field; std::getline(in, field, ',');) fields.push_back(field);
      if (fields.size() >= 11) fields.erase(fields.begin() + 8, fields.begin() + 11);
    }
    return lines;
  }

  TemporaryFolder folder_;
};

struct SmallRun {
  const char* name;
  const char* recipe;
  std::vector<std::string> flags;
};

const SmallRun kRecu = {"Recu", "recu-resnet20-cifar10",
                        {"--set", "blocks=1,1", "--set", "channels=4,8"}};
// Dropout: a process must take the others' random numbers too, for the next epoch's order.
const SmallRun kSvhn = {"AnyPrecision", "any-precision-svhn",
                        {"--widths", "1,4", "--set", "expansion=1"}};

std::vector<std::string> With(std::vector<std::string> flags,
                              const std::vector<std::string>& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

class PeersOfTest : public PeersTest, public testing::WithParamInterface<SmallRun> {};

TEST_P(PeersOfTest, WriteTheBytesOfOneProcessWithAsManyReplicas) {
  const SmallRun& run = GetParam();
  const std::vector<std::string> flags = With(run.flags, {"--epochs", "2"});
  Pair pair(Command(run.recipe, "two", flags));
  const ProgramResult first = pair[0].Wait(), second = pair[1].Wait();
  EXPECT_EQ(first.status, 0) << first.error;
  EXPECT_EQ(second.status, 0) << second.error;
  EXPECT_NE(first.out.find("2 processes"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("epoch 2/2"), std::string::npos) << first.out;
  EXPECT_EQ(second.out, "");

  const ProgramResult one =
      RunProgram(Command(run.recipe, "one", With(flags, {"--replicas", "2"})));
  EXPECT_EQ(one.status, 0) << one.error;
  for (const char* name : {"/last.pt", "/best.pt"})
    EXPECT_TRUE(TextOfFile(folder_ / ("one" + std::string(name))) ==
                TextOfFile(folder_ / ("two" + std::string(name))))
        << name;
  EXPECT_EQ(Metrics("one"), Metrics("two"));
  EXPECT_EQ(Metrics("two").size(), 3u);
  // Not what every run gives: without the second part's own statistics, it is another.
  RunProgram(Command(run.recipe, "plain", flags));
  EXPECT_FALSE(TextOfFile(folder_ / "plain/last.pt") == TextOfFile(folder_ / "two/last.pt"));
}
INSTANTIATE_TEST_SUITE_P(Runs, PeersOfTest, testing::Values(kRecu, kSvhn),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(PeersTest, ASignalToOneStopsAllWhereTheyGoOnExactly) {
  const std::vector<std::string> flags = With(kRecu.flags, {"--epochs", "10"});
  const std::vector<std::string> command = Command(kRecu.recipe, "two", flags);
  {
    Pair pair(command);
    WaitForFile("two/last.pt");
    pair[1].Signal(SIGTERM);
    const ProgramResult first = pair[0].Wait(), second = pair[1].Wait();
    EXPECT_EQ(first.status, 0) << first.error;
    EXPECT_EQ(second.status, 0) << second.error;
    EXPECT_NE(first.out.find("stopped by a signal to a peer"), std::string::npos) << first.out;
  }
  Pair pair(With(command, {"--resume", folder_ / "two/last.pt"}));
  for (const size_t rank : {0, 1}) {
    const ProgramResult result = pair[rank].Wait();
    EXPECT_EQ(result.status, 0) << result.error;
  }
  RunProgram(Command(kRecu.recipe, "one", With(flags, {"--replicas", "2"})));
  EXPECT_TRUE(TextOfFile(folder_ / "one/last.pt") == TextOfFile(folder_ / "two/last.pt"));
}

TEST_F(PeersTest, ALostPeerEndsTheRunInOneLineAndTheCheckpointStays) {
  for (const size_t killed : {1, 0}) {
    const std::string out = "killed" + std::to_string(killed);
    Pair pair(Command(kRecu.recipe, out, With(kRecu.flags, {"--epochs", "100000"})));
    WaitForFile(out + "/last.pt");
    pair[killed].Signal(SIGKILL);
    const ProgramResult left = pair[1 - killed].Wait();
    EXPECT_EQ(left.status, 1);
    const std::string expected = "lbtrain: process " + std::to_string(1 - killed) +
                                 " of 2: process " + std::to_string(killed) + " was lost: ";
    EXPECT_EQ(left.error_line().rfind(expected, 0), 0u) << left.error;
    EXPECT_GT(ReadCheckpoint(folder_ / (out + "/last.pt")).integers.at("epoch"), 0);
  }
}

TEST_F(PeersTest, APeerThatDoesNotAnswerIsLostAfterTheTimeout) {
  Pair pair(Command(kRecu.recipe, "out",
                    With(kRecu.flags, {"--epochs", "100000", "--peer-timeout", "2"})));
  WaitForFile("out/last.pt");
  pair[1].Signal(SIGSTOP);
  const ProgramResult left = pair[0].Wait();
  EXPECT_EQ(left.status, 1);
  EXPECT_NE(left.error_line().find("process 1 was lost"), std::string::npos) << left.error;
  EXPECT_GT(ReadCheckpoint(folder_ / "out/last.pt").integers.at("epoch"), 0);
}

TEST_F(PeersTest, PeersThatNeverComeAreAnError) {
  std::vector<std::string> arguments = {"env", "RANK=1", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                        "MASTER_PORT=" + std::to_string(FreePort())};
  const ProgramResult result = RunProgram(
      With(arguments, Command(kRecu.recipe, "out", With(kRecu.flags, {"--peer-timeout", "1"}))));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.error.find("lbtrain: process 1 of 2: cannot join"), std::string::npos)
      << result.error;
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(PeersTest, ABatchMustHoldTwoImagesForEachPart) {
  const ProgramResult result = RunProgram(
      Command(kRecu.recipe, "out", With(kRecu.flags, {"--replicas", "10"})));
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.error_line().find("batch = 18"), std::string::npos) << result.error;
}

}  // namespace
}  // namespace lbrt
