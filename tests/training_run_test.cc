// What a training run does from its beginning to its end: epochs, metrics, checkpoints, searches,
// teachers, every kind of data, and what it refuses.
#include "tests/training_run.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "images/file.h"
#include "network/bits.h"
#include "tests/mat_files.h"
#include "tests/torch_file.h"
#include "trainer/evaluate.h"
#include "trainer/step_time.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

// --- What an epoch does --------------------------------------------------------------------------

TEST_F(TrainingRunTest, EveryImageOfAnEpochIsUsed) {
  // 60 images: batches of 8 leave 4; batches of 59 would leave one, which joins the batch before.
  static_assert(kTrainImages == 60);
  Recipe recipe = RecipeFor(kMcDonnell);
  recipe.rate.epochs = 1;
  Run(Options("eights", recipe));
  EXPECT_EQ(seen_[0], (std::vector<size_t>{8, 16, 24, 32, 40, 48, 56, 60}));
  seen_.clear();
  recipe.batch = 59;
  Run(Options("fifty-nines", recipe));
  EXPECT_EQ(seen_[0], (std::vector<size_t>{60}));
  // Of two replicas each needs two.
  seen_.clear();
  recipe.batch = 57;
  RunOptions two = Options("two", recipe);
  two.replicas = 2;
  Run(two);
  EXPECT_EQ(seen_[0], (std::vector<size_t>{60}));
}

TEST_F(TrainingRunTest, MetricsHaveEachEpochOnceHoweverOftenTheRunBegan) {
  for (const Example& example : {kMcDonnell, kSvhn}) {
    const Recipe recipe = RecipeFor(example);
    const int widths = static_cast<int>(recipe.Build().widths.size());
    results_.clear();
    Run(Options("out", recipe), [&] { return results_.size() == 2; });
    fs::copy(folder_ / "out/last.pt", folder_ / "second.pt");
    RunOptions rest = Options("out", recipe);
    rest.resume = folder_ / "second.pt";
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(Run(rest));  // again, as after a crash
    std::istringstream lines(TextOfFile(folder_ / "out/metrics.csv"));
    std::vector<std::string> firsts;
    for (std::string line; std::getline(lines, line);) {
      firsts.push_back(line.substr(0, line.find(',')));
      EXPECT_EQ(std::count(line.begin(), line.end(), ','), 10 + 3 * widths) << line;
    }
    EXPECT_EQ(firsts, (std::vector<std::string>{"epoch", "0", "1", "2"}));
    fs::remove_all(folder_ / "out");
    fs::remove(folder_ / "second.pt");
  }
}

TEST_F(TrainingRunTest, ACheckpointSaysWhatItIs) {
  Recipe recipe = RecipeFor(kRecu);
  recipe.rate.epochs = 2;
  Run(Options("out", recipe));
  const Checkpoint c = Read("out/last.pt");
  EXPECT_EQ(c.text.at("network"), "recu/resnet20");
  EXPECT_EQ(c.text.at("arguments"), "blocks=1,1 channels=4,8 classes=10 size=8");
  EXPECT_EQ(c.text.at("recipe"), RecipeText(recipe));
  EXPECT_EQ(FromText(c.text.at("preprocessing"), "checkpoint"), recipe.preprocessing);
  EXPECT_EQ(c.text.at("labels").substr(0, 20), "airplane\nautomobile\n");
  EXPECT_EQ(c.text.at("seed"), "5");
  EXPECT_EQ(c.text.at("device"), "cpu");
  EXPECT_EQ(PrecisionOf(c), "fp32");
  EXPECT_EQ(c.integers.at("epoch"), 2);
  EXPECT_EQ(c.numbers.at("last_accuracy"), results_.back().test_accuracy);
  EXPECT_EQ(c.numbers.at("best_accuracy"),
            std::max(results_[0].test_accuracy, results_[1].test_accuracy));
  EXPECT_EQ(c.groups.at("optimizer").size(),
            TrainerModel(NetworkOf(c, ""), at::kFloat, at::kCPU).parameters().size());
  EXPECT_EQ(SeedOf(c, "c"), 5u);
  EXPECT_GT(results_[1].tau, 0.85);
  EXPECT_EQ(c.state.at("layer1.0.conv1.tau").f32()[0], static_cast<float>(results_[1].tau));
}

