// lbrun as a user meets it, on models with random weights: what it prints, what it refuses, and
// that its numbers are the same bytes whatever computes them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "apps/random_model.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "images/file.h"
#include "images/npy.h"
#include "images/preprocess.h"
#include "images/write.h"
#include "schema/crc32c.h"
#include "tests/fitted_network.h"
#include "tests/image_files.h"
#include "tests/run_program.h"

namespace lbrt {
namespace {

constexpr const char* kResNet = "recu/resnet20";
constexpr size_t kImageBytes = 32 * 32 * 3;

// Emulators and sanitizers are slow: fewer images there.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSlow = true;
#else
constexpr bool kSlow = std::string_view(LBRT_EMULATOR) != "";
#endif

const std::vector<uint8_t>& ModelBytes(const std::string& network, Stem stem) {
  static std::map<std::pair<std::string, Stem>, std::vector<uint8_t>> made;
  std::vector<uint8_t>& file = made[{network, stem}];
  if (file.empty()) file = MakeRandomModel(network, stem).file;
  return file;
}

// NumPy's format, version 1.
void WriteArray(const std::string& path, const std::string& type, const std::string& shape,
                std::span<const uint8_t> bytes) {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((header.size() + 10) / 64 * 64 + 64 - 10 - 1, ' ');
  header += '\n';
  std::string file = "\x93NUMPY";
  file += '\x01';
  file += '\0';
  file += static_cast<char>(header.size() & 0xff);
  file += static_cast<char>(header.size() >> 8);
  file += header;
  file.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  WriteFile(path, BytesOf(file));
}

class LbrunTest : public testing::Test {
 protected:
  LbrunTest() {
    unsetenv("LBRT_ISA");
    WriteFile(model_, ModelBytes(kResNet, Stem::kI24));
    WritePng(image_, NoiseImage(32, 32, 3));
  }

  ProgramResult Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(LBRT_BIN_DIR) + "/lbrun");
    return RunProgram(arguments);
  }
  nlohmann::json RunJson(std::vector<std::string> arguments, int status = 0) const {
    arguments.push_back("--json");
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.status, status) << result.error;
    return nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  }
  void ExpectRefused(const std::vector<std::string>& arguments, const std::string& part,
                     int status = 1) const {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.status, status) << part;
    EXPECT_TRUE(result.error_line().starts_with("lbrun: ")) << result.error;
    EXPECT_NE(result.error.find(part), std::string::npos) << result.error << "expected: " << part;
    EXPECT_EQ(result.out, "");
  }
  std::vector<std::string> Isas() const {
    std::istringstream list(Run({"--isa", "list"}).out);
    return {std::istream_iterator<std::string>(list), {}};
  }
  // `count` images of noise.
  std::string Images(size_t count) const {
    const std::string path = folder_ / ("x" + std::to_string(count) + ".npy");
    WriteArray(path, "|u1", std::to_string(count) + ", 32, 32, 3", Noise(count * kImageBytes));
    return path;
  }
  std::string Labels(size_t count, uint8_t classes) const {
    std::vector<uint8_t> labels = Noise(count, 5);
    for (uint8_t& label : labels) label %= classes;
    const std::string path = folder_ / "y.npy";
    WriteArray(path, "|u1", std::to_string(count) + ",", labels);
    return path;
  }
  // The bytes of the file that --logits writes.
  std::vector<uint8_t> Logits(std::vector<std::string> arguments) const {
    const std::string path = folder_ / "logits.npy";
    arguments.insert(arguments.end(), {"--logits", path});
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.status, 0) << result.error;
    return ReadFile(path);
  }

  TemporaryFolder folder_;
  const std::string model_ = folder_ / "model.lbm", image_ = folder_ / "image.png";
};

// ------------------------------------------------------------------------------ what it prints

