// What opening a file refuses: damaged, cut off, foreign and contradictory ones, each with its own
// status and sentence.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <limits>
#include <set>
#include <span>

#include "runtime/lbrt.h"
#include "tests/tiny_model.h"

namespace lbrt {
namespace {

struct Opened {
  lbrt_status status;
  std::string what;
  int op;
  std::string op_name;
};

// Opens a file as far as possible; `widths` receives those it has.
Opened Open(const std::vector<uint8_t>& file, bool skip_checksums = false, int bits = 0,
            std::vector<int>* widths = nullptr) {
  AlignedBytes memory(file);
  lbrt_error error = {};
  error.struct_size = sizeof(error);
  lbrt_model_options options = {};
  options.struct_size = sizeof(options);
  options.skip_checksums = skip_checksums ? 1 : 0;
  options.bits = bits;
  options.error = &error;
  size_t bytes = 0;
  lbrt_status status = lbrt_model_bytes(memory.data(), file.size(), &options, &bytes);
  if (status == LBRT_OK) {
    AlignedBytes model_memory(bytes);
    const lbrt_model* model = nullptr;
    status =
        lbrt_model_open(memory.data(), file.size(), &options, model_memory.data(), bytes, &model);
    lbrt_info info = {};
    info.struct_size = sizeof(info);
    if (status == LBRT_OK && widths != nullptr && lbrt_model_info(model, &info) == LBRT_OK)
      widths->assign(info.widths, info.widths + info.width_count);
  }
  if (status == LBRT_OK) return {status, "", -1, ""};
  EXPECT_NE(nullptr, error.what);
  return {status, error.what ? error.what : "", error.op, error.op_name ? error.op_name : ""};
}

TEST(ModelFile, TheTinyModelOpens) {
  EXPECT_EQ(LBRT_OK, Open(TinyModel().Bytes()).status);
  ModelFile small = TinyModel();
  small.alignment = 16;  // as microcontrollers have them
  EXPECT_EQ(LBRT_OK, Open(small.Bytes()).status);
}

TEST(ModelFile, CutOffAnywhereItIsRefused) {
  const std::vector<uint8_t> file = TinyModel().Bytes();
  for (size_t size = 0; size < file.size(); ++size) {
    const Opened opened = Open({file.begin(), file.begin() + static_cast<ptrdiff_t>(size)});
    if (size < 4) {
      EXPECT_EQ(LBRT_NOT_A_MODEL, opened.status) << size;
    } else {
      EXPECT_EQ(LBRT_TRUNCATED, opened.status) << size;
    }
  }
}

TEST(ModelFile, EveryFlippedBitIsNoticed) {
  const std::vector<uint8_t> file = TinyModel().Bytes();
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::vector<uint8_t> flipped = file;
    flipped[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    EXPECT_NE(LBRT_OK, Open(flipped).status) << "byte " << bit / 8 << " bit " << bit % 8;
  }
}

TEST(ModelFile, SegmentChecksumsCanBeSkippedAndNothingElse) {
  const ModelFile model = TinyModel();
  std::vector<uint8_t> file = model.Bytes();
  file.back() ^= 1;  // a bias of the last layer
  EXPECT_EQ(LBRT_BAD_CHECKSUM, Open(file).status);
  EXPECT_EQ(LBRT_OK, Open(file, true).status);
  file = model.Bytes();
  file[40] ^= 1;  // in the table
  EXPECT_EQ(LBRT_BAD_CHECKSUM, Open(file, true).status);
}

TEST(ModelFile, ForeignAndNewerFilesAreRefusedByName) {
  const std::vector<uint8_t> file = TinyModel().Bytes();
  EXPECT_EQ(LBRT_NOT_A_MODEL, Open({}).status);
  EXPECT_EQ(LBRT_NOT_A_MODEL, Open(std::vector<uint8_t>(1000, 0)).status);

  std::vector<uint8_t> newer = file;
  newer[4] = 2;
  ModelFile::SealHeader(&newer);
  EXPECT_EQ(LBRT_BAD_VERSION, Open(newer).status);

  ModelFile featured = TinyModel();
  featured.more_features = uint64_t{1} << 40;
  EXPECT_EQ(LBRT_NEEDS_FEATURE, Open(featured.Bytes()).status);

  ModelFile unnamed = TinyModel();
  unnamed.fewer_features = lbm::kFeatureAvgPool;
  EXPECT_EQ("the feature mask does not name what the file uses", Open(unnamed.Bytes()).what);
}

TEST(ModelFile, ATableThatIsNoTableIsRefused) {
  std::vector<uint8_t> file = TinyModel().Bytes();
  for (size_t i = sizeof(lbm::Header); i < 400; ++i) file[i] = 0xFF;
  ModelFile::SealHeader(&file);
  EXPECT_EQ("the table is no FlatBuffers table of this format", Open(file).what);
  // Behind the end, at no multiple of 16, before the header's end.
  for (uint32_t offset : {0xFFFFFFF0u, 40u, 16u}) {
    file = TinyModel().Bytes();
    lbm::Header header;
    std::memcpy(&header, file.data(), sizeof(header));
    header.table_offset = offset;
    std::memcpy(file.data(), &header, sizeof(header));
    ModelFile::SealHeader(&file);
    EXPECT_NE(LBRT_OK, Open(file).status) << offset;
  }
}

// A refusal for each rule: what is changed, what is said, which op it is said of.
struct Rule {
  const char* what;
  int op;
  std::function<void(ModelFile&)> change;
};

lbm::ConvT& Conv(ModelFile& file, size_t op) { return *file.table.ops[op]->body.AsConv(); }
lbm::StageT& Stage(ModelFile& file, size_t op, size_t stage = 0) {
  return *Conv(file, op).stages[stage];
}
void SetWindow(ModelFile& file, size_t op, const Window& w) {
  *Conv(file, op).window = ModelFile::FileWindow(w);
}
void SetShape(ModelFile& file, std::vector<int32_t> shape) {
  file.table.tensors[0]->shape = std::move(shape);
}

// The b of op 1's first stage.
void SetB(ModelFile& file, uint32_t segment, uint32_t offset, uint32_t count) {
  *Stage(file, 1).b = lbm::Floats(segment, offset, count);
}

const Rule kRules[] = {
    {"a model without input or output", -1, [](auto& f) { f.table.inputs.clear(); }},
    {"a model without input or output", -1, [](auto& f) { f.table.outputs.clear(); }},
    {"too many ops", -1,
     [](auto& f) {
       for (int i = 0; i < 1024; ++i) f.AddAvgPool(1, Window{});
     }},
    {"too many tensors", -1,
     [](auto& f) {
       for (int i = 0; i < 1024; ++i) f.AddTensor(lbm::TensorType::F32);
     }},
    {"a model has not one width for each of its programs", -1,
     [](auto& f) {
       f.table.widths = {1, 2};
     }},
    {"a model has not one width for each of its programs", -1,
     [](auto& f) { f.table.widths = {}; }},
    {"a tensor of unknown type", -1,
     [](auto& f) { f.table.tensors[1]->type = static_cast<lbm::TensorType>(9); }},
    {"a graph input names a tensor that does not exist", -1,
     [](auto& f) { f.table.inputs[0]->tensor = 99; }},
    {"two graph inputs name the same tensor", -1,
     [](auto& f) { f.table.inputs.push_back(std::make_unique<lbm::PortT>(*f.table.inputs[0])); }},
    {"a graph input must be u8 or f32", -1,
     [](auto& f) { f.table.tensors[0]->type = lbm::TensorType::Bits; }},
    {"a graph input has no shape of four", -1, [](auto& f) { SetShape(f, {}); }},
    {"a graph input has no shape of four", -1,
     [](auto& f) {
       SetShape(f, {1, 4, 4});
     }},
    {"a side of a graph input is out of range", -1,
     [](auto& f) {
       SetShape(f, {1, 0, 4, 1});
     }},
    {"a side of a graph input is out of range", -1,
     [](auto& f) {
       SetShape(f, {-1, 4, 4, 1});
     }},
    {"a side of a graph input is out of range", -1,
     [](auto& f) {
       SetShape(f, {1, 70000, 4, 1});
     }},
    {"a graph input is too large", -1,
     [](auto& f) {
       SetShape(f, {1, 65535, 65535, 1});
     }},
    {"a tensor that is no graph input has a shape", -1,
     [](auto& f) {
       f.table.tensors[1]->shape = {1, 4, 4, 8};
     }},
    {"a tensor that no op makes", -1, [](auto& f) { f.AddTensor(lbm::TensorType::F32); }},
    {"a graph output names a tensor that does not exist", -1,
     [](auto& f) { f.table.outputs[0]->tensor = 99; }},
    {"a graph output must be f32", -1, [](auto& f) { f.table.outputs[0]->tensor = 2; }},
    {"a graph output is not made by an op", -1,
     [](auto& f) {
       f.AddInput(lbm::TensorType::F32, {1, 1, 1, 1});
       f.table.outputs[0]->tensor = 10;
     }},
    {"labels are not as many as output channels", -1, [](auto& f) { f.table.labels.pop_back(); }},
    {"an op of no known kind", 3, [](auto& f) { f.table.ops[3]->body.Reset(); }},

    {"reads a tensor that does not exist", 1, [](auto& f) { Conv(f, 1).input = 99; }},
    {"reads a tensor that no earlier op makes", 1, [](auto& f) { Conv(f, 1).input = 4; }},
    {"reads a tensor that no earlier op makes", 2,
     [](auto& f) { std::swap(f.table.ops[2], f.table.ops[3]); }},
    {"no convolution of such weights with an input of such a type", 0,
     [](auto& f) { Conv(f, 0).kind = lbm::WeightKind::Sign; }},
    {"no convolution of such weights with an input of such a type", 5,
     [](auto& f) { Conv(f, 5).input = 2; }},
    {"unknown kind of weights", 1,
     [](auto& f) { Conv(f, 1).kind = static_cast<lbm::WeightKind>(7); }},
    {"a window or stride of zero", 1,
     [](auto& f) {
       SetWindow(f, 1, {0, 3, 1, 1, 0, 0, 0, 0});
     }},
    {"a window or stride of zero", 1,
     [](auto& f) {
       SetWindow(f, 1, {3, 3, 1, 0, 1, 1, 1, 1});
     }},
    {"a window is too large", 1, [](auto& f) { SetWindow(f, 1, SquareWindow(17, 1, 8)); }},
    {"padding is as large as the window", 1,
     [](auto& f) { SetWindow(f, 1, SquareWindow(3, 1, 3)); }},
    {"a window is larger than its padded input", 1,
     [](auto& f) { SetWindow(f, 1, SquareWindow(7, 1, 1)); }},
    {"a number of channels out of range", 1, [](auto& f) { Conv(f, 1).channels = 0; }},
    {"a number of channels out of range", 1, [](auto& f) { Conv(f, 1).channels = 0xFFFFFFFFu; }},
    {"the result is too large", 1, [](auto& f) { Conv(f, 1).channels = 1u << 27; }},
    {"too many weights", 1, [](auto& f) { Conv(f, 1).channels = 1u << 23; }},
    {"weights have too few or too many planes", 0, [](auto& f) { Conv(f, 0).planes.clear(); }},
    {"weights have too few or too many planes", 0,
     [](auto& f) {
       Conv(f, 0).planes = {0, 0, 0, 0};
     }},
    {"weights have too few or too many planes", 1,
     [](auto& f) { Conv(f, 1).planes.push_back(Conv(f, 1).planes[0]); }},
    {"names a segment that does not exist", 1, [](auto& f) { Conv(f, 1).planes[0] = 99; }},
    {"a segment has another size than its weights", 1,
     [](auto& f) { f.segments[Conv(f, 1).planes[0]].push_back(0); }},
    {"a segment has another size than its weights", 1, [](auto& f) { Conv(f, 1).channels = 9; }},
    {"the padding bits of a weight row are not zero", 1,
     [](auto& f) { f.segments[Conv(f, 1).planes[0]][11] |= 0x80; }},
    {"a constant is infinite or not a number", 5,
     [](auto& f) {
       f.segments[Conv(f, 5).planes[0]][3] = 0x7F, f.segments[Conv(f, 5).planes[0]][2] = 0x80;
     }},

    {"an epilogue has too few or too many stages", 5, [](auto& f) { Conv(f, 5).stages.clear(); }},
    {"an epilogue has too few or too many stages", 1,
     [](auto& f) {
       while (Conv(f, 1).stages.size() < 9)
         Conv(f, 1).stages.push_back(std::make_unique<lbm::StageT>(Stage(f, 1)));
     }},
    {"codes of both a quantizer and thresholds", 1,
     [](auto& f) {
       f.StoreCounts(Stage(f, 1), 1, {0.0f});
       Stage(f, 1).codes = std::make_unique<lbm::Quantizer>(1.0f, 1);
     }},
    {"codes without a quantizer, or a quantizer without codes", 1,
     [](auto& f) {
       f.StoreCounts(Stage(f, 1), 1, {0.0f});
       Stage(f, 1).out_codes = -1;
     }},
    {"the thresholds of a channel do not ascend", 1,
     [](auto& f) { f.StoreCounts(Stage(f, 1), 2, {0.5f, 0.25f}); }},
    {"thresholds of no level", 1, [](auto& f) { f.StoreCounts(Stage(f, 1), 0, {0.5f}); }},
    {"levels of thresholds that there are none of", 1,
     [](auto& f) { Stage(f, 1).threshold_levels = 2; }},
    {"a stage restarts that is the first, or no convolution's", 1,
     [](auto& f) { Stage(f, 1).restart = true; }},
    {"a stage restarts that is the first, or no convolution's", 4,
     [](auto& f) {
       auto& stages = f.table.ops[4]->body.AsEltwise()->stages;
       stages.push_back(std::make_unique<lbm::StageT>(*stages[0]));
       stages[1]->restart = true;
     }},
    {"a stage before a restart stores nothing", 5,
     [](auto& f) {
       auto& stages = Conv(f, 5).stages;
       stages.push_back(std::make_unique<lbm::StageT>(*stages[0]));
       stages[0]->out_f32 = -1;
       stages[1]->restart = true;
     }},
    {"unknown activation", 1,
     [](auto& f) { Stage(f, 1).activation = static_cast<lbm::Activation>(5); }},
    {"an epilogue has neither one number nor one per channel (or border class)", 1,
     [](auto& f) { SetB(f, 0, 0, 7); }},
    {"an epilogue has neither one number nor one per channel (or border class)", 0,
     [](auto& f) { Stage(f, 0).a = std::make_unique<lbm::Floats>(*Stage(f, 0).b); }},
    {"an epilogue has neither one number nor one per channel (or border class)", 0,
     [](auto& f) { SetWindow(f, 0, SquareWindow(3, 2, 1)); }},  // 4 border classes, not 9
    {"names a segment that does not exist", 1, [](auto& f) { SetB(f, 99, 0, 8); }},
    {"floats are not aligned", 1, [](auto& f) { SetB(f, Stage(f, 1).b->segment(), 2, 8); }},
    {"floats reach behind their segment", 1,
     [](auto& f) { SetB(f, Stage(f, 1).b->segment(), 4, 8); }},
    {"floats reach behind their segment", 1,
     [](auto& f) { SetB(f, Stage(f, 1).b->segment(), 0xFFFFFFFCu, 8); }},
    {"a constant is infinite or not a number", 1,
     [](auto& f) {
       const float nan = std::numeric_limits<float>::quiet_NaN();
       std::memcpy(f.segments[Stage(f, 1).b->segment()].data(), &nan, 4);
     }},
    {"what is added must be f32", 1, [](auto& f) { Stage(f, 1).add = 2; }},
    {"what is added has another shape than the result", 2, [](auto& f) { Stage(f, 2).add = 1; }},
    {"reads a tensor that no earlier op makes", 1, [](auto& f) { Stage(f, 1, 1).add = 3; }},
    {"reads a tensor that does not exist", 1, [](auto& f) { Stage(f, 1).add = -2; }},
    {"the last stage stores nothing", 1, [](auto& f) { Stage(f, 1, 1).out_f32 = -1; }},
    {"makes a tensor that does not exist", 1, [](auto& f) { Stage(f, 1).out_f32 = 99; }},
    {"makes a tensor that does not exist", 1, [](auto& f) { Stage(f, 1).out_sign = -7; }},
    {"makes a tensor that exists already", 1, [](auto& f) { Stage(f, 1).out_f32 = 1; }},
    {"makes a tensor that exists already", 1, [](auto& f) { Stage(f, 1, 1).out_f32 = 3; }},
    {"makes a tensor of another type", 1, [](auto& f) { Stage(f, 1).out_f32 = 4; }},
    {"eltwise wants f32, bits or codes", 4,
     [](auto& f) { f.table.ops[4]->body.AsEltwise()->input = 0; }},
    {"avg_pool wants an f32 input", 3,
     [](auto& f) { f.table.ops[3]->body.AsAvgPool()->input = 2; }},
    {"a window is too large", 3,
     [](auto& f) {
       *f.table.ops[3]->body.AsAvgPool()->window =
           ModelFile::FileWindow({5000, 1, 1, 1, 4999, 0, 4999, 0});
     }},
    {"a number of channels out of range", 3,
     [](auto& f) { f.table.ops[3]->body.AsAvgPool()->pad_after = 0xFFFFFFFFu; }},
    {"makes a tensor that exists already", 3,
     [](auto& f) { f.table.ops[3]->body.AsAvgPool()->output = 6; }},
};

lbm::ConcatT& Concat(ModelFile& file) { return *file.table.ops[5]->body.AsConcat(); }

// Of TinyCodesModel.
const Rule kCodesRules[] = {
    {"a graph input must be u8 or f32", -1,
     [](auto& f) { f.table.tensors[0]->type = lbm::TensorType::Codes; }},
    {"a graph output must be f32", -1, [](auto& f) { f.table.outputs[0]->tensor = 8; }},
    {"no convolution of such weights with an input of such a type", 0,
     [](auto& f) { Conv(f, 0).kind = lbm::WeightKind::Odd; }},
    {"no convolution of such weights with an input of such a type", 0,
     [](auto& f) { Conv(f, 0).kind = lbm::WeightKind::Ternary; }},
    {"no convolution of such weights with an input of such a type", 1,
     [](auto& f) { Conv(f, 1).kind = lbm::WeightKind::Float; }},
    {"unknown kind of weights", 1,
     [](auto& f) { Conv(f, 1).kind = static_cast<lbm::WeightKind>(7); }},
    {"weights have too few or too many planes", 1, [](auto& f) { Conv(f, 1).planes.pop_back(); }},
    {"weights have too few or too many planes", 1, [](auto& f) { Conv(f, 1).planes.push_back(0); }},
    {"weights have too few or too many planes", 7, [](auto& f) { Conv(f, 7).planes.pop_back(); }},
    {"weights have too few or too many planes", 6,
     [](auto& f) { Conv(f, 6).planes.push_back(Conv(f, 6).planes[0]); }},
    {"a segment has another size than its weights", 6,
     [](auto& f) { f.segments[Conv(f, 6).planes[7]].pop_back(); }},
    {"the padding bits of a weight row are not zero", 1,
     [](auto& f) { f.segments[Conv(f, 1).planes[1]][7] |= 0x80; }},
    {"the padding bits of a weight row are not zero", 7,
     [](auto& f) { f.segments[Conv(f, 7).planes[1]][2] |= 1; }},
    {"a ternary weight is both +1 and 0", 1,
     [](auto& f) { f.segments[Conv(f, 1).planes[0]].swap(f.segments[Conv(f, 1).planes[1]]); }},

    {"a PReLU without slopes, or slopes without a PReLU", 0,
     [](auto& f) { Stage(f, 0).slopes.reset(); }},
    {"a PReLU without slopes, or slopes without a PReLU", 0,
     [](auto& f) { Stage(f, 0).activation = lbm::Activation::Relu; }},
    {"an epilogue has neither one number nor one per channel (or border class)", 0,
     [](auto& f) { *Stage(f, 0).slopes = lbm::Floats(Stage(f, 0).slopes->segment(), 0, 3); }},
    {"a constant is infinite or not a number", 0,
     [](auto& f) {
       const float infinite = std::numeric_limits<float>::infinity();
       std::memcpy(f.segments[Stage(f, 0).slopes->segment()].data() + 4, &infinite, 4);
     }},
    {"codes without a quantizer, or a quantizer without codes", 0,
     [](auto& f) { Stage(f, 0).codes.reset(); }},
    {"codes without a quantizer, or a quantizer without codes", 0,
     [](auto& f) { Stage(f, 0).out_codes = -1; }},
    {"a quantizer has at least one level above 0", 0,
     [](auto& f) { *Stage(f, 0).codes = lbm::Quantizer(1.0f, 0); }},
    {"the inverse step of a quantizer is not a number above 0", 0,
     [](auto& f) { *Stage(f, 0).codes = lbm::Quantizer(0.0f, 3); }},
    {"the inverse step of a quantizer is not a number above 0", 0,
     [](auto& f) { *Stage(f, 0).codes = lbm::Quantizer(-1.0f, 3); }},
    {"the inverse step of a quantizer is not a number above 0", 0,
     [](auto& f) {
       *Stage(f, 0).codes = lbm::Quantizer(std::numeric_limits<float>::infinity(), 3);
     }},
    {"the inverse step of a quantizer is not a number above 0", 0,
     [](auto& f) {
       *Stage(f, 0).codes = lbm::Quantizer(std::numeric_limits<float>::quiet_NaN(), 3);
     }},
    {"an affine has both a base and a b", 1,
     [](auto& f) { Stage(f, 1).b = std::make_unique<lbm::Floats>(*Stage(f, 1).a); }},
    {"a base must be f32", 1, [](auto& f) { Stage(f, 1).base = 2; }},
    {"a base has another shape than the result", 8, [](auto& f) { Stage(f, 8).base = 1; }},
    {"reads a tensor that no earlier op makes", 1, [](auto& f) { Stage(f, 1).base = 9; }},
    {"reads a tensor that does not exist", 1, [](auto& f) { Stage(f, 1).base = -2; }},
    {"what is added must be f32", 1, [](auto& f) { Stage(f, 1).add = 3; }},
    {"makes a tensor of another type", 1, [](auto& f) { Stage(f, 1).out_codes = 6; }},
    {"makes a tensor that exists already", 1, [](auto& f) { Stage(f, 1).out_codes = 3; }},
    {"makes a tensor that does not exist", 1, [](auto& f) { Stage(f, 1).out_codes = -3; }},
    {"the last stage stores nothing", 1,
     [](auto& f) {
       Stage(f, 1).out_codes = -1;
       Stage(f, 1).codes.reset();
     }},

    {"the smallest of floats is not to be had", 2,
     [](auto& f) {
       f.table.ops[2]->body.AsMaxPool()->input = 1;
       f.table.ops[2]->body.AsMaxPool()->minimum = {1};
     }},
    {"not one bit for each channel's minimum", 2,
     [](auto& f) { f.table.ops[2]->body.AsMaxPool()->minimum = {1, 0}; }},
    {"the padding bits of the minimum are not zero", 3,
     [](auto& f) { f.table.ops[3]->body.AsMaxPool()->minimum = {16}; }},
    {"max_pool wants f32, bits or codes", 2,
     [](auto& f) { f.table.ops[2]->body.AsMaxPool()->input = 0; }},
    {"padding is as large as the window", 2,
     [](auto& f) {
       *f.table.ops[2]->body.AsMaxPool()->window = ModelFile::FileWindow(SquareWindow(1, 1, 1));
     }},
    {"makes a tensor of another type", 2,
     [](auto& f) { f.table.ops[2]->body.AsMaxPool()->output = 6; }},
    {"makes a tensor that exists already", 3,
     [](auto& f) { f.table.ops[3]->body.AsMaxPool()->output = 2; }},
    {"concat wants 2 to 16 inputs", 5, [](auto& f) { Concat(f).inputs.pop_back(); }},
    {"concat wants 2 to 16 inputs", 5, [](auto& f) { Concat(f).inputs.resize(17, 5); }},
    {"concat wants f32, bits or codes", 5,
     [](auto& f) {
       Concat(f).inputs = {0, 0};
     }},
    {"concat wants inputs of one type and number of levels", 5,
     [](auto& f) { Concat(f).inputs[1] = 6; }},
    {"concat wants inputs of one type and number of levels", 5,
     [](auto& f) { *f.table.ops[4]->body.AsEltwise()->stages[0]->codes = lbm::Quantizer(1, 3); }},
    {"concat wants inputs of one batch, height and width", 5,
     [](auto& f) { Concat(f).inputs[1] = 4; }},
    {"reads a tensor that no earlier op makes", 5, [](auto& f) { Concat(f).inputs[1] = 9; }},
    {"makes a tensor of another type", 5, [](auto& f) { Concat(f).output = 9; }},
};

void Fill(std::vector<std::unique_ptr<lbm::TensorT>>& tensors) {
  for (auto& tensor : tensors)
    if (tensor == nullptr) tensor = std::make_unique<lbm::TensorT>();
}
lbm::ProgramT& Program(ModelFile& file, size_t i) { return *file.table.programs[i]; }
lbm::ConvT& WeightedConv(ModelFile& file) { return *Program(file, 1).ops[1]->body.AsConv(); }

lbm::ThresholdT& Threshold(ModelFile& file) { return *file.table.ops[1]->body.AsThreshold(); }
lbm::DepthToSpaceT& Blocks(ModelFile& file) { return *file.table.ops[5]->body.AsDepthToSpace(); }
lbm::UpsampleT& Upsample(ModelFile& file) { return *file.table.ops[7]->body.AsUpsample(); }

// Of TinyOperatorsModel.
const Rule kOperatorsRules[] = {
    {"thresholds of no level", 1, [](auto& f) { Threshold(f).levels = 0; }},
    {"a threshold op without thresholds", 1, [](auto& f) { Threshold(f).thresholds.reset(); }},
    {"not one threshold for each level and channel", 1, [](auto& f) { Threshold(f).levels = 4; }},
    {"threshold wants an f32 input", 1, [](auto& f) { Threshold(f).input = 0; }},
    {"the thresholds of a channel do not ascend", 1,
     [](auto& f) { f.segments[Threshold(f).thresholds->segment()].at(7) = 0x7e; }},
    {"makes a tensor of another type", 1,
     [](auto& f) { f.table.tensors[2]->type = lbm::TensorType::F32; }},
    {"a code that means 0, of an input that has no codes", 8, [](auto& f) { Conv(f, 8).zero = 1; }},
    {"weights have too few or too many planes", 2,
     [](auto& f) { Conv(f, 2).planes.resize(1); }},
    {"weights have too few or too many planes", 2, [](auto& f) { Conv(f, 2).planes.assign(9, 1); }},
    {"the padding bits of a weight row are not zero", 2,
     [](auto& f) { f.segments[Conv(f, 2).planes[1]][7] |= 0x80; }},
    {"weights of planes that are not weighted", 2, [](auto& f) { Conv(f, 2).bits = 3; }},
    {"groups do not divide the channels", 3, [](auto& f) { Conv(f, 3).groups = 0; }},
    {"groups do not divide the channels", 3, [](auto& f) { Conv(f, 3).groups = 4; }},
    {"groups do not divide the channels", 3, [](auto& f) { Conv(f, 3).groups = 0xFFFFFFFFu; }},
    {"groups do not divide the channels", 11,
     [](auto& f) { Conv(f, 11).groups = 8; }},  // of 8 channels, but for 4 outputs
    {"a segment has another size than its weights", 4, [](auto& f) { Conv(f, 4).groups = 1; }},
    {"a block is out of range", 5, [](auto& f) { Blocks(f).block = 0; }},
    {"a block is out of range", 5, [](auto& f) { Blocks(f).block = 65; }},
    {"the block does not divide the channels", 5, [](auto& f) { Blocks(f).block = 3; }},
    {"an unknown order of channels", 5,
     [](auto& f) { Blocks(f).order = static_cast<lbm::DepthOrder>(2); }},
    {"depth_to_space wants f32, bits or codes", 5, [](auto& f) { Blocks(f).input = 0; }},
    {"upsample wants f32, bits or codes", 7, [](auto& f) { Upsample(f).input = 0; }},
    {"a factor is out of range", 7, [](auto& f) { Upsample(f).factor_h = 0; }},
    {"a factor is out of range", 7, [](auto& f) { Upsample(f).factor_w = 65; }},
    {"makes a tensor of another type", 7, [](auto& f) { Upsample(f).input = 1; }},
};

TEST(ModelFile, AnUpsampledImageThatIsTooLargeIsRefused) {
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::F32, {1, 512, 512, 1});
  file.AddOutput(file.AddUpsample(image, 64, 32));
  EXPECT_EQ("the result is too large", Open(file.Bytes()).what);
}

// Of TinyWidthsModel; ops are those of the widest, whose names the others have too.
const Rule kWidthsRules[] = {
    {"a model has not one width for each of its programs", -1,
     [](auto& f) { f.table.programs.pop_back(); }},
    {"a model has not one width for each of its programs", -1,
     [](auto& f) { f.table.widths.push_back(9); }},
    {"widths are out of range or order", -1, [](auto& f) { f.table.widths[1] = 1; }},
    {"widths are out of range or order", -1, [](auto& f) { f.table.widths[0] = 0; }},
    {"widths are out of range or order", -1, [](auto& f) { f.table.widths[2] = 33; }},
    {"widths are out of range or order", -1, [](auto& f) { f.table.widths[2] = 3; }},
    {"a width has other inputs or outputs than the first", -1,
     [](auto& f) { Program(f, 0).inputs.push_back(0); }},
    {"a width has other inputs or outputs than the first", -1,
     [](auto& f) { Program(f, 1).outputs.clear(); }},
    {"a graph input names a tensor that does not exist", -1,
     [](auto& f) { Program(f, 1).inputs[0] = 99; }},
    {"a graph output names a tensor that does not exist", -1,
     [](auto& f) { Program(f, 1).outputs[0] = 6; }},
    {"a graph output must be f32", -1, [](auto& f) { Program(f, 1).outputs[0] = 2; }},
    {"a graph input differs between widths", -1,
     [](auto& f) { Program(f, 1).tensors[0]->shape[1] = 5; }},
    {"a graph input differs between widths", -1,
     [](auto& f) { Program(f, 1).tensors[0]->type = lbm::TensorType::F32; }},
    {"a constant is infinite or not a number", 3,
     [](auto& f) {  // of weights that all widths have
       const float nan = std::numeric_limits<float>::quiet_NaN();
       std::memcpy(f.segments[Conv(f, 3).planes[0]].data(), &nan, 4);
     }},
    {"a constant is infinite or not a number", 3,
     [](auto& f) {  // of weights that the last one alone has
       const float nan = std::numeric_limits<float>::quiet_NaN();
       lbm::ConvT& head = *Program(f, 1).ops[3]->body.AsConv();
       f.segments.push_back(f.segments[head.planes[0]]);
       head.planes[0] = static_cast<uint32_t>(f.segments.size() - 1);
       std::memcpy(f.segments.back().data(), &nan, 4);
     }},
    {"a graph output differs between widths", -1,
     [](auto& f) {
       f.table.labels.clear();
       Program(f, 1).outputs[0] = 3;
     }},
    {"two graph outputs of a model of several widths name the same tensor", -1,
     [](auto& f) {
       f.table.outputs.push_back(std::make_unique<lbm::PortT>(*f.table.outputs[0]));
       for (auto& program : f.table.programs) program->outputs.push_back(4);
     }},
    {"too many tensors", -1,
     [](auto& f) { Program(f, 0).tensors.resize(1025), Fill(Program(f, 0).tensors); }},
    {"too many ops or tensors in all", -1,
     [](auto& f) {
       for (size_t i = 0; i < 2; ++i)
         Program(f, i).tensors.resize(1024), Fill(Program(f, i).tensors);
     }},
    {"a tensor that no op makes", -1,
     [](auto& f) { Program(f, 1).tensors.resize(7), Fill(Program(f, 1).tensors); }},
    {"weighted planes of too few or too many bits", 1, [](auto& f) { WeightedConv(f).bits = 9; }},
    {"weighted planes of too few or too many bits", 1, [](auto& f) { WeightedConv(f).bits = 1; }},
    {"the offset of weighted planes is too large", 1,
     [](auto& f) {
       WeightedConv(f).bits = 7;
       for (uint8_t& w : WeightedConv(f).plane_weights) w = 1;
     }},
    {"not one weight for each plane", 1, [](auto& f) { WeightedConv(f).plane_weights.pop_back(); }},
    {"not one weight for each plane", 1, [](auto& f) { WeightedConv(f).plane_weights.clear(); }},
    {"the weight of a plane is out of range", 1,
     [](auto& f) { WeightedConv(f).plane_weights[3] = 0; }},
    {"the weight of a plane is out of range", 1,
     [](auto& f) { WeightedConv(f).bits = 4, WeightedConv(f).offset = 1; }},
    {"weights of planes that are not weighted", 1,
     [](auto& f) {
       WeightedConv(f).kind = lbm::WeightKind::Odd;
       WeightedConv(f).planes.pop_back();
     }},
    {"weights have too few or too many planes", 1,
     [](auto& f) { WeightedConv(f).planes.assign(11, 2); }},
    {"names a segment that does not exist", 1, [](auto& f) { WeightedConv(f).planes[8] = 99; }},
    {"a segment has another size than its weights", 1,
     [](auto& f) { f.segments[WeightedConv(f).planes[8]].pop_back(); }},
    {"the padding bits of a weight row are not zero", 1,
     [](auto& f) { f.segments[WeightedConv(f).planes[8]][7] |= 0x80; }},
};

void ExpectRefused(const ModelFile& good, std::span<const Rule> rules) {
  EXPECT_EQ("", Open(good.Bytes()).what);
  for (const Rule& rule : rules) {
    ModelFile file = good;
    rule.change(file);
    const Opened opened = Open(file.Bytes());
    EXPECT_EQ(LBRT_BAD_MODEL, opened.status) << rule.what;
    EXPECT_EQ(rule.what, opened.what);
    EXPECT_EQ(rule.op, opened.op) << rule.what;
    if (rule.op >= 0 && opened.op == rule.op) {
      EXPECT_EQ(file.table.ops[static_cast<size_t>(rule.op)]->name, opened.op_name);
    }
  }
}

TEST(ModelFile, EveryRuleOfTheFormatIsKept) {
  ExpectRefused(TinyModel(), kRules);
  ExpectRefused(TinyCodesModel(), kCodesRules);
  ExpectRefused(TinyOperatorsModel(), kOperatorsRules);
  ExpectRefused(TinyWidthsModel(), kWidthsRules);
}

// What a file of so many bytes may be: it ends behind a segment, or in the zeros behind that.
TEST(ModelFile, OfSeveralWidthsItHasThoseWhoseWeightsAreThere) {
  const std::vector<uint8_t> file = TinyWidthsModel().Bytes();
  lbm::Header header;
  std::memcpy(&header, file.data(), sizeof(header));
  const auto& segments = *lbm::GetModel(file.data() + sizeof(header))->segments();
  std::map<size_t, int> opened;  // how often, by number of widths
  for (size_t size = 0; size <= file.size(); ++size) {
    uint32_t whole = 0;  // segments that are all there, and whether nothing follows them
    while (whole < segments.size() &&
           segments.Get(whole)->offset() + segments.Get(whole)->size() <= size)
      ++whole;
    const bool ends =
        whole > 0 && (whole == segments.size() || size <= segments.Get(whole)->offset());
    const std::vector<int> want = whole == 20   ? std::vector<int>{1, 4, 8}
                                  : whole >= 12 ? std::vector<int>{1, 4}
                                  : whole >= 6  ? std::vector<int>{1}
                                                : std::vector<int>{};
    const std::vector<uint8_t> cut = {file.begin(), file.begin() + static_cast<ptrdiff_t>(size)};
    std::vector<int> widths;
    const Opened result = Open(cut, false, 0, &widths);
    if (size >= 4 && (!ends || want.empty())) {
      ASSERT_EQ(LBRT_TRUNCATED, result.status) << size << ": " << result.what;
      continue;
    }
    if (size < 4) continue;
    ASSERT_EQ(LBRT_OK, result.status) << size << ": " << result.what;
    ASSERT_EQ(want, widths) << size;
    ++opened[want.size()];
    for (const int bits : {1, 4, 8}) {
      const bool there = std::find(want.begin(), want.end(), bits) != want.end();
      const Opened one = Open(cut, false, bits, &widths);
      ASSERT_EQ(there ? LBRT_OK : LBRT_TRUNCATED, one.status) << size;
      if (there) {
        ASSERT_EQ(std::vector<int>{bits}, widths);
      } else {
        ASSERT_EQ("the file ends before the weights of a width (bits)", one.what);
      }
    }
    EXPECT_EQ(LBRT_OK, Open(cut, false, LBRT_WIDEST, &widths).status);
    EXPECT_EQ(std::vector<int>{want.back()}, widths);
    EXPECT_EQ(LBRT_BAD_WIDTH, Open(cut, false, 2).status);
    EXPECT_EQ(LBRT_BAD_ARGUMENT, Open(cut, false, -2).status);
  }
  EXPECT_EQ(3u, opened.size());
}

TEST(ModelFile, ACutThatIsNoneIsNoticed) {
  std::vector<uint8_t> file = TinyWidthsModel().Bytes();
  lbm::Header header;
  std::memcpy(&header, file.data(), sizeof(header));
  const lbm::Segment next = *lbm::GetModel(file.data() + sizeof(header))->segments()->Get(6);
  file.resize(next.offset());
  EXPECT_EQ(LBRT_OK, Open(file).status);
  file.back() = 1;
  EXPECT_EQ("the bytes between segments are not zero", Open(file).what);
  for (size_t bit = 0; bit < file.size() * 8; ++bit) {
    std::vector<uint8_t> flipped = file;
    flipped.back() = 0;
    flipped[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    ASSERT_NE(LBRT_OK, Open(flipped).status) << "byte " << bit / 8 << " bit " << bit % 8;
  }
}

TEST(ModelFile, EachFeatureIsNamedInTheMask) {
  const auto used = [](const ModelFile& file) {
    return lbm::UsedFeatures(*lbm::GetModel(file.Bytes().data() + sizeof(lbm::Header)));
  };
  EXPECT_EQ((1u << 7) - 1, used(TinyModel())) << "files of the first version open as before";
  uint64_t all = 0;
  for (const ModelFile& tiny :
       {TinyModel(), TinyCodesModel(), TinyOperatorsModel(), TinyWidthsModel()}) {
    all |= used(tiny);
    for (uint64_t bit = 1; bit < lbm::kKnownFeatures; bit <<= 1) {
      if ((used(tiny) & bit) == 0) continue;
      ModelFile file = tiny;
      file.fewer_features = bit;
      EXPECT_EQ("the feature mask does not name what the file uses", Open(file.Bytes()).what)
          << bit;
    }
  }
  EXPECT_EQ(lbm::kKnownFeatures, all);
}

TEST(ModelFile, TooManyFixedPointWeightsPerOutputAreRefused) {
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::U8, {1, 1, 1, 65535});
  lbm::ConvT& conv = file.AddConv(image, {2, 1, 1, 1, 1, 0, 0, 0}, lbm::WeightKind::Fixed, 1,
                                  {file.AddSegment(std::vector<uint8_t>(2 * 65535))});
  file.AddOutput(file.StoreF32(file.AddStage(conv)));
  EXPECT_EQ("too many weights per output for exact sums", Open(file.Bytes()).what);
}

// A linear layer of codes: so many inputs, levels and bits of odd weights.
Opened OpenLinear(int inputs, int levels, int bits) {
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::F32, {1, 1, 1, inputs});
  lbm::EltwiseT& eltwise = file.AddEltwise(image);
  const int codes = file.StoreCodes(file.AddStage(eltwise), 1.0f, levels);
  const std::vector<int32_t> weights(static_cast<size_t>(inputs), 1);
  lbm::ConvT& conv = file.AddConv(codes, Window{}, lbm::WeightKind::Odd, 1,
                                  file.AddOdd(weights, 1, bits));
  file.AddOutput(file.StoreF32(file.AddStage(conv)));
  return Open(file.Bytes());
}