TEST_F(TrainingRunTest, TheLastCheckpointEvaluatesToWhatTheRunReportedAtEveryWidth) {
  for (const Example& example : {kMcDonnell, kSvhn}) {
    const Recipe recipe = RecipeFor(example);
    results_.clear();
    Run(Options(example.name, recipe));
    const Checkpoint c = Read(std::string(example.name) + "/last.pt");
    TrainerModel model(NetworkOf(c, ""), at::kFloat, at::kCPU);
    model.Load(c.state);
    const Samples test = Prepare(OpenDataset({folder_.path()}, Split::kTest), recipe.preprocessing,
                                 example.size, example.size, 10, 0);
    const auto quiet = [](size_t) {};
    const EpochResult& last = results_.back();
    double train_loss = 0;
    for (const WidthResult& width : last.widths) {
      const Evaluation e = Evaluate(model, width.width, test, recipe.preprocessing, quiet);
      EXPECT_EQ(e.accuracy(), width.test_accuracy);
      EXPECT_EQ(e.loss(), width.test_loss);
      EXPECT_EQ(e.logits, Evaluate(model, width.width, test, recipe.preprocessing, quiet).logits);
      if (width.width != 0) {
        EXPECT_EQ(c.numbers.at("last_accuracy_w" + std::to_string(width.width)), e.accuracy());
      }
      train_loss += width.train_loss;
    }
    EXPECT_EQ(last.widths.size(), std::max<size_t>(1, model.network().widths.size()));
    EXPECT_EQ(last.widths[0].width, model.network().widest());
    EXPECT_EQ(last.test_accuracy, last.widths[0].test_accuracy);
    EXPECT_NEAR(last.train_loss, train_loss, 1e-12);
  }
}

TEST_F(TrainingRunTest, StepsTellTheMeanLossOfTheirEpoch) {
  Recipe recipe = RecipeFor(kSvhn);
  recipe.batch = kTinyBatch;  // all alike, so that the mean of the steps is that of the images
  ASSERT_TRUE(Run(Options("out", recipe)));
  for (const EpochResult& r : results_) EXPECT_NEAR(loss_[r.epoch], r.train_loss, 1e-6) << r.epoch;
}

TEST_F(TrainingRunTest, TrainingLearnsTheTinySet) {
  Recipe recipe = RecipeFor(kMcDonnell);
  recipe.augment = Augmentation::kNone;
  recipe.rate.warmup = 0;
  recipe.rate.epochs = 20;
  Run(Options("out", recipe));
  EXPECT_LT(results_.back().train_loss, 0.5 * results_.front().train_loss);
  EXPECT_GT(results_.back().train_accuracy, 50);  // by chance: 10
}

std::string LatencyEntry(const Network& network, const QuantizedLayer& layer, int weight_bits,
                         int activation_bits, double microseconds) {
  const Node& conv = network.node(layer.conv);
  const Node& x = network.node(conv.inputs[0]);
  const auto two = [](int a, int b) {
    return "[" + std::to_string(a) + ", " + std::to_string(b) + "]";
  };
  return "{\"inputs\": " + std::to_string(x.channels) +
         ", \"outputs\": " + std::to_string(conv.channels) +
         ", \"kernel\": " + two(conv.window.kernel_h, conv.window.kernel_w) +
         ", \"stride\": " + two(conv.window.stride_h, conv.window.stride_w) +
         ", \"size\": " + two(x.height, x.width) +
         ", \"weight_bits\": " + std::to_string(weight_bits) +
         ", \"activation_bits\": " + std::to_string(activation_bits) +
         ", \"microseconds\": " + std::to_string(microseconds) + "}";
}

