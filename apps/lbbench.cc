// lbbench: kernels and whole networks against what this machine can do at best, and against other
// engines, and how long models take to open; one thread, one image at a time. All figures of a table
// are from the same moment.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <optional>
#include <regex>

#include <CLI/CLI.hpp>

#include "apps/command_line.h"
#include "apps/json.h"
#include "apps/lbbench/kernel_benchmarks.h"
#include "apps/lbbench/latency_table.h"
#include "apps/lbbench/measure.h"
#include "apps/lbbench/network_benchmarks.h"
#include "apps/lbbench/opening_benchmarks.h"
#include "apps/lbbench/peaks.h"
#include "apps/table.h"
#include "images/file.h"

namespace lbrt {
namespace {

struct Flags {
  std::string filter, isa, json;
  int rounds = 50;
  std::string latency_table, network = "edmips/cifar-resnet20";
  std::vector<std::string> set;  // KEY=VALUE
};

const Kernels& Column(const std::string& isa) {
  const Kernels* kernels = isa.empty() ? BestKernels() : FindKernels(isa.c_str());
  if (kernels != nullptr) return *kernels;
  std::string known;
  for (const Kernels* column : AvailableKernels()) known += std::string(" ") + column->isa;
  throw UsageError((isa.empty() ? "LBRT_ISA" : "--isa " + isa) +
                   ": not on this CPU, which has:" + known);
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
  return "unknown CPU";
}

// The clock and the peaks, timed beside whatever is measured against them.
class Reference {
 public:
  explicit Reference(const Kernels& kernels) : loops_(FindPeakLoops(kernels.isa)) {
    Append("clock", [] { RunChain(kSteps); });
    if (loops_ == nullptr) return;
    for (const auto& loops : {loops_->popcount, loops_->dot8, loops_->fma})
      for (const PeakLoop& loop : loops) Append("peak", [&loop] { loop.run(kIterations); });
  }

  // Those to be timed first of all.
  const std::vector<Timed>& timed() const { return timed_; }

  void Take(const std::vector<Timed>& measured) {
    hertz_ = kSteps * kChainCycles / measured[0].seconds;
    if (loops_ == nullptr) return;
    size_t i = 1;
    const auto best = [&](std::span<const PeakLoop> loops) {
      double rate = 0;
      for (const PeakLoop& loop : loops)
        rate = std::max(rate, loop.macs * kIterations / measured[i++].seconds);
      return rate;
    };
    popcount_ = best(loops_->popcount);
    dot8_ = best(loops_->dot8);
    fma_ = best(loops_->fma);
  }

  double hertz() const { return hertz_; }
  // Multiply-adds per second; 0 where nobody knows.
  double peak(Peak peak) const {
    return peak == Peak::kPopcount ? popcount_
           : peak == Peak::kDot8   ? dot8_
           : peak == Peak::kFma    ? fma_
                                   : 0;
  }

 private:
  static constexpr size_t kSteps = 200'000, kIterations = 10'000;

  void Append(const char* name, std::function<void()> run) {
    timed_.push_back({name, std::move(run)});
  }

