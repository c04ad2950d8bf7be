// The runtime against plain values: every tensor of every op, to the bit, on every instruction set
// this CPU can run, however the work is divided. The interface's own promises.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "runtime/lbrt.hpp"
#include "runtime/model.h"
#include "runtime/plan.h"
#include "tests/model_builder.h"
#include "tests/model_reference.h"
#include "tests/random_networks.h"
#include "tests/tiny_model.h"

namespace lbrt {
namespace {

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

// Writes plain values into a graph input's tensor.
void Fill(const lbrt_tensor& tensor, const PlainTensor& plain) {
  for (size_t i = 0; i < plain.values.size(); ++i) {
    if (tensor.type == LBRT_U8) {
      static_cast<uint8_t*>(tensor.data)[i] = static_cast<uint8_t>(plain.values[i]);
    } else {
      static_cast<float*>(tensor.data)[i] = plain.values[i];
    }
  }
}

// Compares, after each op, the tensors it made with the plain ones.
struct Comparison {
  const Model* model;
  const PlainModel* plain;
  std::string where;
  size_t compared = 0;

  static void Observe(void* context, const lbrt_session* session, size_t op) {
    auto& self = *static_cast<Comparison*>(context);
    for (uint32_t index : self.model->op_tensors(op)) {
      const std::vector<float>& want = self.plain->tensor(index).values;
      std::vector<float> got(want.size());
      ASSERT_EQ(LBRT_OK, lbrt_tensor_read(session, index, got.data(), got.size()));
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_EQ(Bits(want[i]), Bits(got[i]))
            << self.where << " op " << op << " (" << self.model->op(op).kernel << ") tensor "
            << index << " element " << i << ": " << want[i] << " and " << got[i];
      ++self.compared;
    }
  }
};

// Memory with nothing useful in it: what a run depends on, it must have written.
AlignedBytes Garbage(size_t size) {
  AlignedBytes bytes(size);
  std::memset(bytes.data(), 0xA5, size);
  return bytes;
}

// A session in garbage; its bytes, since it lives there.
AlignedBytes MakeSession(const Model& model, lbrt_session_options options, lbrt_session** session) {
  options.struct_size = sizeof(options);
  size_t bytes = 0;
  EXPECT_EQ(LBRT_OK, lbrt_session_bytes(model.get(), &options, &bytes));
  AlignedBytes memory = Garbage(bytes);
  EXPECT_EQ(LBRT_OK, lbrt_session_create(model.get(), &options, memory.data(), bytes, session));
  return memory;
}

void ExpectPlainResults(const ModelFile& file, const std::vector<PlainTensor>& inputs,
                        const std::string& what) {
  const PlainModel plain(file, inputs);
  const std::vector<uint8_t> bytes = file.Bytes();
  for (const std::string& isa : IsaNames()) {
    ModelOptions options;
    options.isa = isa.c_str();
    options.batch = static_cast<int>(inputs[0].n);
    const Model model(bytes, options);
    Comparison comparison = {&model, &plain, what + " on " + isa};
    lbrt_session_options session_options = {};
    session_options.observer = Comparison::Observe;
    session_options.observer_context = &comparison;
    lbrt_session* session = nullptr;
    AlignedBytes memory = MakeSession(model, session_options, &session);
    for (size_t i = 0; i < inputs.size(); ++i) {
      lbrt_tensor tensor = {};
      tensor.struct_size = sizeof(tensor);
      ASSERT_EQ(LBRT_OK, lbrt_input(session, i, &tensor));
      Fill(tensor, inputs[i]);
    }
    ASSERT_EQ(LBRT_OK, lbrt_run(session));
    ASSERT_GT(comparison.compared, 0u);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Runtime, EveryTensorOfRandomNetworksIsRightToTheBitOnEveryInstructionSet) {
  std::map<std::string, int> ops_of_kernel, ops_of_precision;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const RandomNetwork network(seed);
    ExpectPlainResults(network.file(), network.inputs(), "network " + std::to_string(seed));
    if (HasFatalFailure()) return;
    const Model model(network.file().Bytes());
    for (size_t i = 0; i < model.info().ops; ++i) {
      ++ops_of_kernel[model.op(i).kernel];
      ++ops_of_precision[model.op(i).precision];
    }
  }
  for (const char* kernel : {"xor_popcount_tile", "xor_popcount_lanes", "sign_sum_tile", "fma_tile",
                             "fixed_point_tile", "fixed_point_lanes", "average_pool_lanes",
                             "average_pool_rows", "epilogue_rows", "epilogue_lanes", "dot_tile",
                             "max_pool_f32", "max_pool_codes", "or", "copy", "append_bits",
                             "depthwise_codes", "depthwise_f32", "threshold_f32", "search", "repeat",
                             "scatter"})
    EXPECT_GE(ops_of_kernel[kernel], 5) << kernel;
  for (const char* precision : {"1x1", "ternx1", "1x2", "ternx4", "ternxf32", "1xf32", "f32xf32"})
    EXPECT_GT(ops_of_precision[precision], 0) << precision;
}

enum class Groups { kNone, kSome, kDepthwise, kDepthwiseTwice };

// One convolution of each kind of weights with each type of input it goes with, padded, on channels
// that are no whole words; with and without a ring around the codes (a pool of them wants none).
void ExpectEveryKindOfWeights(Groups form) {
  using Kind = lbm::WeightKind;
  const std::pair<Kind, int> kinds[] = {
      {Kind::Sign, 1}, {Kind::Ternary, 2}, {Kind::Odd, 2},   {Kind::Odd, 3},    {Kind::Odd, 4},
      {Kind::Odd, 5},  {Kind::Odd, 6},     {Kind::Odd, 7},   {Kind::Odd, 8},    {Kind::Fixed, 8},
      {Kind::Fixed, 16}, {Kind::Fixed, 24}, {Kind::Float, 32}, {Kind::Weighted, 3},
      {Kind::Weighted, 9}, {Kind::Weighted, 10}, {Kind::Integers, 2}, {Kind::Integers, 3},
      {Kind::Integers, 7}, {Kind::Integers, 8}};
  const char* const weights_text[] = {"1",  "tern", "2",   "3",   "4",   "5", "6", "7",
                                      "8",  "i8",   "i16", "i24", "f32", "3", "6", "8",
                                      "i2", "i3",   "i7",  "i8"};
  const std::pair<int, const char*> inputs[] = {  // levels; 0: bits, -1: f32
      {-1, "f32"}, {0, "1"}, {1, "1"}, {2, "2"}, {3, "2"}, {15, "4"}, {100, "7"}, {255, "8"}};
  uint64_t seed = 0;
  for (size_t k = 0; k < std::size(kinds); ++k)
    for (const auto& [levels, input_text] : inputs) {
      if (kinds[k].first == Kind::Float && levels != -1) continue;
      Random random(++seed);
      ModelFile file;
      int channels = random.Between(1, 40), outputs = random.Between(1, 40), groups = 1;
      if (form == Groups::kSome) {
        groups = random.Between(2, 5);
        channels = groups * random.Between(2, 9);
        outputs = groups * random.Between(1, 20);
      } else if (form != Groups::kNone) {
        channels = groups = random.Between(2, 40);
        outputs = channels * (form == Groups::kDepthwise ? 1 : 2);
      }
      const PlainTensor image = {2, 6, 5, static_cast<size_t>(channels),
                                 RandomFloats(2 * 6 * 5 * static_cast<size_t>(channels), 2.0f,
                                              &random)};
      int x = file.AddInput(lbm::TensorType::F32, {1, 6, 5, channels});
      if (levels >= 0) {
        lbm::EltwiseT& eltwise = file.AddEltwise(x);
        lbm::StageT& stage = file.AddStage(eltwise);
        x = levels == 0 ? file.StoreSign(stage)
                        : file.StoreCodes(stage, static_cast<float>(levels), levels);
        if (random.Chance(50)) file.AddMaxPool(x, SquareWindow(2, 1, 0));
      }
      const Window w = {3, 2, random.Between(1, 2), 1, 2, 1, 1, 0};
      const size_t count = static_cast<size_t>(outputs * 6 * (channels / groups));
      const std::vector<uint32_t> planes =
          AddRandomWeights(&file, kinds[k].first, kinds[k].second, static_cast<size_t>(outputs),
                           count, &random);
      lbm::ConvT& conv =
          file.AddConv(x, w, kinds[k].first, static_cast<uint32_t>(outputs), planes);
      conv.groups = static_cast<uint32_t>(groups);
      if (levels > 0 && random.Chance(30)) conv.zero = static_cast<uint8_t>(levels / 2 + 1);
      if (kinds[k].first == Kind::Weighted) SetRandomWeights(conv, weights_text[k][0] - '0', &random);
      file.AddOutput(file.StoreF32(file.AddStage(conv)));
      for (const bool signs : {true, false}) {
        lbm::StageT& stage = file.AddStage(conv);
        stage.restart = true;
        file.SetAffine(stage, RandomFloats(static_cast<size_t>(outputs), 0.1f, &random), {0.25f});
        signs ? file.StoreSign(stage) : file.StoreCodes(stage, 1.0f, 3);
      }
      const std::string precision = std::string(weights_text[k]) + "x" + input_text;
      ExpectPlainResults(file, {image}, precision);
      if (testing::Test::HasFatalFailure()) return;
      const Model model(file.Bytes());
      EXPECT_EQ(precision, model.op(model.info().ops - 1).precision);
    }
}

TEST(Runtime, EveryKindOfWeightsMeetsEveryTypeOfInput) { ExpectEveryKindOfWeights(Groups::kNone); }
TEST(Runtime, SoItDoesInGroups) { ExpectEveryKindOfWeights(Groups::kSome); }
TEST(Runtime, SoItDoesInGroupsOfOneChannel) {
  ExpectEveryKindOfWeights(Groups::kDepthwise);
  ExpectEveryKindOfWeights(Groups::kDepthwiseTwice);
}

// Images in groups, with a bias for each border class.
TEST(Runtime, ImagesMayBeReadInGroups) {
  for (const int groups : {1, 2, 4})
    for (const int limbs : {1, 2, 3}) {
      Random random(static_cast<uint64_t>(groups * 10 + limbs));
      ModelFile file;
      const int image = file.AddInput(lbm::TensorType::U8, {1, 5, 6, 4});
      const Window w = SquareWindow(3, 1, 1);
      lbm::ConvT& conv = file.AddConv(
          image, w, lbm::WeightKind::Fixed, 8,
          AddRandomWeights(&file, lbm::WeightKind::Fixed, 8 * limbs, 8,
                           static_cast<size_t>(8 * 9 * (4 / groups)), &random));
      conv.groups = static_cast<uint32_t>(groups);
      lbm::StageT& stage = file.AddStage(conv);
      const auto classes =
          static_cast<size_t>(BorderRows(w, 5).classes() * BorderColumns(w, 6).classes());
      file.SetAffine(stage, {1e-6f}, RandomFloats(8 * classes, 1.0f, &random));
      file.AddOutput(file.StoreF32(stage));
      PlainTensor x = {2, 5, 6, 4, {}};
      while (x.values.size() < 2 * x.image())
        x.values.push_back(static_cast<float>(random.Between(0, 255)));
      ExpectPlainResults(file, {x}, "groups");
      if (HasFatalFailure()) return;
    }
}

// The largest sums that the format allows, in both directions.
TEST(Runtime, SumsReachTheEdgeOf32Bits) {
  constexpr size_t kInputs = 33025;
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::F32, {1, 1, 1, kInputs});
  lbm::EltwiseT& eltwise = file.AddEltwise(image);
  const int codes = file.StoreCodes(file.AddStage(eltwise), 1.0f, 255);
  std::vector<int32_t> weights(2 * kInputs, 255);
  std::fill(weights.begin() + kInputs, weights.end(), -255);
  lbm::ConvT& conv =
      file.AddConv(codes, Window{}, lbm::WeightKind::Odd, 2, file.AddOdd(weights, 2, 8));
  file.AddOutput(file.StoreF32(file.AddStage(conv)));
  ExpectPlainResults(file, {{1, 1, 1, kInputs, std::vector<float>(kInputs, 300.0f)}}, "edge");
}

// Runs a model's ops as a session does, but each in `pieces` pieces, the last first.
std::vector<std::vector<float>> RunInPieces(const Model& handle, const RandomNetwork& network,
                                            size_t pieces) {
  const lbrt_model& model = *handle.get();
  AlignedBytes arena = Garbage(static_cast<size_t>(model.arena_bytes));
  for (size_t i = 0; i < network.inputs().size(); ++i) {
    const uint32_t index = network.file().table.inputs[i]->tensor;
    lbrt_tensor tensor = handle.input(i);
    tensor.data = arena.data() + PlaceOf(model.tensors[index]).offset;
    Fill(tensor, network.inputs()[i]);
  }
  for (size_t i = 0; i < model.op_count; ++i) {
    const PreparedOp& op = model.ops[i];
    const size_t tasks = pieces < op.units ? pieces : op.units;
    for (size_t task = tasks; task-- > 0;) {
      AlignedBytes scratch = Garbage(static_cast<size_t>(op.scratch_bytes));
      op.run(op.state, {arena.data(), scratch.data()}, task * op.units / tasks,
             (task + 1) * op.units / tasks);
    }
  }
  std::vector<std::vector<float>> outputs;
  for (const auto& port : network.file().table.outputs) {
    const ArenaTensor& t = model.tensors[port->tensor];
    outputs.emplace_back(static_cast<size_t>(t.shape.elements()));
    std::memcpy(outputs.back().data(), arena.data() + PlaceOf(t).offset,
                outputs.back().size() * sizeof(float));
  }
  return outputs;
}

TEST(Runtime, ResultsDoNotDependOnHowTheWorkIsDivided) {
  for (uint64_t seed = 1000; seed < 1060; ++seed) {
    const RandomNetwork network(seed);
    const PlainModel plain(network.file(), network.inputs());
    for (const std::string& isa : IsaNames()) {
      ModelOptions options;
      options.isa = isa.c_str();
      options.batch = static_cast<int>(network.inputs()[0].n);
      const Model model(network.file().Bytes(), options);
      for (size_t pieces : {1, 2, 3, 7}) {
        const auto outputs = RunInPieces(model, network, pieces);
        for (size_t i = 0; i < outputs.size(); ++i) {
          const auto& want = plain.tensor(network.file().table.outputs[i]->tensor).values;
          ASSERT_EQ(0, std::memcmp(want.data(), outputs[i].data(), want.size() * sizeof(float)))
              << "network " << seed << " on " << isa << " in " << pieces << " pieces";
        }
      }
    }
  }
}

// A network whose convolutions are large enough for several tasks.
ModelFile LargeNetwork() {
  ModelFile file;
  Random random(7);
  const int image = file.AddInput(lbm::TensorType::U8, {1, 64, 64, 3}, "image", "mean 0.5");
  lbm::ConvT& stem =
      file.AddConv(image, SquareWindow(3, 1, 1), lbm::WeightKind::Fixed, 64,
                   file.AddFixed(RandomCodes(64 * 27, -8355711, 8355711, &random), 3));
  lbm::StageT* stage = &file.AddStage(stem);
  file.SetAffine(*stage, RandomFloats(64, 1e-8f, &random), RandomFloats(9 * 64, 1.0f, &random));
  int stream = file.StoreF32(*stage);
  int signs = file.StoreSign(*stage);
  for (int i = 0; i < 2; ++i) {
    lbm::ConvT& conv = file.AddConv(signs, SquareWindow(3, 1, 1), lbm::WeightKind::Sign, 64,
                                    file.AddSigns(RandomSigns(64 * 9 * 64, &random), 64));
    stage = &file.AddStage(conv);
    file.SetAffine(*stage, RandomFloats(64, 0.01f, &random), RandomFloats(64, 1.0f, &random));
    stage->add = stream;
    stage->activation = lbm::Activation::Hardtanh;
    stream = file.StoreF32(*stage);
    signs = file.StoreSign(*stage);
  }
  lbm::ConvT& sums = file.AddConv(stream, SquareWindow(3, 2, 1), lbm::WeightKind::Sign, 32,
                                  file.AddSigns(RandomSigns(32 * 9 * 64, &random), 32));
  const int sum = file.StoreF32(file.AddStage(sums));
  const int pooled = file.AddAvgPool(sum, SquareWindow(32, 1, 0));
  lbm::ConvT& head = file.AddConv(pooled, Window{}, lbm::WeightKind::Float, 10,
                                  file.AddFloatWeights(RandomFloats(10 * 32, 1.0f, &random)));
  file.AddOutput(file.StoreF32(file.AddStage(head)), "logits");
  for (size_t i = 0; i < 10; ++i) file.table.labels.push_back(ModelFile::Numbered("class ", i));
  return file;
}

std::vector<float> RunOnImage(const Model& model, const SessionOptions& options, uint64_t seed) {
  Session session(model, options);
  Random random(seed);
  const Tensor image = session.input("image");
  for (size_t i = 0; i < image.size(); ++i) image.u8()[i] = static_cast<uint8_t>(random.Bits());
  session.Run();
  const Tensor logits = session.output("logits");
  return {logits.f32(), logits.f32() + logits.size()};
}

TEST(Runtime, ThreadsOfThePoolGiveTheSameBytes) {
  const std::vector<uint8_t> file = LargeNetwork().Bytes();
  std::vector<float> first;
  for (const std::string& isa : IsaNames()) {
    ModelOptions options;
    options.isa = isa.c_str();
    const Model model(file, options);
    size_t most_tasks = 0;
    for (size_t i = 0; i < model.get()->op_count; ++i)
      most_tasks = std::max(most_tasks, model.get()->ops[i].most_tasks);
    EXPECT_GT(most_tasks, 1u) << "nothing here is divided";
    for (int threads : {1, 2, 3}) {
      SessionOptions session_options;
      session_options.threads = threads;
      const std::vector<float> logits = RunOnImage(model, session_options, 11);
      if (first.empty()) first = logits;
      ASSERT_EQ(0, std::memcmp(first.data(), logits.data(), logits.size() * sizeof(float)))
          << isa << " with " << threads << " threads";
    }
  }
}

TEST(Runtime, EightSessionsOnEightThreadsShareOneUnchangedModel) {
  const std::vector<uint8_t> file = LargeNetwork().Bytes();
  AlignedBytes file_memory(file);
  size_t bytes = 0;
  ASSERT_EQ(LBRT_OK, lbrt_model_bytes(file_memory.data(), file.size(), nullptr, &bytes));
  AlignedBytes memory = Garbage(bytes);
  const lbrt_model* model = nullptr;
  ASSERT_EQ(LBRT_OK, lbrt_model_open(file_memory.data(), file.size(), nullptr, memory.data(), bytes,
                                     &model));
  const std::vector<uint8_t> before(memory.data(), memory.data() + bytes);

  std::vector<std::vector<float>> results(8);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < results.size(); ++i)
    threads.emplace_back([&, i] {
      size_t session_bytes = 0;
      lbrt_session_bytes(model, nullptr, &session_bytes);
      AlignedBytes session_memory = Garbage(session_bytes);
      lbrt_session* session = nullptr;
      lbrt_session_create(model, nullptr, session_memory.data(), session_bytes, &session);
      lbrt_tensor image = {}, logits = {};
      image.struct_size = logits.struct_size = sizeof(lbrt_tensor);
      lbrt_input(session, 0, &image);
      lbrt_output(session, 0, &logits);
      Random random(i);
      for (size_t k = 0; k < 64 * 64 * 3; ++k)
        static_cast<uint8_t*>(image.data)[k] = static_cast<uint8_t>(random.Bits());
      lbrt_run(session);
      const auto* values = static_cast<const float*>(logits.data);
      results[i].assign(values, values + 10);
    });
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(0, std::memcmp(before.data(), memory.data(), bytes)) << "a run wrote to the model";
  const Model alone(file);
  for (size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(RunOnImage(alone, {}, i), results[i]) << "session " << i;
}

TEST(Runtime, InputsStayAsTheyAreAndASecondRunGivesTheSame) {
  const Model model(LargeNetwork().Bytes());
  Session session(model);
  const Tensor image = session.input(), logits = session.output();
  Random random(3);
  std::vector<uint8_t> pixels(image.size());
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random.Bits());
  std::memcpy(image.data, pixels.data(), pixels.size());
  session.Run();
  const std::vector<float> first(logits.f32(), logits.f32() + logits.size());
  EXPECT_EQ(0, std::memcmp(image.data, pixels.data(), pixels.size()));
  session.Run();
  EXPECT_EQ(first, std::vector<float>(logits.f32(), logits.f32() + logits.size()));
}