TEST_F(TrainingRunTest, ASearchMovesItsAlphasAndWritesWhatItChose) {
  const Recipe recipe = RecipeFor(kSearch);
  Run(Options("out", recipe));
  const Checkpoint c = Read("out/last.pt");
  EXPECT_EQ(TextOfFile(folder_ / "out/architecture.txt"),
            ArchitectureText(ArchitectureOf(c.state)));
  EXPECT_EQ(c.groups.at("arch_optimizer").size(), 2 * 5u);
  // The complexity's slope is the only one that all layers share: bits fall.
  EXPECT_LT(results_.back().complexity, results_.front().complexity);
  EXPECT_GT(results_.back().complexity, 0);
  const float* alphas = c.state.at("layers.0.conv0.mix_weight.alpha_weight").f32();
  EXPECT_GT(alphas[0], alphas[3]);
  // A measured latency table takes part; of a layer it does not know, it says so.
  std::ofstream(folder_ / "table.json") << "{\"entries\": []}";
  RunOptions measured = Options("measured", recipe);
  measured.latencies = folder_ / "table.json";
  ExpectRefusal([&] { Run(measured); }, "table.json: has no latency of layers.0.conv0");
  // Where activations cost nothing, only the weights' bits are pushed down.
  const Network network = recipe.Build();
  std::set<std::string> entries;  // layers of one shape have one
  for (const QuantizedLayer& layer : QuantizedLayers(network))
    for (int w = 1; w <= 4; ++w)
      for (int a = 2; a <= 4; ++a) entries.insert(LatencyEntry(network, layer, w, a, w));
  std::string list;
  for (const std::string& entry : entries) list += (list.empty() ? "" : ",\n") + entry;
  std::ofstream(folder_ / "table.json") << "{\"entries\": [" << list << "]}";
  ASSERT_TRUE(Run(measured));
  const Checkpoint m = Read("measured/last.pt");
  EXPECT_EQ(m.text.at("latency_table"), measured.latencies);
  std::ofstream(folder_ / "table.json", std::ios::app) << "\n";
  ExpectRefusal([&] { GoOn(measured); }, "table.json: is not the latency_table that ");
  const auto slope = [](const Checkpoint& checkpoint, const std::string& name, size_t last) {
    const float* a = checkpoint.state.at(name).f32();
    return a[0] - a[last];
  };
  const std::string weights = "layers.0.conv0.mix_weight.alpha_weight",
                    activations =
                        network.node(QuantizedLayers(network)[0].quantize).name + ".alpha_activ";
  EXPECT_GT(slope(m, weights, 3), 0.1);
  EXPECT_GT(slope(c, activations, 2), slope(m, activations, 2) + 0.05);
  RunOptions other = Options("other", RecipeFor(kMcDonnell));
  other.latencies = folder_ / "table.json";
  ExpectRefusal([&] { Run(other); }, "expected a recipe with mode=search");
}

// --- Where a run begins --------------------------------------------------------------------------

TEST_F(TrainingRunTest, InitTakesTheWeightsAndNothingElse) {
  Recipe recipe = RecipeFor(kMcDonnell);
  Run(Options("first", recipe));
  recipe.rate.lr = 1e-30;  // moves nothing
  recipe.rate.epochs = 1;
  RunOptions fine = Options("fine", recipe);
  fine.init = folder_ / "first/last.pt";
  Run(fine);
  const Checkpoint a = Read("first/last.pt"), b = Read("fine/last.pt");
  EXPECT_EQ(a.state.at("conv0").bytes, b.state.at("conv0").bytes);
  EXPECT_EQ(b.integers.at("epoch"), 1);
  EXPECT_EQ(note_, "");
}