  const PeakLoops* loops_;
  std::vector<Timed> timed_;
  double hertz_ = 0, popcount_ = 0, dot8_ = 0, fma_ = 0;
};

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

const char* PeakName(Peak peak) {
  return peak == Peak::kPopcount ? "popcount" : peak == Peak::kDot8 ? "int8 dot" : "f32 fma";
}

void WritePeaks(const Reference& reference, Json& json) {
  json.Key("clock_ghz").Number(reference.hertz() * 1e-9, 4);
  json.Key("peak_gmac_per_second").BeginObject();
  json.Key("popcount").Number(reference.peak(Peak::kPopcount) * 1e-9, 4);
  json.Key("int8_dot").Number(reference.peak(Peak::kDot8) * 1e-9, 4);
  json.Key("f32_fma").Number(reference.peak(Peak::kFma) * 1e-9, 4);
  json.EndObject();
}

void RunKernels(const Kernels& kernels, const std::regex& filter, int rounds, Json& json) {
  std::vector<KernelBenchmark> benchmarks = KernelBenchmarks(kernels);
  std::erase_if(benchmarks,
                [&](const KernelBenchmark& b) { return !std::regex_search(b.name, filter); });
  if (benchmarks.empty()) return;
  Reference reference(kernels);
  std::vector<Timed> timed = reference.timed();
  const size_t first = timed.size();
  for (const KernelBenchmark& benchmark : benchmarks) {
    if (!benchmark.right())
      throw InputError(benchmark.name,
                       std::string("its result on ") + kernels.isa + " is wrong, not timed");
    timed.push_back({benchmark.name, benchmark.run});
  }
  TimeSideBySide(timed, rounds);
  reference.Take(timed);

  Print("clock " + Fixed(reference.hertz() * 1e-9, 2) + " GHz; peaks of " + kernels.isa +
        " in MAC per cycle: popcount " +
        Fixed(reference.peak(Peak::kPopcount) / reference.hertz(), 1) + ", int8 dot " +
        Fixed(reference.peak(Peak::kDot8) / reference.hertz(), 1) + ", f32 fma " +
        Fixed(reference.peak(Peak::kFma) / reference.hertz(), 1) + "\n");
  Table table({"kernel", "us", "GMAC/s", "MAC/cycle", "of peak %", "ns/element"});
  json.Key("kernels").BeginObject();
  WritePeaks(reference, json);
  json.Key("rows").BeginArray();
  for (size_t i = 0; i < benchmarks.size(); ++i) {
    const KernelBenchmark& b = benchmarks[i];
    const double seconds = timed[first + i].seconds, rate = b.work / seconds;
    const double peak = reference.peak(b.peak);
    json.BeginObject().Key("name").String(b.name).Key("us").Number(seconds * 1e6, 6);
    if (b.peak == Peak::kNone) {
      table.Add({b.name, Fixed(seconds * 1e6, 2), "", "", "", Fixed(1e9 / rate, 3)});
      json.Key("ns_per_element").Number(1e9 / rate, 4);
    } else {
      table.Add({b.name, Fixed(seconds * 1e6, 2), Fixed(rate * 1e-9, 1),
                 Fixed(rate / reference.hertz(), 1), peak > 0 ? Fixed(100 * rate / peak, 0) : "",
                 ""});
      json.Key("gmac_per_second").Number(rate * 1e-9, 4);
      json.Key("mac_per_cycle").Number(rate / reference.hertz(), 4);
      if (peak > 0) json.Key("of_peak").Number(rate / peak, 4);
    }
    json.EndObject();
  }
  json.EndArray().EndObject();
  Print(table.Text());
}

void RunNetwork(const Kernels& kernels, const NetworkBenchmark& benchmark, int rounds, Json& json) {
  Reference reference(kernels);
  std::vector<Timed> timed = reference.timed();
  const size_t first = timed.size();
  for (const Timed& engine : benchmark.engines()) timed.push_back(engine);
  TimeSideBySide(timed, rounds);
  reference.Take(timed);

  // What the multiply-adds of quantized weights alone take at the machine's peak.
  const double peak = reference.peak(benchmark.peak());
  const double floor = peak > 0 ? static_cast<double>(benchmark.macs()) / peak : 0;
  const double ours = timed[first].seconds;
  Print("\n" + benchmark.name() + ", " + kernels.isa + ", one thread; clock " +
        Fixed(reference.hertz() * 1e-9, 2) + " GHz\n" + Grouped(benchmark.macs()) +
        " multiply-adds with quantized weights; at the " +
        PeakName(benchmark.peak()) + " peak of " +
        Fixed(peak / reference.hertz(), 1) + " MAC per cycle " + Fixed(floor * 1e6, 1) + " us\n");
  Table table({"engine", "us", "x lbrt", "x floor"});
  json.BeginObject().Key("name").String(benchmark.name());
  WritePeaks(reference, json);
  json.Key("macs").Integer(benchmark.macs()).Key("floor_us").Number(floor * 1e6, 4);
  json.Key("engines").BeginArray();
  for (size_t i = first; i < timed.size(); ++i) {
    const double seconds = timed[i].seconds;
    table.Add({timed[i].name, Fixed(seconds * 1e6, 1), Fixed(seconds / ours, 2),
               floor > 0 ? Fixed(seconds / floor, 2) : ""});
    json.BeginObject().Key("engine").String(timed[i].name).Key("us").Number(seconds * 1e6, 5);
    json.Key("times_lbrt").Number(seconds / ours, 4);
    if (floor > 0) json.Key("times_floor").Number(seconds / floor, 4);
    json.EndObject();
  }
  json.EndArray().EndObject();
  Print(table.Text());
}

void RunOpenings(const Kernels& kernels, const std::regex& filter, int rounds, Json& json) {
  std::vector<OpeningChoice> choices = OpeningChoices();
  std::erase_if(choices,
                [&](const OpeningChoice& c) { return !std::regex_search(c.name, filter); });
  Table table({"opening", "file bytes", "packed bytes", "ms", "ms without checksums"});
  json.Key("openings").BeginArray();
  for (const OpeningChoice& choice : choices) {
    const OpeningBenchmark benchmark(choice, kernels.isa);
    std::vector<Timed> timed = benchmark.ways();
    TimeSideBySide(timed, rounds);
    const double with = timed[0].seconds * 1e3, without = timed[1].seconds * 1e3;
    const auto file_bytes = static_cast<int64_t>(benchmark.file_bytes());
    const auto packed_bytes = static_cast<int64_t>(benchmark.packed_bytes());
    table.Add({benchmark.name(), Grouped(file_bytes), Grouped(packed_bytes), Fixed(with, 2),
               Fixed(without, 2)});
    json.BeginObject().Key("name").String(benchmark.name());
    json.Key("file_bytes").Integer(file_bytes).Key("packed_bytes").Integer(packed_bytes);
    json.Key("ms").Number(with, 4).Key("ms_without_checksums").Number(without, 4).EndObject();
  }
  json.EndArray();
  if (!choices.empty()) Print("\n" + table.Text());
}

int WriteLatencyTable(const Flags& flags) {
  const Kernels& kernels = Column(flags.isa);
  const Arguments arguments = KeyValues("--set", flags.set);
  for (const char* key : {"bits", "weight_bits", "activation_bits", "mode"})
    if (arguments.count(key) != 0)
      throw UsageError(std::string("--set ") + key + ": every pair of bits is measured");
  AtomicFile file(flags.latency_table);
  const Latencies latencies =
      MeasureLatencies(flags.network, arguments, kernels.isa, flags.rounds);
  const std::string cpu = CpuName();
  file.Write(LatencyJson(latencies, flags.network, cpu, flags.rounds) + "\n");
  file.Commit();
  Print(cpu + ", " + kernels.isa + ", one thread; " + flags.network +
        (arguments.empty() ? "" : " " + ArgumentsText(arguments)) + ", median of " +
        std::to_string(flags.rounds) + " rounds\n" + LatencyText(latencies));
  return 0;
}

int Command(const Flags& flags) {
  if (!flags.latency_table.empty()) return WriteLatencyTable(flags);
  std::regex filter;
  try {
    filter = std::regex(flags.filter);
  } catch (const std::regex_error&) {
    throw UsageError("--filter " + flags.filter + ": not a regular expression");
  }
  const Kernels& kernels = Column(flags.isa);
  const std::string cpu = CpuName();
  Print(cpu + "\n");
  Json json;
  json.BeginObject().Key("cpu").String(cpu).Key("isa").String(kernels.isa);
  RunKernels(kernels, filter, flags.rounds, json);
  json.Key("networks").BeginArray();
  for (const NetworkChoice& choice : NetworkChoices())
    if (std::regex_search(choice.name, filter))
      RunNetwork(kernels, NetworkBenchmark(choice, kernels.isa), flags.rounds, json);
  json.EndArray();
  RunOpenings(kernels, filter, flags.rounds, json);
  json.EndObject();
  if (!flags.json.empty()) {
    AtomicFile file(flags.json);
    file.Write(json.text() + "\n");
    file.Commit();
  }
  return 0;
}

}  // namespace
}  // namespace lbrt