TEST_F(LbrunTest, PrintsTheBestClassesOfAnImageAligned) {
  const ProgramResult result = Run({model_, image_, "--top", "3"});
  ASSERT_EQ(result.status, 0) << result.error;
  EXPECT_EQ(result.error, "");
  std::istringstream lines(result.out);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, image_);
  std::set<size_t> columns;
  double last = 100;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(std::getline(lines, line));
    EXPECT_TRUE(line.starts_with("  ") && line.ends_with(" %")) << line;
    columns.insert(line.size());
    const double percent = std::stod(line.substr(line.find_last_of(' ', line.size() - 3)));
    EXPECT_LE(percent, last);
    last = percent;
  }
  EXPECT_EQ(columns.size(), 1u) << result.out;
  EXPECT_FALSE(std::getline(lines, line)) << line;
}

TEST_F(LbrunTest, JsonOfImagesHasTheDocumentedShape) {
  const nlohmann::json json = RunJson({model_, image_, "--threads", "2", "--top", "10"});
  EXPECT_EQ(json.size(), 5u);
  EXPECT_EQ(json["model"], model_);
  EXPECT_EQ(json["width"], 1);
  EXPECT_EQ(json["isa"], Isas().back());
  EXPECT_EQ(json["threads"], 2);
  ASSERT_EQ(json["results"].size(), 1u);
  EXPECT_EQ(json["results"][0]["image"], image_);
  const nlohmann::json& classes = json["results"][0]["classes"];
  ASSERT_EQ(classes.size(), 10u);
  double sum = 0, last = INFINITY;
  std::set<int> indices;
  for (const nlohmann::json& c : classes) {
    EXPECT_EQ(c.size(), 4u);
    EXPECT_TRUE(c["label"].is_string());
    indices.insert(c["index"].get<int>());
    EXPECT_LE(c["logit"].get<double>(), last);
    last = c["logit"].get<double>();
    sum += c["probability"].get<double>();
  }
  EXPECT_EQ(indices.size(), 10u);
  EXPECT_NEAR(sum, 1, 1e-5);
}

TEST_F(LbrunTest, JsonOfAnEvaluationHasTheDocumentedShape) {
  const nlohmann::json json =
      RunJson({model_, "--eval", Images(30), Labels(30, 10), "--limit", "20"});
  EXPECT_EQ(json.size(), 9u);
  EXPECT_EQ(json["images"], 20);
  EXPECT_DOUBLE_EQ(json["top1"].get<double>(), json["correct"].get<double>() * 5);
  EXPECT_GE(json["top5"].get<double>(), json["top1"].get<double>());
  EXPECT_GT(json["images_per_second"].get<double>(), 0);
}

TEST_F(LbrunTest, JsonOfABenchmarkHasTheDocumentedShape) {
  const nlohmann::json json = RunJson({model_, "--bench", "--runs", "5"});
  EXPECT_EQ(json.size(), 8u);
  EXPECT_EQ(json["runs"], 5);
  EXPECT_LE(json["min_us"].get<double>(), json["median_us"].get<double>());
  EXPECT_LE(json["median_us"].get<double>(), json["p90_us"].get<double>());
}

TEST_F(LbrunTest, ExplainsAndProfilesEveryOp) {
  for (const char* flag : {"--explain", "--profile"}) {
    const ProgramResult result = Run({model_, flag, "--runs", "2"});
    EXPECT_EQ(result.status, 0) << result.error;
    for (const char* part : {"conv1", "i24xu8", "layer3.2.conv2", "1x1", "linear", "f32xf32"})
      EXPECT_NE(result.out.find(part), std::string::npos) << flag << " " << part;
  }
}

TEST_F(LbrunTest, HelpIsNoError) {
  const ProgramResult result = Run({"--help"});
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.out.find("--logits"), std::string::npos);
}