TEST_F(TrainingRunTest, InitSaysWhatItLacks) {
  Recipe recipe = RecipeFor(kRecu);
  recipe.rate.epochs = 1;
  Recipe plain = recipe;
  plain.arguments["form"] = "full-precision";
  plain.tau_min = plain.tau_max = 0;
  Run(Options("plain", plain));
  RunOptions fine = Options("fine", recipe);
  fine.init = folder_ / "plain/last.pt";
  Run(fine);
  EXPECT_NE(note_.find("plain/last.pt lacks "), std::string::npos) << note_;
  EXPECT_NE(note_.find("layer1.0.conv1."), std::string::npos) << note_;
  // And what it has that the network does not.
  RunOptions back = Options("back", plain);
  back.init = folder_ / "fine/last.pt";
  Run(back);
  EXPECT_EQ(note_.find(back.init + " has "), 0u) << note_;
  EXPECT_NE(note_.find(" tensors, which the network does not: layer1.0.conv1."), std::string::npos)
      << note_;
  RunOptions none = Options("none", RecipeFor(kMcDonnell));
  none.init = back.init;
  ExpectRefusal([&] { Run(none); }, "fine/last.pt: has no tensor of mcdonnell/wrn-8-0.25");
  Checkpoint wrong = Read("plain/last.pt");
  wrong.state["linear.weight"] = HostTensor::Zeros(DType::kF32, {10, 3});
  WriteCheckpoint(folder_ / "wrong.pt", wrong);
  fine.init = folder_ / "wrong.pt";
  ExpectRefusal([&] { Run(fine); }, "linear.weight");
}

TEST_F(TrainingRunTest, ATeacherIsLearnedInsteadOfTheLabels) {
  Recipe recipe = RecipeFor(kRecu);
  Recipe plain = recipe;
  plain.arguments["form"] = "full-precision";
  plain.tau_min = plain.tau_max = 0;
  Run(Options("teacher", plain));
  const Checkpoint teacher = Read("teacher/last.pt");
  recipe.rate.epochs = 1;
  RunOptions options = Options("student", recipe);
  Run(options);
  const double by_labels = results_.back().train_loss;
  options.teacher = folder_ / "teacher/last.pt";
  options.out = folder_ / "taught";
  Run(options);
  EXPECT_NE(results_.back().train_loss, by_labels);
  EXPECT_TRUE(Read("teacher/last.pt").state.at("conv1.weight").bytes ==
              teacher.state.at("conv1.weight").bytes);
  // It is part of the run: a resumed one needs it again, wherever it lies, but no other, and one
  // without takes none.
  const Checkpoint taught = Read("taught/last.pt");
  EXPECT_EQ(taught.text.at("teacher"), options.teacher);
  RunOptions forgotten = options;
  forgotten.teacher.clear();
  ExpectRefusal([&] { GoOn(forgotten); }, "taught/last.pt: has the teacher ");
  RunOptions moved = options;
  moved.teacher = folder_ / "moved.pt";
  std::filesystem::copy_file(options.teacher, moved.teacher);
  EXPECT_TRUE(GoOn(moved));
  Checkpoint better = teacher;
  better.text["note"] = "better";
  WriteCheckpoint(moved.teacher, better);
  ExpectRefusal([&] { GoOn(moved); }, "moved.pt: is not the teacher that ");
  options.out = folder_ / "student";
  ExpectRefusal([&] { GoOn(options); }, "student/last.pt: has no teacher");

  Recipe other = recipe;
  other.arguments["size"] = "16";
  other.preprocessing.resize = 16;
  RunOptions larger = Options("larger", other);
  larger.teacher = folder_ / "teacher/last.pt";
  ExpectRefusal([&] { Run(larger); }, "teacher/last.pt: takes images of 8 x 8 pixels");
  Checkpoint foreign;
  foreign.state = teacher.state;
  WriteCheckpoint(folder_ / "foreign.pt", foreign);
  larger.teacher = folder_ / "foreign.pt";
  larger.teacher_network = "mcdonnell/wrn-8-0.25";
  ExpectRefusal([&] { Run(larger); }, "conv0 is missing");
}