int main(int argc, char** argv) {
  lbrt::Flags flags;
  CLI::App app(
      "Times kernels and networks against the machine's peaks and against other engines, and the "
      "opening of models.\n\n"
      "example: lbbench --filter resnet20 --json resnet20.json",
      "lbbench");
  CLI::Option* filter =
      app.add_option("--filter", flags.filter,
                     "only benchmarks whose name this regular expression finds");
  app.add_option("--isa", flags.isa, "instruction set to use instead of the best");
  app.add_option("--rounds", flags.rounds,
                 "of which the best counts; each runs everything for a millisecond. With "
                 "--latency-table the median; each runs the network once at every pair")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI::Option* json =
      app.add_option("--json", flags.json, "also write the figures to this file");
  CLI::Option* latencies =
      app.add_option("--latency-table", flags.latency_table,
                     "instead measure each quantized layer of a network at every pair of bits that "
                     "EdMIPS's search chooses from, and write this file for lbtrain --search")
          ->excludes(filter)
          ->excludes(json);
  app.add_option("--network", flags.network, "the network to measure, for --latency-table")
      ->needs(latencies)
      ->capture_default_str();
  app.add_option("--set", flags.set, "KEY=VALUE, an argument of that network; repeatable")
      ->needs(latencies);
  return lbrt::RunCommand(app, argc, argv, [&flags] { return lbrt::Command(flags); });
}