// The labels' order among the logits, ties to the lower index, is what top-1 and top-5 count.
TEST_F(LbrunTest, AccuracyIsWhatTheLogitsSay) {
  const size_t images = kSlow ? 20 : 200;
  const std::string x = Images(images), y = Labels(images, 10);
  const nlohmann::json json = RunJson({model_, "--eval", x, y});
  Logits({model_, x});
  const std::vector<float> logits = ReadNpy(folder_ / "logits.npy").floats();
  const std::vector<int64_t> labels = ReadNpy(y).integers();
  ASSERT_EQ(logits.size(), images * 10);
  size_t top1 = 0, top5 = 0;
  for (size_t i = 0; i < images; ++i) {
    const float* row = logits.data() + i * 10;
    const int64_t label = labels[i];
    int64_t before = 0;
    for (int64_t c = 0; c < 10; ++c)
      before += row[c] > row[label] || (row[c] == row[label] && c < label);
    top1 += before == 0;
    top5 += before < 5;
  }
  EXPECT_EQ(json["correct"], top1);
  EXPECT_NEAR(json["top5"].get<double>(),
              100.0 * static_cast<double>(top5) / static_cast<double>(images), 1e-6);
}

// ---------------------------------------------------------------------------- the same numbers

TEST_F(LbrunTest, LogitsAreTheSameBytesOnEveryInstructionSetAndThreadCount) {
  const size_t images = kSlow ? 6 : 1000;
  const std::string x = Images(images);
  const std::vector<uint8_t> expected = Logits({model_, x});
  const std::vector<std::string> isas = Isas();
  ASSERT_FALSE(isas.empty());
  for (const std::string& isa : isas)
    for (const char* threads : {"1", "2"})
      EXPECT_EQ(Logits({model_, x, "--isa", isa, "--threads", threads}), expected)
          << isa << ", threads " << threads;
}

TEST_F(LbrunTest, LogitsOfEveryStemAndNetworkAreTheSameBytesOnEveryInstructionSet) {
  const std::string x = Images(kSlow ? 1 : 4);
  for (const char* network : {kResNet, "mcdonnell/wrn-20-1"})
    for (Stem stem : {Stem::kI24, Stem::kI16, Stem::kI8, Stem::kF32}) {
      WriteFile(model_, ModelBytes(network, stem));
      const std::vector<uint8_t> expected = Logits({model_, x, "--threads", "2"});
      for (const std::string& isa : Isas())
        EXPECT_EQ(Logits({model_, x, "--isa", isa}), expected)
            << network << " " << StemName(stem) << " " << isa;
    }
}

// Known values: the same on every architecture, with every compiler.
TEST_F(LbrunTest, LogitsAreTheSameBytesOnEveryMachine) {
  struct Known {
    const char* network;
    Stem stem;
    uint32_t crc;  // of the file that --logits writes
  };
  const std::string x = Images(4);
  for (const Known& known :
       {Known{kResNet, Stem::kI24, 1374723889}, Known{kResNet, Stem::kF32, 1197796743},
        Known{"mcdonnell/wrn-20-1", Stem::kI24, 272141609},
        Known{"mcdonnell/wrn-20-1", Stem::kI8, 3043386595}}) {
    WriteFile(model_, ModelBytes(known.network, known.stem));
    const std::vector<uint8_t> logits = Logits({model_, x});
    EXPECT_EQ(lbm::Crc32c(logits.data(), logits.size()), known.crc)
        << known.network << " " << StemName(known.stem);
  }
}

TEST_F(LbrunTest, AnImageFileAndAnArrayOfItGiveTheSameLogits) {
  WriteArray(folder_ / "image.npy", "|u1", "32, 32, 3", NoiseImage(32, 32, 3).pixels);
  EXPECT_EQ(Logits({model_, image_}), Logits({model_, folder_ / "image.npy"}));
}