// As torchvision's files are: an old container, names as a parallel module has them, no counters.
std::vector<uint8_t> ForeignFile(const StateDict& state) {
  StateDict without;
  for (const std::string& name : state.names())
    if (!name.ends_with(".num_batches_tracked")) without[name] = state.at(name);
  TorchFile file;
  return file.Legacy(file.State(without, "module."));
}

TEST_F(TrainingRunTest, FilesOfOthersTeachAndStartARunAsOurOwnDo) {
  Recipe plain = RecipeFor(kTernary);
  plain.arguments = ParseArguments("size=8 form=full-precision");
  plain.rate.epochs = 1;
  ASSERT_TRUE(Run(Options("teacher", plain)));
  const Checkpoint teacher = Read("teacher/last.pt");
  WriteFile(folder_ / "foreign.pth", ForeignFile(teacher.state));

  Recipe recipe = RecipeFor(kRecu);
  recipe.rate.epochs = 1;
  RunOptions own = Options("own", recipe), foreign = Options("foreign", recipe);
  own.teacher = folder_ / "teacher/last.pt";
  foreign.teacher = folder_ / "foreign.pth";
  foreign.teacher_network = "ternary/resnet20";
  ASSERT_TRUE(Run(own));
  ASSERT_TRUE(Run(foreign));
  const StateDict a = Read("own/last.pt").state, b = Read("foreign/last.pt").state;
  EXPECT_EQ(a.at("conv1.weight").bytes, b.at("conv1.weight").bytes);

  // Fine-tuning of ternary weights from full precision (methods.md 5.4).
  Recipe ternary = RecipeFor(kTernary);
  ternary.arguments = ParseArguments("size=8");
  ternary.rate.epochs = 1;
  ternary.rate.lr = 1e-30;  // moves nothing
  RunOptions fine = Options("fine", ternary);
  fine.init = folder_ / "foreign.pth";
  ASSERT_TRUE(Run(fine));
  EXPECT_EQ(note_, "");
  const StateDict tuned = Read("fine/last.pt").state;
  const TrainerModel model(ternary.Build(), at::kFloat, at::kCPU);
  for (const std::string& name : model.parameters())
    EXPECT_EQ(tuned.at(name).bytes, teacher.state.at(name).bytes) << name;
}

// --- The data ------------------------------------------------------------------------------------

// Every kind of data that training takes but CIFAR-10: 60 training images, 20 test images.
struct Kind {
  const char* name;
  int classes;
  void (*write)(const fs::path& folder);
};

std::string BigEndian(const std::vector<uint32_t>& numbers) {
  std::string bytes;
  for (const uint32_t n : numbers)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(n >> shift & 255);
  return bytes;
}
std::string NoiseText(size_t bytes, uint32_t seed) {
  const std::vector<uint8_t> noise = Noise(bytes, seed);
  return {noise.begin(), noise.end()};
}

