// lbconvert on QONNX graphs, as a user meets it.
#include <gtest/gtest.h>

#include <filesystem>

#include "images/file.h"
#include "tests/image_files.h"
#include "tests/onnx_networks.h"
#include "tests/run_program.h"

namespace lbrt {
namespace {

// A float32 array [n ...].
std::vector<uint8_t> NpyFile(const std::string& shape, const std::vector<float>& values) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
  header.resize((header.size() + 10 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::string file = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size() & 255) +
                     static_cast<char>(header.size() >> 8) + header;
  file.append(reinterpret_cast<const char*>(values.data()), values.size() * 4);
  return std::vector<uint8_t>(file.begin(), file.end());
}

class LbconvertOnnxTest : public testing::Test {
 protected:
  ProgramResult Run(const std::string& program, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(LBRT_BIN_DIR) + "/" + program);
    return RunProgram(arguments);
  }
  ProgramResult Convert(const std::vector<uint8_t>& graph, std::vector<std::string> flags = {}) {
    WriteFile(graph_, graph);
    flags.insert(flags.begin(), {graph_, model_});
    return Run("lbconvert", flags);
  }
  static void ExpectSays(const ProgramResult& result, const std::string& part) {
    EXPECT_EQ(result.status, 0) << result.error;
    EXPECT_NE(result.out.find(part), std::string::npos) << result.out;
  }

  TemporaryFolder folder_;
  const std::string graph_ = folder_ / "graph.onnx", model_ = folder_ / "model.lbm";
  const std::string data_ = folder_ / "x.npy";
};

TEST_F(LbconvertOnnxTest, ConvertsVerifiesAndRunsArrays) {
  OnnxNetworks networks(true);
  WriteFile(data_, NpyFile("5, 3, 14, 14", networks.Normal(5 * 3 * 14 * 14)));
  const ProgramResult result = Convert(networks.Convolutions(1, 2), {"--verify", data_});
  ExpectSays(result, "conv 3x3");
  ExpectSays(result, "codes 0 to 2");
  ExpectSays(result, "left out: the model's outputs are the logits before it");
  ExpectSays(result, "verified: 5 images");
  ExpectSays(result, "ONNX semantics: top-1 agrees on 5 of 5 samples");
  ExpectSays(Run("lbconvert", {"--describe", model_}), "producer: lbrt tests");
  const ProgramResult run = Run("lbrun", {model_, data_, "--top", "1"});
  EXPECT_EQ(run.status, 0) << run.error;
}

TEST_F(LbconvertOnnxTest, ANetworkThatFlattensItsImagesTakesThemInAnyShape) {
  OnnxNetworks networks(false);
  WriteFile(data_, NpyFile("2, 1, 28, 28", networks.Normal(2 * 784)));
  ExpectSays(Convert(networks.Dense(3, 3), {"--verify", data_}),
             "top-1 agrees on 2 of 2 samples, the largest difference of a logit is 0\n");
  WriteFile(data_, NpyFile("2, 784", networks.Normal(2 * 784)));
  EXPECT_EQ(Run("lbrun", {model_, data_}).status, 0);
  WriteFile(data_, NpyFile("2, 783", networks.Normal(2 * 783)));
  EXPECT_EQ(Run("lbrun", {model_, data_}).status, 1);
}

TEST_F(LbconvertOnnxTest, ClassifiesImagesOnceItKnowsTheirPreprocessing) {
  const std::string text = "channels = 3\ncrop = 14 14\nmean = .5 .5 .5\nstd = .25 .25 .25\n";
  WriteFile(folder_ / "p.txt", std::vector<uint8_t>(text.begin(), text.end()));
  const std::string labels = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
  WriteFile(folder_ / "l.txt", std::vector<uint8_t>(labels.begin(), labels.end()));
  const std::vector<uint8_t> graph = OnnxNetworks(true).Convolutions(2, 2);
  const ProgramResult result =
      Convert(graph, {"--preprocess", folder_ / "p.txt", "--labels", folder_ / "l.txt"});
  ExpectSays(result, "ops made of");
  ExpectSays(Run("lbconvert", {"--describe", model_}), "labels: a, b, c");
  std::filesystem::remove(model_);
  WriteFile(folder_ / "l.txt", std::vector<uint8_t>{'a', '\n'});
  EXPECT_NE(Convert(graph, {"--labels", folder_ / "l.txt"}).error.find("1 labels, expected 10"),
            std::string::npos);
}

TEST_F(LbconvertOnnxTest, RefusesInOneLineAndWritesNothing) {
  OnnxWriter w;
  w.Output(w.Node("LSTM", {w.Input("x", {1, 4})}));
  for (const std::vector<uint8_t>& bytes : {w.Bytes(), std::vector<uint8_t>{1, 2, 3}}) {
    const ProgramResult result = Convert(bytes);
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.error_line().find("graph.onnx: "), std::string::npos) << result.error;
    EXPECT_FALSE(std::filesystem::exists(model_));
  }
  EXPECT_EQ(Convert(w.Bytes(), {"--network", "recu/resnet20"}).status, 2);
}

}  // namespace
}  // namespace lbrt