TEST_F(LbrunTest, AFloatStemTakesNormalisedValuesAsTheyStand) {
  WriteFile(model_, ModelBytes(kResNet, Stem::kF32));
  const Image image = NoiseImage(32, 32, 3);
  const std::vector<float> table =
      NormaliseTable(FromText(DefaultsOf(BuildNetwork(kResNet, {})).preprocessing, "defaults"));
  std::vector<uint8_t> bytes(kImageBytes * sizeof(float));
  for (size_t i = 0; i < kImageBytes; ++i) {
    const float value = table[i % 3 * 256 + image.pixels[i]];
    std::memcpy(bytes.data() + (i % 3 * 1024 + i / 3) * sizeof value, &value, sizeof value);
  }
  WriteArray(folder_ / "values.npy", "<f4", "1, 3, 32, 32", bytes);
  EXPECT_EQ(Logits({model_, folder_ / "values.npy"}), Logits({model_, image_}));

  WriteFile(model_, ModelBytes(kResNet, Stem::kI24));
  ExpectRefused({model_, folder_ / "values.npy"}, "integer stem");
}

TEST_F(LbrunTest, TheEnvironmentChoosesTheInstructionSet) {
  setenv("LBRT_ISA", "scalar", 1);
  EXPECT_EQ(RunJson({model_, image_})["isa"], "scalar");
  setenv("LBRT_ISA", "abacus", 1);
  ExpectRefused({model_, image_}, "LBRT_ISA=abacus", 2);
  unsetenv("LBRT_ISA");
}

// -------------------------------------------------------------------------------- bad input

TEST_F(LbrunTest, RefusesFilesThatAreNoModel) {
  ExpectRefused({folder_ / "nothing.lbm", image_}, "nothing.lbm");
  ExpectRefused({folder_.path().string(), image_}, folder_.path().string());
  WriteFile(model_, {});
  ExpectRefused({model_, image_}, "model.lbm");
  ExpectRefused({image_, image_}, "image.png");
}

TEST_F(LbrunTest, RefusesTruncatedModels) {
  const std::vector<uint8_t>& whole = ModelBytes(kResNet, Stem::kI24);
  for (size_t size : {size_t{1}, size_t{4}, size_t{31}, size_t{32}, size_t{33}, whole.size() / 2,
                      whole.size() - 1}) {
    WriteFile(model_, std::span(whole).first(size));
    ExpectRefused({model_, image_}, "model.lbm: ");
  }
}

TEST_F(LbrunTest, RefusesModelsWithAFlippedBit) {
  const std::vector<uint8_t>& whole = ModelBytes(kResNet, Stem::kI24);
  const size_t step = kSlow ? 6007 : 397;
  for (size_t at = 0; at < whole.size(); at += at < 32 ? (kSlow ? 5 : 1) : step) {
    std::vector<uint8_t> flipped = whole;
    flipped[at] ^= static_cast<uint8_t>(1u << (at % 8));
    WriteFile(model_, flipped);
    const ProgramResult result = Run({model_, image_});
    // Bytes between segments are zero in every file, and read by nobody.
    if (result.status == 0 && whole[at] == 0) continue;
    EXPECT_EQ(result.status, 1) << "byte " << at;
    EXPECT_TRUE(result.error_line().starts_with("lbrun: " + model_)) << result.error;
  }
}

TEST_F(LbrunTest, RefusesFilesThatAreNoImage) {
  const std::string path = folder_ / "broken.png";
  WriteFile(path, {});
  ExpectRefused({model_, path}, "broken.png");
  WriteFile(path, BytesOf("this is text"));
  ExpectRefused({model_, path}, "broken.png");
  WriteFile(path, BytesOf("P6\n0 0\n255\n"));
  ExpectRefused({model_, path}, "broken.png");
  WriteFile(path, BytesOf("P6\n99999 99999\n255\n"));
  ExpectRefused({model_, path}, "broken.png");
  ExpectRefused({model_, folder_ / "missing.png"}, "missing.png");
}

TEST_F(LbrunTest, ImagesOfAnotherSizeNeedAModelThatResizes) {
  const std::string small = folder_ / "small.png", wide = folder_ / "wide.png";
  WritePng(small, NoiseImage(1, 1, 3));
  WritePng(wide, NoiseImage(20000, 2, 1));
  const auto write_model = [&](const char* preprocessing) {
    RandomModelOptions options;
    options.preprocessing = preprocessing;
    WriteFile(model_, MakeRandomModel(kResNet, Stem::kI24, options).file);
  };
  write_model("channels = 3\nmean = 0.5 0.5 0.5\nstd = 0.5 0.5 0.5\n");
  ExpectRefused({model_, small}, "expected 32x32");
  write_model("channels = 3\nresize = 28\ncrop = 28\npad = 2\n"
              "mean = 0.5 0.5 0.5\nstd = 0.5 0.5 0.5\n");
  EXPECT_EQ(RunJson({model_, small, wide})["results"].size(), 2u);
}