TEST(Runtime, TheScalarColumnRepacksNothing) {
  const std::vector<uint8_t> file = LargeNetwork().Bytes();
  ModelOptions options;
  options.isa = "scalar";
  EXPECT_EQ(0u, Model(file, options).info().repacked_bytes);
}

TEST(Runtime, ResidualStreamsAreUpdatedInPlaceAndTheArenaIsAsSmallAsCanBe) {
  const Model model(LargeNetwork().Bytes());
  const lbrt_model& m = *model.get();
  EXPECT_EQ(m.tensors[1].offset, m.tensors[3].offset);
  EXPECT_EQ(m.arena_lower_bound, m.arena_bytes);
}

TEST(Runtime, AModelSaysWhatItHoldsAndWhatWillRun) {
  ModelFile file = LargeNetwork();
  file.table.provenance.push_back(std::make_unique<lbm::NoteT>());
  file.table.provenance[0]->key = "network";
  file.table.provenance[0]->value = "test";
  file.table.accuracy.push_back(std::make_unique<lbm::MeasurementT>());
  file.table.accuracy[0]->what = "top-1";
  file.table.accuracy[0]->percent = 87.5f;
  const Model model(file.Bytes());
  const lbrt_info info = model.info();
  EXPECT_EQ(6u, info.ops);
  EXPECT_EQ(1u, info.inputs);
  EXPECT_EQ(1u, info.outputs);
  ASSERT_EQ(1u, info.width_count);
  EXPECT_EQ(1, info.widths[0]);
  size_t weight_bytes = 0;
  for (const auto& segment : file.segments) weight_bytes += segment.size();
  EXPECT_EQ(weight_bytes, info.weight_bytes);
  EXPECT_EQ(10u, model.labels().size());
  EXPECT_EQ("class 3", model.labels()[3]);
  EXPECT_EQ("network", model.notes().at(0).first);
  EXPECT_EQ("test", model.notes().at(0).second);
  EXPECT_EQ("top-1", model.measurements().at(0).first);
  EXPECT_EQ(87.5f, model.measurements().at(0).second);

  const Tensor image = model.input();
  EXPECT_STREQ("image", image.name);
  EXPECT_STREQ("mean 0.5", image.preprocessing);
  EXPECT_EQ(LBRT_U8, image.type);
  EXPECT_EQ(64 * 64 * 3, image.strides[0]);
  EXPECT_EQ(3, image.strides[2]);
  EXPECT_EQ(nullptr, image.data);

  const lbrt_op stem = model.op(0);
  EXPECT_STREQ("op0", stem.name);
  EXPECT_STREQ("conv", stem.kind);
  EXPECT_STREQ("i24xu8", stem.precision);
  // Valid taps: 64 * 64 * 9 less the borders'.
  EXPECT_EQ((64 * 3 - 2) * (64 * 3 - 2) * 3 * 64, stem.macs);
  EXPECT_EQ(64u * 27 * 3, stem.weight_bytes);
  EXPECT_STREQ("1x1", model.op(1).precision);
  EXPECT_STREQ("1xf32", model.op(3).precision);
  EXPECT_STREQ("f32xf32", model.op(5).precision);
  EXPECT_EQ(32, model.op(3).shape[1]);
  EXPECT_EQ(2u, model.op(1).tensor_count);
}

