#include "apps/lbbench/opening_benchmarks.h"

#include "apps/random_model.h"
#include "runtime/lbrt.hpp"

namespace lbrt {

std::vector<OpeningChoice> OpeningChoices() {
  std::vector<OpeningChoice> choices;
  for (const char* network : {"recu/resnet20", "recu/imagenet-resnet18", "edmips/googlenet"})
    choices.push_back({std::string("opening/") + network, network, {}});
  choices.push_back({"opening/any-precision/resnet50/1,2,4,8", "any-precision/resnet50",
                     {1, 2, 4, 8}});
  return choices;
}

OpeningBenchmark::OpeningBenchmark(const OpeningChoice& choice, const char* isa)
    : name_(choice.name),
      file_(std::make_shared<const std::vector<uint8_t>>(
          MakeRandomFile(choice.network, Stem::kI24, choice.widths))) {
  ModelOptions options;
  options.isa = isa;
  packed_bytes_ = Model::Borrow(file_->data(), file_->size(), options).info().repacked_bytes;
  for (const bool skip_checksums : {false, true}) {
    options.skip_checksums = skip_checksums;
    ways_.push_back({skip_checksums ? "without" : "with", [file = file_, options] {
                       const Model model = Model::Borrow(file->data(), file->size(), options);
                       const Session session(model);
                     }});
  }
}

}  // namespace lbrt