TEST_F(LbrunTest, AnImageThatCannotBeReadIsAnErrorAmongResults) {
  const std::string bad = folder_ / "bad.png", logits = folder_ / "logits.npy";
  WriteFile(bad, BytesOf("no image"));
  const nlohmann::json json = RunJson({model_, image_, bad, image_}, 1);
  ASSERT_EQ(json["results"].size(), 3u);
  EXPECT_TRUE(json["results"][0].contains("classes"));
  EXPECT_EQ(json["results"][1]["image"], bad);
  EXPECT_TRUE(json["results"][1].contains("error"));
  EXPECT_TRUE(json["results"][2].contains("classes"));

  EXPECT_EQ(Run({model_, image_, bad, "--logits", logits}).status, 1);
  EXPECT_FALSE(std::filesystem::exists(logits));
}

TEST_F(LbrunTest, RefusesDataThatDoesNotFitTheModel) {
  ExpectRefused({model_, "--eval", Images(5), Labels(5, 255)}, "10 classes");
  ExpectRefused({model_, "--eval", Images(5), Labels(4, 10)}, "");
  ExpectRefused({model_, "--eval", folder_ / "nowhere"}, "nowhere");
}

TEST_F(LbrunTest, AFullDiskIsOneLine) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const ProgramResult result = Run({model_, image_, "--logits", "/dev/full"});
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(result.error_line().starts_with("lbrun: /dev/full")) << result.error;
}

// --------------------------------------------------------------------------- several widths

const std::vector<int> kWidths = {1, 2, 8};

// Of random weights; a file of these widths, or of one of them.
std::vector<uint8_t> SwitchedBytes(const std::vector<int>& widths) {
  const Network network =
      BuildNetwork("any-precision/resnet20", ParseArguments("blocks=1,1 channels=8,16 expansion=1"));
  const Preprocessing input = FromText(DefaultsOf(network).preprocessing, "defaults");
  const StateDict tensors = RandomTensors(network);
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
  for (const int width : widths) {
    graphs.push_back(
        Import(network, tensors, {Stem::kI24, input.mean, input.std, width}, nullptr));
    lowered.push_back(Lower(graphs.back()));
    for (const Pass& pass : Passes()) pass.run(lowered.back());
  }
  NestPlanes(lowered);
  ModelTexts texts;
  texts.preprocessing = DefaultsOf(network).preprocessing;
  texts.widths = widths;
  return Emit(lowered, texts);
}

class LbrunWidthsTest : public LbrunTest {
 protected:
  LbrunWidthsTest() { WriteFile(model_, SwitchedBytes(kWidths)); }
};

TEST_F(LbrunWidthsTest, EachWidthIsTheModelOfThatWidthAlone) {
  const std::string alone = folder_ / "alone.lbm", images = Images(kSlow ? 2 : 6);
  std::set<std::string> different;
  for (const int width : kWidths) {
    WriteFile(alone, SwitchedBytes({width}));
    const std::vector<uint8_t> want = Logits({alone, images});
    for (const std::string& isa : Isas())
      EXPECT_EQ(Logits({model_, images, "--width", std::to_string(width), "--isa", isa}), want);
    different.emplace(want.begin(), want.end());
  }
  EXPECT_EQ(different.size(), 3u);
  EXPECT_EQ(RunJson({model_, image_})["width"], 8);
  EXPECT_EQ(RunJson({model_, image_, "--width", "2"})["width"], 2);
}

