// libFuzzer's entry point of the ONNX reader and the lowering: any bytes are refused or converted.
#include <cstddef>
#include <cstdint>

#include "converter/onnx/lower.h"
#include "converter/passes.h"
#include "images/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    std::vector<std::string> lines;
    const lbrt::onnx::Model model = lbrt::onnx::ReadModel({data, size}, "fuzzed");
    const lbrt::Graph graph = lbrt::onnx::Lower(model, &lines);
    lbrt::LoweredGraph lowered = lbrt::Lower(graph);
    for (const lbrt::Pass& pass : lbrt::Passes()) pass.run(lowered);
  } catch (const lbrt::InputError&) {
  }
  return 0;
}