// In any order of widths, on every instruction set: what a model of that width alone gives, from the
// same input and in the same places.
TEST(Runtime, SessionsSwitchBetweenWidths) {
  const ModelFile file = TinyWidthsModel();
  const PlainTensor image = {1, 4, 4, 1, {0, 9, 18, 255, 40, 100, 3, 77, 1, 2, 200, 90, 60, 7, 5, 4}};
  std::vector<std::vector<float>> want;
  for (size_t i = 0; i < 3; ++i) {
    const ModelFile alone = file.OneWidth(i);
    want.push_back(PlainModel(alone, {image}).tensor(5).values);
    ExpectPlainResults(alone, {image}, "alone");
  }
  EXPECT_NE(want[0], want[1]);
  EXPECT_NE(want[1], want[2]);
  for (const std::string& isa : IsaNames()) {
    ModelOptions options;
    options.isa = isa.c_str();
    const Model model(file.Bytes(), options);
    EXPECT_EQ(8, model.info().bits);
    Session session(model);
    Fill(session.input(), image);
    const uint8_t* const input = session.input().u8();
    const float* const output = session.output().f32();
    const auto logits = [&] {
      session.Run();
      return std::vector<float>(output, output + 3);
    };
    EXPECT_EQ(want[2], logits());
    for (const size_t i : {0, 2, 1, 1, 0, 1, 2}) {
      session.SetWidth(file.table.widths[i]);
      EXPECT_EQ(want[i], logits()) << isa << ", width " << int{file.table.widths[i]};
      EXPECT_EQ(input, session.input().u8());
      EXPECT_EQ(output, session.output().f32());
    }
    EXPECT_THROW(session.SetWidth(2), Error);
    EXPECT_EQ(want[2], logits()) << "a width that is refused changes nothing";
  }
}