TEST_F(LbrunWidthsTest, AutoGoesOnOnlyWhereTheMarginIsSmall) {
  const std::string images = Images(6);
  std::vector<std::vector<float>> margins;
  for (const int width : kWidths) {
    std::vector<float>& own = margins.emplace_back();
    const nlohmann::json json = RunJson({model_, images, "--width", std::to_string(width)});
    for (const auto& result : json["results"])
      own.push_back(result["classes"][0]["logit"].get<float>() -
                    result["classes"][1]["logit"].get<float>());
  }
  std::vector<float> sorted = margins[0];
  std::sort(sorted.begin(), sorted.end());
  for (const float margin : {0.0f, sorted[3], 1e9f}) {
    const nlohmann::json json =
        RunJson({model_, images, "--width", "auto", "--margin", std::to_string(margin)});
    EXPECT_EQ(json["width"], "auto");
    for (size_t i = 0; i < 6; ++i) {
      size_t w = 0;
      while (w < 2 && margins[w][i] < std::stof(std::to_string(margin))) ++w;
      EXPECT_EQ(json["results"][i]["width"], kWidths[w]) << "margin " << margin << " image " << i;
    }
  }
}

TEST_F(LbrunWidthsTest, EvaluationShowsAccuracyAgainstCost) {
  const std::string images = Images(6), labels = Labels(6, 10);
  const nlohmann::json json = RunJson({model_, "--eval", images, labels, "--width", "auto"});
  ASSERT_EQ(json["widths"].size(), 3u);
  for (size_t w = 0; w < 3; ++w) {
    EXPECT_EQ(json["widths"][w]["width"], kWidths[w]);
    const nlohmann::json alone =
        RunJson({model_, "--eval", images, labels, "--width", std::to_string(kWidths[w])});
    EXPECT_EQ(json["widths"][w]["top1"], alone["top1"]);
    EXPECT_EQ(json["widths"][w]["top5"], alone["top5"]);
  }
  EXPECT_GE(json["margins"].size(), 2u);
  double runs = 0, cost = 0;
  for (const auto& row : json["margins"]) {
    EXPECT_GE(row["runs"].get<double>(), runs);
    EXPECT_GE(row["us"].get<double>(), cost);
    runs = row["runs"];
    cost = row["us"];
    double all = 0;
    for (const auto& share : row["answered"]) all += share.get<double>();
    EXPECT_NEAR(all, 100, 1e-3);
  }
  // At the ends, the policy is the narrowest width, or the widest after all others.
  for (const bool never : {true, false}) {
    const char* const margin = never ? "0" : "1e9";
    const nlohmann::json one =
        RunJson({model_, "--eval", images, labels, "--width", "auto", "--margin", margin});
    ASSERT_EQ(one["margins"].size(), 1u);
    EXPECT_EQ(one["margins"][0]["runs"], never ? 1 : 3);
    EXPECT_EQ(one["margins"][0]["top1"], one["widths"][never ? 0 : 2]["top1"]);
    EXPECT_EQ(Logits({model_, "--eval", images, labels, "--width", "auto", "--margin", margin}),
              Logits({model_, images, "--width", never ? "1" : "8"}));
  }
  const ProgramResult text = Run({model_, "--eval", images, labels, "--width", "auto"});
  EXPECT_NE(text.out.find("us an image"), std::string::npos) << text.out << text.error;
}

TEST_F(LbrunWidthsTest, BenchTimesEveryWidthAndSettingAnother) {
  const nlohmann::json json = RunJson({model_, "--bench", "--runs", "5"});
  EXPECT_GT(json["switch_us"].get<double>(), 0);
  ASSERT_EQ(json["widths"].size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json["widths"][i]["width"], kWidths[i]);
    EXPECT_GT(json["widths"][i]["min_us"].get<double>(), 0);
  }
  const ProgramResult one = Run({model_, "--bench", "--runs", "2", "--width", "2"});
  EXPECT_TRUE(one.out.starts_with("width 2, ")) << one.out;
}