void WriteCifar100(const fs::path& folder) {
  for (const auto& [name, images] : {std::pair("train.bin", 60u), std::pair("test.bin", 20u)}) {
    std::ofstream file(folder / name, std::ios::binary);
    for (uint32_t i = 0; i < images; ++i)
      file << '\1' << static_cast<char>(i * 7 % 100) << NoiseText(3072, images + i);
  }
}
void WriteIdx(const fs::path& folder) {
  for (const auto& [name, images] : {std::pair("train", 60u), std::pair("t10k", 20u)}) {
    const std::string prefix = (folder / name).string();
    std::ofstream(prefix + "-images-idx3-ubyte", std::ios::binary)
        << BigEndian({0x803, images, 28, 28}) << NoiseText(images * 28 * 28, images);
    std::ofstream labels(prefix + "-labels-idx1-ubyte", std::ios::binary);
    labels << BigEndian({0x801, images});
    for (uint32_t i = 0; i < images; ++i) labels << static_cast<char>(i % 10);
  }
}
void WriteSvhn(const fs::path& folder) {
  for (const auto& [name, images] :
       {std::pair("train_32x32.mat", 60u), std::pair("test_32x32.mat", 20u)}) {
    std::vector<uint8_t> digits(images);
    for (size_t i = 0; i < images; ++i) digits[i] = static_cast<uint8_t>(1 + i % 10);
    WriteMat((folder / name).string(), {SvhnImages(images, images), SvhnLabels(digits)});
  }
}
void WriteClassFolders(const fs::path& folder) {
  for (const auto& [split, images] : {std::pair("train", 30u), std::pair("val", 10u)})
    for (const char* name : {"cats", "dogs"}) {
      fs::create_directories(folder / split / name);
      for (uint32_t i = 0; i < images; ++i)
        std::ofstream(folder / split / name / (std::to_string(i) + ".ppm"), std::ios::binary)
            << "P6 12 10 255\n"
            << NoiseText(12 * 10 * 3, images + i);
    }
}
const Kind kKinds[] = {{"Cifar100", 100, WriteCifar100},
                       {"Idx", 10, WriteIdx},
                       {"Svhn", 10, WriteSvhn},
                       {"ClassFolders", 2, WriteClassFolders}};

class TrainingDataTest : public TrainingRunTest, public testing::WithParamInterface<Kind> {};

TEST_P(TrainingDataTest, IsTrainedTestedAndTakenUpWithinAnEpoch) {
  const Kind& kind = GetParam();
  Recipe recipe = RecipeFor(kTernary);
  recipe.arguments["classes"] = std::to_string(kind.classes);
  recipe.preprocessing.crop_height = recipe.preprocessing.crop_width = 8;
  if (kind.classes == 2) recipe.augment = Augmentation::kImageNet;
  fs::create_directory(folder_ / "data");
  kind.write(folder_ / "data");
  RunOptions whole = Options("whole", recipe), parts = Options("parts", recipe);
  whole.data = parts.data = folder_ / "data";
  ASSERT_TRUE(Run(whole));
  ASSERT_EQ(results_.size(), 3u);
  for (const EpochResult& epoch : results_) {
    EXPECT_TRUE(std::isfinite(epoch.test_loss));
    ASSERT_EQ(epoch.widths[0].test_top5.has_value(), kind.classes >= 100);
    if (kind.classes >= 100) {
      EXPECT_GE(*epoch.widths[0].test_top5, epoch.test_accuracy);
      EXPECT_NE(TextOfFile(folder_ / "whole/metrics.csv").find("test_top5"), std::string::npos);
    }
  }
  steps_ = 0;
  EXPECT_FALSE(Run(parts, [&] { return steps_ == 11; }));  // within the second epoch
  EXPECT_EQ(Read("parts/last.pt").integers.at("position"), 24);
  EXPECT_TRUE(GoOn(parts));
  ExpectSameFile("parts/last.pt", "whole/last.pt");
  ExpectSameFile("parts/best.pt", "whole/best.pt");

  // It evaluates to what the run said.
  const Checkpoint c = Read("whole/last.pt");
  TrainerModel model(NetworkOf(c, ""), at::kFloat, at::kCPU);
  model.Load(c.state);
  const Samples test = Prepare(OpenDataset({folder_ / "data"}, Split::kTest), recipe.preprocessing,
                               8, 8, kind.classes, 0);
  EXPECT_EQ(test.size(), 20u);
  const Evaluation e = Evaluate(model, 0, test, recipe.preprocessing, [](size_t) {});
  EXPECT_EQ(e.accuracy(), c.numbers.at("last_accuracy"));
}