TEST(Runtime, EachWidthSaysWhatItIs) {
  const ModelFile file = TinyWidthsModel();
  const Model model(file.Bytes());
  const char* const precisions[] = {"1x1", "4x4", "8x8"};
  size_t repacked = 0, file_bytes = 0;
  for (size_t i = 0; i < 3; ++i) {
    const Model at = model.At(file.table.widths[i]);
    EXPECT_EQ(file.table.widths[i], at.info().bits);
    EXPECT_STREQ(precisions[i], at.op(1).precision);
    EXPECT_EQ(3u, at.info().width_count);
    EXPECT_EQ(3u, at.info().file_width_count);
    EXPECT_EQ(model.info().arena_bytes, at.info().arena_bytes);
    EXPECT_EQ(model.info().repacked_bytes, at.info().repacked_bytes);
    EXPECT_GT(at.info().width_file_bytes, file_bytes);
    file_bytes = at.info().width_file_bytes;
    repacked += at.info().width_repacked_bytes;
    // A model of that width alone takes as much memory for it, and no more activations.
    ModelOptions options;
    options.bits = file.table.widths[i];
    const Model alone(file.Bytes(), options);
    EXPECT_EQ(1u, alone.info().width_count);
    EXPECT_EQ(alone.info().repacked_bytes, at.info().width_repacked_bytes);
    EXPECT_LE(alone.info().arena_bytes, model.info().arena_bytes);
    EXPECT_LE(Model(file.OneWidth(i).Bytes()).info().arena_bytes, alone.info().arena_bytes);
  }
  EXPECT_EQ(file.Bytes().size(), file_bytes);
  EXPECT_LT(model.info().repacked_bytes, repacked) << "stem and head are shared";
  EXPECT_THROW(model.At(3), Error);
}