TEST_F(LbrunWidthsTest, ExplainSaysWhereTheFileMayEnd) {
  const ProgramResult result = Run({model_, "--explain", "--width", "2"});
  EXPECT_NE(result.out.find("2x2"), std::string::npos) << result.out;
  std::istringstream lines(result.out);
  std::vector<size_t> ends;
  for (std::string line, width, bytes; std::getline(lines, line);) {
    std::istringstream words(line);
    if (!(words >> width >> bytes) || ends.size() >= 3 ||
        width != std::to_string(kWidths[ends.size()]))
      continue;
    std::erase(bytes, ',');
    ends.push_back(std::stoul(bytes));
  }
  ASSERT_EQ(ends.size(), 3u) << result.out;
  std::vector<uint8_t> file = ReadFile(model_);
  EXPECT_EQ(ends[2], file.size());
  file.resize(ends[1]);
  const std::string cut = folder_ / "cut.lbm";
  WriteFile(cut, file);
  EXPECT_EQ(RunJson({cut, image_})["width"], 2);
  EXPECT_EQ(Logits({cut, image_, "--width", "1"}), Logits({model_, image_, "--width", "1"}));
  ExpectRefused({cut, image_, "--width", "8"},
                "the file ends before the weights of width 8, it has those of 1 2");
  ExpectRefused({cut, "--explain", "--width", "8"}, "before the weights of width 8");
  ExpectRefused({cut, image_, "--width", "4"}, "has 1 2", 2);
  file.pop_back();
  WriteFile(cut, file);
  ExpectRefused({cut, image_}, "a segment is cut off");
  ExpectRefused({cut, image_, "--width", "8"}, "a segment is cut off");
}

TEST_F(LbrunWidthsTest, WrongUsageOfWidths) {
  ExpectRefused({model_, image_, "--width", "auto"}, "needs --margin", 2);
  ExpectRefused({model_, image_, "--margin", "1"}, "--margin", 2);
  ExpectRefused({model_, image_, "--width", "auto", "--margin", "1", "--profile"}, "excludes", 2);
  ExpectRefused({model_, image_, "--width", "3"}, "--width 3: " + model_ + " has 1 2 8", 2);
  ExpectRefused({model_, image_, "--width", "most"}, "--width", 2);
  ExpectRefused({model_, image_, "--width", "0"}, "--width", 2);
  WriteFile(model_, ModelBytes(kResNet, Stem::kI24));
  ExpectRefused({model_, image_, "--width", "auto", "--margin", "1"}, "has one width", 2);
}

// -------------------------------------------------------------------------------- wrong usage

TEST_F(LbrunTest, WrongUsageIsExitStatusTwo) {
  ExpectRefused({}, "MODEL", 2);
  ExpectRefused({model_}, "INPUT", 2);
  ExpectRefused({model_, image_, "--frobnicate"}, "--frobnicate", 2);
  ExpectRefused({model_, image_, "--top", "0"}, "--top", 2);
  ExpectRefused({model_, image_, "--top", "many"}, "--top", 2);
  ExpectRefused({model_, image_, "--threads", "0"}, "--threads", 2);
  ExpectRefused({model_, image_, "--eval", image_}, "--eval", 2);
  ExpectRefused({model_, image_, "--limit", "3"}, "--limit", 2);
  ExpectRefused({model_, image_, "--bench", "--logits", folder_ / "l.npy"}, "--bench", 2);
  ExpectRefused({model_, image_, "--json", "--explain"}, "--json", 2);
  ExpectRefused({model_, image_, "--width", "3"}, "--width 3", 2);
}

TEST_F(LbrunTest, InstructionSetsThisCpuLacksAreWrongUsage) {
  ExpectRefused({model_, image_, "--isa", "abacus"}, "scalar", 2);
#if defined(__aarch64__)
  ExpectRefused({model_, image_, "--isa", "avx2"}, "scalar", 2);
#else
  ExpectRefused({model_, image_, "--isa", "neon"}, "scalar", 2);
#endif
  EXPECT_EQ(Isas().front(), "scalar");
}

}  // namespace
}  // namespace lbrt
