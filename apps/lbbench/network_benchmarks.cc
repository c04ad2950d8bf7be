#include "apps/lbbench/network_benchmarks.h"

#include <memory>

#include "apps/lbbench/float_network.h"
#include "apps/lbbench/peers.h"
#include "converter/interpret.h"
#include "images/error.h"

namespace lbrt {

void CheckAgainstInterpreter(const std::string& name, const RandomModel& model,
                             ModelRunner& runner) {
  runner.SetNoise();
  const lbrt_tensor& in = runner.input();
  const size_t count = static_cast<size_t>(in.shape[1] * in.shape[2] * in.shape[3]);
  PlainValue input;
  if (in.type == LBRT_U8) {
    const auto* bytes = static_cast<const uint8_t*>(in.data);
    input = std::vector<uint8_t>(bytes, bytes + count);
  } else {
    const auto* values = static_cast<const float*>(in.data);
    input = std::vector<float>(values, values + count);
  }
  const std::vector<PlainValue> values = Interpret(*model.graph, input);
  const std::span<const float> logits = runner.Run();
  if (!SameBits(AsFloats(values[static_cast<size_t>(model.graph->output)]),
                {logits.begin(), logits.end()}))
    throw InputError(name, "lbrt's logits differ from the interpreter's, not timed");
}

std::vector<NetworkChoice> NetworkChoices() {
  std::vector<NetworkChoice> choices;
  for (Stem stem : {Stem::kI24, Stem::kI16, Stem::kI8, Stem::kF32})
    choices.push_back({std::string("network/recu/resnet20/") + StemName(stem), "recu/resnet20",
                       stem, Peak::kPopcount, true});
  for (const char* network : {"mcdonnell/wrn-20-1", "mcdonnell/wrn-20-4"})
    choices.push_back(
        {std::string("network/") + network + "/i24", network, Stem::kI24, Peak::kFma});
  // A fifth as wide as published; the same weights at every width.
  const char* any = "any-precision/resnet20";
  const Arguments narrow = {{"expansion", "1"}};
  for (const int width : BuildNetwork(any, narrow).widths)
    choices.push_back({std::string("network/") + any + "/i24/w" + std::to_string(width), any,
                       Stem::kI24, width == 32 ? Peak::kFma : Peak::kDot8, false, narrow, width});
  for (const char* bits : {"1/2", "2/2", "4/4"})
    choices.push_back({std::string("network/edmips/cifar-resnet20/i24/") + bits,
                       "edmips/cifar-resnet20", Stem::kI24, Peak::kDot8, false, {{"bits", bits}}});
  return choices;
}

NetworkBenchmark::NetworkBenchmark(const NetworkChoice& choice, const char* isa)
    : name_(choice.name), peak_(choice.peak) {
  RandomModelOptions model_options;
  model_options.arguments = choice.arguments;
  model_options.width = choice.width;
  const RandomModel model = MakeRandomModel(choice.network, choice.stem, model_options);
  RunnerOptions options;
  options.isa = isa;
  const auto runner = std::make_shared<ModelRunner>(model.file, choice.name, options);
  CheckAgainstInterpreter(choice.name, model, *runner);
  macs_ = Count(model.network).quantized_macs;
  engines_.push_back({"lbrt", [runner] { runner->Run(); }});
  if (!choice.peers) return;
  const auto network = std::make_shared<FloatNetwork>(MakeFloatNetwork(model.network));
  for (const Peer& peer : Peers(*network))
    engines_.push_back({peer.name, [network, run = peer.run] { run(); }});
}

}  // namespace lbrt