TEST(Runtime, BatchHeightAndWidthCanBeChangedWhenOpening) {
  ModelFile file;
  Random random(9);
  const int input = file.AddInput(lbm::TensorType::F32, {1, 8, 8, 3});
  lbm::ConvT& conv = file.AddConv(input, SquareWindow(3, 1, 1), lbm::WeightKind::Float, 4,
                                  file.AddFloatWeights(RandomFloats(4 * 27, 1.0f, &random)));
  file.AddOutput(file.StoreF32(file.AddStage(conv)));
  ModelOptions options;
  options.batch = 2;
  options.height = 5;
  options.width = 11;
  const Model model(file.Bytes(), options);
  Session session(model);
  PlainTensor plain_input = {2, 5, 11, 3, RandomFloats(2 * 5 * 11 * 3, 1.0f, &random)};
  Fill(session.input(), plain_input);
  session.Run();
  const PlainModel plain(file, {plain_input});
  const Tensor output = session.output();
  EXPECT_EQ(2, output.shape[0]);
  EXPECT_EQ(5, output.shape[1]);
  EXPECT_EQ(11, output.shape[2]);
  EXPECT_EQ(plain.tensor(1).values, std::vector<float>(output.f32(), output.f32() + output.size()));
}

// The control register of the floating-point unit, without what merely happened in between.
#if defined(__SSE__) || defined(__aarch64__)
#if defined(__SSE__)
constexpr uint64_t kFlushAndRoundUp = 0x1F80 | 0x8000 | 0x0040 | 0x4000;
uint64_t FloatControl() { return _mm_getcsr() & ~0x3Fu; }
void SetFloatControl(uint64_t value) { _mm_setcsr(static_cast<uint32_t>(value)); }
#else
constexpr uint64_t kFlushAndRoundUp = 1u << 24 | 1u << 22;
uint64_t FloatControl() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void SetFloatControl(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value) : "memory"); }
#endif