INSTANTIATE_TEST_SUITE_P(Data, TrainingDataTest, testing::ValuesIn(kKinds),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(TrainingRunTest, ImagesForTrainingAloneAreRefused) {
  const std::string line = "has no test images apart from the training images";
  RunOptions options = Options("out", RecipeFor(kTernary));
  options.data = folder_ / "data_batch_1.bin";
  ExpectRefusal([&] { Run(options); }, line);
  WriteClassFolders(folder_ / "folders");
  options.data = folder_ / "folders/train";
  ExpectRefusal([&] { Run(options); }, line);
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

// --- What is refused -----------------------------------------------------------------------------

TEST_F(TrainingRunTest, RecipesThatDoNotFitTheirNetworkAreRefused) {
  Recipe recipe = RecipeFor(kRecu);
  recipe.tau_min = recipe.tau_max = 0;
  ExpectRefusal([&] { Run(Options("out", recipe)); }, "tau-min");
  recipe = RecipeFor(kMcDonnell);
  recipe.preprocessing = {.channels = 1, .mean = {0.5}, .std = {0.5}};
  ExpectRefusal([&] { Run(Options("out", recipe)); }, "channels");
  recipe = RecipeFor(kMcDonnell);
  recipe.arguments["classes"] = "3";
  ExpectRefusal([&] { Run(Options("out", recipe)); }, "label");
  recipe = RecipeFor(kMcDonnell);
  recipe.augment = Augmentation::kImageNet;
  ExpectRefusal([&] { Run(Options("boxes", recipe)); }, "class folders");
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(TrainingRunTest, ALossThatIsNoLongerFiniteEndsTheRunInOneLineThatNamesStepAndLayer) {
  Recipe recipe = RecipeFor(kTernary);
  ASSERT_TRUE(Run(Options("good", recipe)));
  // In the middle of the network, a batch norm whose weight is no number.
  Checkpoint bad = Read("good/last.pt");
  std::vector<std::string> norms;
  for (const Node& node : recipe.Build().nodes)
    if (node.kind == NodeKind::kBatchNorm) norms.push_back(node.name);
  const std::string norm = norms[norms.size() / 2];
  bad.state[norm + ".weight"].f32()[0] = NAN;
  WriteCheckpoint(folder_ / "bad.pt", bad);
  RunOptions options = Options("out", recipe);
  options.init = folder_ / "bad.pt";
  EXPECT_EQ(
      Refusal([&] { Run(options); }),
      "epoch 1, step 1: the loss is no longer finite, first in " + norm + "; a lower lr may help");
  EXPECT_FALSE(fs::exists(folder_ / "out/last.pt"));

  recipe.rate.lr = 1e30;
  const std::string line = Refusal([&] { Run(Options("good", recipe)); });
  EXPECT_EQ(line.find("epoch 1, step 2: the loss is no longer finite, first in "), 0u) << line;
}

TEST_F(TrainingRunTest, AnUpdateThatNoLossHasSeenDoesNotReplaceAGoodCheckpoint) {
  Recipe recipe = RecipeFor(kTernary);
  ASSERT_TRUE(Run(Options("out", recipe)));
  const std::string before = TextOfFile(folder_ / "out/last.pt");
  recipe.batch = kTrainImages;  // one step an epoch: its loss is good, its update is not
  recipe.rate.lr = 1e38;
  const std::string line = Refusal([&] { Run(Options("out", recipe)); });
  EXPECT_EQ(line.find("epoch 1, test images: the loss is not finite"), 0u) << line;
  EXPECT_TRUE(TextOfFile(folder_ / "out/last.pt") == before);
}

TEST(MillisecondsPerStep, TimesAStep) {
  Recipe recipe = RecipeFor(kRecu);
  recipe.batch = 2;
  for (const bool fuse : {false, true})
    EXPECT_GT(MillisecondsPerStep(recipe, at::kCPU, Precision::kFp32, 1, fuse), 0);
}

}  // namespace
}  // namespace lbrt