TEST(ModelFile, SumsOfCodesThatDoNotFit32BitsAreRefused) {
  EXPECT_EQ("", OpenLinear(33025, 255, 8).what);  // 2^31 - 33023
  EXPECT_EQ("sums can be too large for 32 bits", OpenLinear(33026, 255, 8).what);
  EXPECT_EQ("", OpenLinear(65535, 255, 7).what);
}

TEST(ModelFile, AConcatThatIsTooLargeIsRefused) {
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::F32, {1, 4096, 4097, 1});
  file.AddOutput(file.AddConcat(std::vector<int>(16, image)));
  EXPECT_EQ("the result is too large", Open(file.Bytes()).what);
}

void Move(lbm::Segment* segment, uint32_t offset) {
  *segment = lbm::Segment(offset, segment->size(), segment->crc());
}

// Segments lie in order, apart, aligned, with zeros between them, up to the end of the file.
TEST(ModelFile, SegmentsAreWhereTheyMustBe) {
  const ModelFile model = TinyModel();
  const auto change = [&](const std::function<void(std::vector<lbm::Segment>&)>& edit) {
    std::vector<uint8_t> file = model.Bytes();
    uint8_t* table = file.data() + sizeof(lbm::Header);
    auto* segments = const_cast<lbm::Segment*>(
        reinterpret_cast<const lbm::Segment*>(lbm::GetModel(table)->segments()->Data()));
    std::vector<lbm::Segment> list(segments, segments + model.segments.size());
    edit(list);
    std::memcpy(reinterpret_cast<uint8_t*>(segments), list.data(),
                list.size() * sizeof(lbm::Segment));
    ModelFile::SealHeader(&file);
    return Open(file).what;
  };
  EXPECT_EQ("", change([](auto&) {}));
  EXPECT_EQ("a segment is not aligned",
            change([](auto& list) { Move(&list[1], list[1].offset() + 8); }));
  EXPECT_EQ("segments overlap, or are out of order", change([](auto& list) { list[2] = list[1]; }));
  EXPECT_EQ("segments overlap, or are out of order", change([](auto& list) { Move(&list[0], 0); }));
  EXPECT_EQ("a segment is cut off", change([](auto& list) {
              list.back() = {list.back().offset(), 0xFFFFFFFFu, 0};
            }));
  std::vector<uint8_t> file = model.Bytes();
  const auto& first = *lbm::GetModel(file.data() + sizeof(lbm::Header))->segments()->Get(0);
  file[first.offset() + first.size()] = 1;
  EXPECT_EQ("the bytes between segments are not zero", Open(file).what);
  file = model.Bytes();
  file.push_back(0);
  EXPECT_EQ("the file is longer than its segments", Open(file).what);
}

TEST(ModelFile, EveryStatusHasItsSentence) {
  std::set<std::string> sentences;
  for (int status = LBRT_OK; status <= LBRT_BAD_WIDTH; ++status)
    sentences.insert(lbrt_status_text(static_cast<lbrt_status>(status)));
  EXPECT_EQ(static_cast<size_t>(LBRT_BAD_WIDTH) + 1, sentences.size());
  EXPECT_STREQ("an unknown status", lbrt_status_text(static_cast<lbrt_status>(99)));
}

}  // namespace
}  // namespace lbrt