TEST(Runtime, TheCallersFloatingPointEnvironmentNeitherMattersNorChanges) {
  const Model model(LargeNetwork().Bytes());
  const std::vector<float> want = RunOnImage(model, {}, 2);
  const uint64_t saved = FloatControl();
  SetFloatControl(kFlushAndRoundUp);
  const std::vector<float> got = RunOnImage(model, {}, 2);
  const uint64_t after = FloatControl();
  SetFloatControl(saved);
  EXPECT_EQ(kFlushAndRoundUp, after);
  EXPECT_EQ(want, got);
}

TEST(Runtime, NorDoesThatOfAnyThreadItUses) {
  const ModelFile file = LargeNetwork();
  const Model model(file.Bytes());
  const std::vector<float> want = RunOnImage(model, {}, 2);
  struct Threads {
    size_t calls = 0;
    bool changed = false;
  } threads;
  lbrt_session_options options = {};
  options.threads = 4;
  options.parallel_context = &threads;
  options.parallel_for = [](void* context, size_t tasks, lbrt_task task, void* argument) {
    std::thread([&] {
      auto& self = *static_cast<Threads*>(context);
      SetFloatControl(kFlushAndRoundUp);
      for (size_t i = 0; i < tasks; ++i) task(argument, i);
      ++self.calls;
      self.changed = self.changed || FloatControl() != kFlushAndRoundUp;
    }).join();
  };
  lbrt_session* session = nullptr;
  AlignedBytes memory = MakeSession(model, options, &session);
  lbrt_tensor image = {}, logits = {};
  image.struct_size = logits.struct_size = sizeof(lbrt_tensor);
  ASSERT_EQ(LBRT_OK, lbrt_input(session, 0, &image));
  ASSERT_EQ(LBRT_OK, lbrt_output(session, 0, &logits));
  Random random(2);
  for (ptrdiff_t i = 0; i < image.strides[0]; ++i)
    static_cast<uint8_t*>(image.data)[i] = static_cast<uint8_t>(random.Bits());
  ASSERT_EQ(LBRT_OK, lbrt_run(session));
  const auto* got = static_cast<const float*>(logits.data);
  EXPECT_GT(threads.calls, 1u);
  EXPECT_FALSE(threads.changed);
  EXPECT_EQ(want, std::vector<float>(got, got + 10));
}

TEST(Runtime, SubnormalResultsAreKeptWhateverTheCallerFlushes) {
  ModelFile file;
  const int input = file.AddInput(lbm::TensorType::F32, {1, 1, 1, 1});
  lbm::EltwiseT& eltwise = file.AddEltwise(input);
  lbm::StageT& stage = file.AddStage(eltwise);
  file.SetAffine(stage, {0x1p-126f}, {});
  file.AddOutput(file.StoreF32(stage));
  const Model model(file.Bytes());
  Session session(model);
  session.input().f32()[0] = 0.5f;
  const uint64_t saved = FloatControl();
  SetFloatControl(kFlushAndRoundUp);
  session.Run();
  SetFloatControl(saved);
  EXPECT_EQ(Bits(0x1p-127f), Bits(session.output().f32()[0]));
}
#endif

TEST(Runtime, MemoryOneByteTooSmallOrMisalignedIsRefused) {
  const std::vector<uint8_t> file = LargeNetwork().Bytes();
  AlignedBytes file_memory(file);
  size_t bytes = 0, session_bytes = 0;
  lbrt_error error = {};
  error.struct_size = sizeof(error);
  lbrt_model_options options = {};
  options.struct_size = sizeof(options);
  options.error = &error;
  ASSERT_EQ(LBRT_OK, lbrt_model_bytes(file_memory.data(), file.size(), &options, &bytes));
  AlignedBytes memory(bytes + 16);
  const lbrt_model* model = nullptr;
  EXPECT_EQ(LBRT_TOO_LITTLE_MEMORY, lbrt_model_open(file_memory.data(), file.size(), &options,
                                                    memory.data(), bytes - 1, &model));
  EXPECT_EQ(static_cast<int64_t>(bytes), error.expected);
  EXPECT_EQ(static_cast<int64_t>(bytes) - 1, error.actual);
  EXPECT_EQ(LBRT_MISALIGNED, lbrt_model_open(file_memory.data(), file.size(), &options,
                                             memory.data() + 8, bytes, &model));
  EXPECT_EQ(LBRT_MISALIGNED,
            lbrt_model_open(file_memory.data(), file.size(), &options, nullptr, bytes, &model));
  AlignedBytes moved(file.size() + 16);
  std::memcpy(moved.data() + 8, file.data(), file.size());
  EXPECT_EQ(LBRT_MISALIGNED, lbrt_model_bytes(moved.data() + 8, file.size(), &options, &bytes));

  // At every address it may have; the last byte it asked for is enough.
  for (size_t at : {0, 16}) {
    ASSERT_EQ(LBRT_OK, lbrt_model_open(file_memory.data(), file.size(), &options,
                                       memory.data() + at, bytes, &model));
  }
  lbrt_session_options session_options = {};
  session_options.struct_size = sizeof(session_options);
  session_options.error = &error;
  ASSERT_EQ(LBRT_OK, lbrt_session_bytes(model, &session_options, &session_bytes));
  AlignedBytes session_memory(session_bytes + 16);
  lbrt_session* session = nullptr;
  EXPECT_EQ(LBRT_TOO_LITTLE_MEMORY,
            lbrt_session_create(model, &session_options, session_memory.data(), session_bytes - 1,
                                &session));
  EXPECT_EQ(static_cast<int64_t>(session_bytes), error.expected);
  EXPECT_EQ(LBRT_MISALIGNED, lbrt_session_create(model, &session_options, session_memory.data() + 4,
                                                 session_bytes, &session));
  for (size_t at : {0, 16}) {
    ASSERT_EQ(LBRT_OK, lbrt_session_create(model, &session_options, session_memory.data() + at,
                                           session_bytes, &session));
    EXPECT_EQ(LBRT_OK, lbrt_run(session));
  }
}

TEST(Runtime, WrongArgumentsAreRefused) {
  const Model model(LargeNetwork().Bytes());
  Session session(model);
  lbrt_tensor tensor = {};
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_input(session.get(), 0, &tensor)) << "struct_size of 0";
  tensor.struct_size = sizeof(tensor);
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_input(session.get(), 1, &tensor));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_input(nullptr, 0, &tensor));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_input(session.get(), 0, nullptr));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_output_by_name(session.get(), "no such", &tensor));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_model_tensor(model.get(), 1000, &tensor));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_run(nullptr));
  float values[10];
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_tensor_read(session.get(), 0, values, 10));
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_tensor_read(session.get(), 1000, values, 10));
  EXPECT_EQ(nullptr, lbrt_label(model.get(), 10));
  uint32_t index = 0;
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_op_tensor(model.get(), 1, 2, &index));

  lbrt_session_options options = {};
  options.struct_size = sizeof(options);
  size_t bytes = 0;
  options.threads = -1;
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_session_bytes(model.get(), &options, &bytes));
  options.threads = 2;  // and no parallel_for
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_session_bytes(model.get(), &options, &bytes));
  EXPECT_EQ(LBRT_OK, lbrt_set_width(session.get(), 1));
  EXPECT_EQ(LBRT_BAD_WIDTH, lbrt_set_width(session.get(), 2));
  EXPECT_THROW(
      {
        ModelOptions model_options;
        model_options.isa = "mmx";
        Model(LargeNetwork().Bytes(), model_options);
      },
      Error);
}

TEST(Runtime, TheEnvironmentVariableNamesTheInstructionSetWhereTheProgramDoesNot) {
  const std::vector<uint8_t> file = LargeNetwork().Bytes();
  const std::string best = IsaNames().back();
  setenv("LBRT_ISA", "scalar", 1);
  EXPECT_STREQ("scalar", Model(file).info().isa);
  ModelOptions options;
  options.isa = best.c_str();
  EXPECT_EQ(best, Model(file, options).info().isa);
  setenv("LBRT_ISA", "mmx", 1);
  EXPECT_THROW(Model{file}, Error);
  unsetenv("LBRT_ISA");
  EXPECT_EQ(best, Model(file).info().isa);
}

TEST(Runtime, ProgramsOfOlderAndNewerHeadersAreServed) {
  const Model model(LargeNetwork().Bytes());
  // Older: knows only the first fields of lbrt_info.
  struct {
    size_t struct_size;
    uint32_t inputs, outputs, ops, tensors;
    uint8_t guard[8];
  } old_info = {offsetof(lbrt_info, labels), 0, 0, 0, 0, {7, 7, 7, 7, 7, 7, 7, 7}};
  ASSERT_EQ(LBRT_OK, lbrt_model_info(model.get(), reinterpret_cast<lbrt_info*>(&old_info)));
  EXPECT_EQ(6u, old_info.ops);
  EXPECT_EQ(offsetof(lbrt_info, labels), old_info.struct_size);
  for (uint8_t byte : old_info.guard) EXPECT_EQ(7, byte);
  // Newer: has fields behind ours; accepted as long as they ask for nothing.
  struct {
    lbrt_session_options options;
    uint64_t newer;
  } new_options = {};
  new_options.options.struct_size = sizeof(new_options);
  size_t bytes = 0;
  EXPECT_EQ(LBRT_OK, lbrt_session_bytes(model.get(), &new_options.options, &bytes));
  new_options.newer = 1;
  EXPECT_EQ(LBRT_BAD_ARGUMENT, lbrt_session_bytes(model.get(), &new_options.options, &bytes));
}

TEST(Plan, BuffersThatLiveTogetherNeverOverlap) {
  Random random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<Buffer> buffers(static_cast<size_t>(random.Between(1, 40)));
    for (Buffer& buffer : buffers) {
      buffer.first = random.Between(0, 30);
      buffer.last = buffer.first + random.Between(0, 10);
      buffer.bytes = static_cast<uint64_t>(random.Between(0, 50)) * 64;
    }
    std::vector<uint32_t> order(buffers.size());
    const uint64_t end = PlanBuffers(buffers.data(), buffers.size(), order.data());
    EXPECT_LE(LowerBound(buffers.data(), buffers.size(), 41), end);
    for (size_t i = 0; i < buffers.size(); ++i) {
      EXPECT_LE(buffers[i].offset + buffers[i].bytes, end);
      for (size_t k = 0; k < i; ++k) {
        const Buffer &a = buffers[i], &b = buffers[k];
        const bool in_time = a.first <= b.last && b.first <= a.last;
        const bool in_space = a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
        EXPECT_FALSE(in_time && in_space) << i << " and " << k;
      }
    }
  }
}

TEST(Plan, AChainReusesMemory) {
  std::vector<Buffer> buffers;
  for (int32_t i = 0; i < 10; ++i) buffers.push_back({i, i + 1, 64});
  std::vector<uint32_t> order(buffers.size());
  EXPECT_EQ(128u, PlanBuffers(buffers.data(), buffers.size(), order.data()));
  EXPECT_EQ(128u, LowerBound(buffers.data(), buffers.size(), 11));
}

}  // namespace
}  // namespace lbrt
