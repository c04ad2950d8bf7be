// Writes `.lbm` files from plain values, for tests: good ones, and ones that are wrong in exactly
// one place. The table is FlatBuffers' object form, so that a test can change any field.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/shapes.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"

namespace lbrt {

// Bytes of a file at an address that models may have.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t size) : storage_(size + 64), size_(size) {}
  explicit AlignedBytes(const std::vector<uint8_t>& bytes) : AlignedBytes(bytes.size()) {
    std::copy(bytes.begin(), bytes.end(), data());
  }
  uint8_t* data() {
    const auto address = reinterpret_cast<uintptr_t>(storage_.data());
    return storage_.data() + (64 - address % 64) % 64;
  }
  size_t size() const { return size_; }

 private:
  std::vector<uint8_t> storage_;
  size_t size_ = 0;
};

struct ModelFile {
  lbm::ModelT table;
  std::vector<std::vector<uint8_t>> segments;
  uint64_t more_features = 0;  // in the mask beside what the table uses
  uint64_t fewer_features = 0;
  size_t alignment = lbm::kSegmentAlignment;

  ModelFile() { table.widths = {1}; }

  static std::string Numbered(std::string name, size_t number) {
    return name.append(std::to_string(number));
  }

  // ---- building

  int AddTensor(lbm::TensorType type, std::vector<int32_t> shape = {}) {
    auto tensor = std::make_unique<lbm::TensorT>();
    tensor->name = Numbered("t", table.tensors.size());
    tensor->type = type;
    tensor->shape = std::move(shape);
    table.tensors.push_back(std::move(tensor));
    return static_cast<int>(table.tensors.size()) - 1;
  }
  int AddInput(lbm::TensorType type, std::vector<int32_t> shape, const std::string& name = "input",
               const std::string& preprocessing = "") {
    const int tensor = AddTensor(type, std::move(shape));
    AddPort(&table.inputs, tensor, name, preprocessing);
    return tensor;
  }
  void AddOutput(int tensor, const std::string& name = "output") {
    AddPort(&table.outputs, tensor, name, "");
  }
  uint32_t AddSegment(std::vector<uint8_t> bytes) {
    segments.push_back(std::move(bytes));
    return static_cast<uint32_t>(segments.size()) - 1;
  }
  lbm::Floats AddFloats(const std::vector<float>& values) {
    std::vector<uint8_t> bytes(values.size() * sizeof(float));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return {AddSegment(std::move(bytes)), 0, static_cast<uint32_t>(values.size())};
  }

  // Weights [o][ky][kx][c] as planes of segments.
  std::vector<uint32_t> AddSigns(const std::vector<int32_t>& weights, size_t outputs) {
    return {AddBits(weights, outputs, [](int32_t w) { return w > 0; })};
  }
  std::vector<uint32_t> AddTernary(const std::vector<int32_t>& weights, size_t outputs) {
    return {AddBits(weights, outputs, [](int32_t w) { return w > 0; }),
            AddBits(weights, outputs, [](int32_t w) { return w != 0; })};
  }
  // Odd numbers of so many bits, -(2^bits - 1) to 2^bits - 1.
  std::vector<uint32_t> AddOdd(const std::vector<int32_t>& weights, size_t outputs, int bits) {
    std::vector<uint32_t> planes;
    for (int bit = bits - 1; bit >= 0; --bit)
      planes.push_back(AddBits(weights, outputs, [&](int32_t w) {
        return ((w + (1 << bits) - 1) / 2 >> bit & 1) != 0;
      }));
    return planes;
  }
  // Numbers of so many bits in two's complement.
  std::vector<uint32_t> AddIntegers(const std::vector<int32_t>& weights, size_t outputs, int bits) {
    std::vector<uint32_t> planes;
    for (int bit = bits - 1; bit >= 0; --bit)
      planes.push_back(AddBits(weights, outputs, [&](int32_t w) { return (w >> bit & 1) != 0; }));
    return planes;
  }
  std::vector<uint32_t> AddFloatWeights(const std::vector<float>& weights) {
    return {AddFloats(weights).segment()};
  }
  std::vector<uint32_t> AddFixed(const std::vector<int32_t>& weights, int limbs) {
    std::vector<std::vector<uint8_t>> planes(static_cast<size_t>(limbs));
    for (int32_t w : weights)
      for (int limb = limbs - 1; limb >= 0; --limb) {  // the least significant first
        const auto low = static_cast<int8_t>(w & 0xFF);
        planes[static_cast<size_t>(limb)].push_back(static_cast<uint8_t>(low));
        w = (w - low) / 256;
      }
    std::vector<uint32_t> result;
    for (auto& plane : planes) result.push_back(AddSegment(std::move(plane)));
    return result;
  }

  // Of Weighted planes.
  static void SetWeighted(lbm::ConvT& conv, std::vector<uint8_t> weights, int bits, int offset) {
    conv.plane_weights = std::move(weights);
    conv.bits = static_cast<uint8_t>(bits);
    conv.offset = static_cast<uint8_t>(offset);
  }

  lbm::ConvT& AddConv(int input, const Window& w, lbm::WeightKind kind, uint32_t channels,
                      std::vector<uint32_t> planes) {
    lbm::ConvT conv;
    conv.input = static_cast<uint32_t>(input);
    conv.channels = channels;
    conv.window = std::make_unique<lbm::Window>(FileWindow(w));
    conv.kind = kind;
    conv.planes = std::move(planes);
    AddOp()->body.Set(std::move(conv));
    return *table.ops.back()->body.AsConv();
  }
  lbm::EltwiseT& AddEltwise(int input) {
    lbm::EltwiseT eltwise;
    eltwise.input = static_cast<uint32_t>(input);
    AddOp()->body.Set(std::move(eltwise));
    return *table.ops.back()->body.AsEltwise();
  }
  int AddAvgPool(int input, const Window& w, uint32_t before = 0, uint32_t after = 0,
                 bool sum = false) {
    lbm::AvgPoolT pool;
    pool.sum = sum;
    pool.input = static_cast<uint32_t>(input);
    pool.window = std::make_unique<lbm::Window>(FileWindow(w));
    pool.pad_before = before;
    pool.pad_after = after;
    const int output = AddTensor(lbm::TensorType::F32);
    pool.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(pool));
    return output;
  }
  int AddMaxPool(int input, const Window& w, std::vector<uint8_t> minimum = {}) {
    lbm::MaxPoolT pool;
    pool.minimum = std::move(minimum);
    pool.input = static_cast<uint32_t>(input);
    pool.window = std::make_unique<lbm::Window>(FileWindow(w));
    const int output = AddTensor(table.tensors[static_cast<size_t>(input)]->type);
    pool.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(pool));
    return output;
  }
  int AddConcat(const std::vector<int>& inputs) {
    lbm::ConcatT concat;
    concat.inputs.assign(inputs.begin(), inputs.end());
    const int output = AddTensor(table.tensors[static_cast<size_t>(inputs[0])]->type);
    concat.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(concat));
    return output;
  }
  // `thresholds` [levels][channels], or [levels].
  int AddThreshold(int input, int levels, const std::vector<float>& thresholds) {
    lbm::ThresholdT threshold;
    threshold.input = static_cast<uint32_t>(input);
    threshold.levels = static_cast<uint8_t>(levels);
    threshold.thresholds = std::make_unique<lbm::Floats>(AddFloats(thresholds));
    const int output = AddTensor(lbm::TensorType::Codes);
    threshold.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(threshold));
    return output;
  }
  int AddUpsample(int input, int factor_h, int factor_w) {
    lbm::UpsampleT upsample;
    upsample.input = static_cast<uint32_t>(input);
    upsample.factor_h = static_cast<uint16_t>(factor_h);
    upsample.factor_w = static_cast<uint16_t>(factor_w);
    const int output = AddTensor(table.tensors[static_cast<size_t>(input)]->type);
    upsample.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(upsample));
    return output;
  }
  int AddDepthToSpace(int input, int block, lbm::DepthOrder order) {
    lbm::DepthToSpaceT op;
    op.input = static_cast<uint32_t>(input);
    op.block = static_cast<uint16_t>(block);
    op.order = order;
    const int output = AddTensor(table.tensors[static_cast<size_t>(input)]->type);
    op.output = static_cast<uint32_t>(output);
    AddOp()->body.Set(std::move(op));
    return output;
  }
  // To a conv or eltwise; the reference holds until the next stage is added.
  template <typename Op>
  lbm::StageT& AddStage(Op& op) {
    op.stages.push_back(std::make_unique<lbm::StageT>());
    return *op.stages.back();
  }
  void SetAffine(lbm::StageT& stage, const std::vector<float>& a, const std::vector<float>& b) {
    if (!a.empty()) stage.a = std::make_unique<lbm::Floats>(AddFloats(a));
    if (!b.empty()) stage.b = std::make_unique<lbm::Floats>(AddFloats(b));
  }
  int StoreF32(lbm::StageT& stage) { return stage.out_f32 = AddTensor(lbm::TensorType::F32); }
  int StoreSign(lbm::StageT& stage) { return stage.out_sign = AddTensor(lbm::TensorType::Bits); }
  int StoreCodes(lbm::StageT& stage, float inverse_step, int levels) {
    stage.codes = std::make_unique<lbm::Quantizer>(inverse_step, static_cast<uint8_t>(levels));
    return stage.out_codes = AddTensor(lbm::TensorType::Codes);
  }
  // `thresholds` [levels][channels], or [levels].
  int StoreCounts(lbm::StageT& stage, int levels, const std::vector<float>& thresholds) {
    stage.thresholds = std::make_unique<lbm::Floats>(AddFloats(thresholds));
    stage.threshold_levels = static_cast<uint8_t>(levels);
    return stage.out_codes = AddTensor(lbm::TensorType::Codes);
  }
  void SetPRelu(lbm::StageT& stage, const std::vector<float>& slopes) {
    stage.activation = lbm::Activation::PRelu;
    stage.slopes = std::make_unique<lbm::Floats>(AddFloats(slopes));
  }

  // ---- several widths, the narrowest first: each is built, with its own input and output, and
  // ended. Segments are for all of them.

  void EndWidth(uint8_t bits) {
    lbm::ProgramT width;
    width.ops = std::move(table.ops);
    width.tensors = std::move(table.tensors);
    const size_t inputs = first_ ? first_->inputs.size() : 0;
    const size_t outputs = first_ ? first_->outputs.size() : 0;
    for (size_t i = inputs; i < table.inputs.size(); ++i)
      width.inputs.push_back(table.inputs[i]->tensor);
    for (size_t i = outputs; i < table.outputs.size(); ++i)
      width.outputs.push_back(table.outputs[i]->tensor);
    table.ops.clear();
    table.tensors.clear();
    if (!first_) {
      table.widths = {bits};
      first_ = std::make_shared<lbm::ProgramT>(std::move(width));
      return;
    }
    table.inputs.resize(inputs);
    table.outputs.resize(outputs);
    table.widths.push_back(bits);
    table.programs.push_back(std::make_unique<lbm::ProgramT>(std::move(width)));
  }
  // To be called when all widths are there.
  void JoinWidths() {
    table.ops = std::move(first_->ops);
    table.tensors = std::move(first_->tensors);
  }
  // A model of width `i` alone.
  ModelFile OneWidth(size_t i) const {
    ModelFile one = *this;
    one.table.widths = {table.widths[i]};
    if (i > 0) {
      lbm::ProgramT& program = *one.table.programs[i - 1];
      one.table.ops = std::move(program.ops);
      one.table.tensors = std::move(program.tensors);
      for (size_t k = 0; k < program.inputs.size(); ++k)
        one.table.inputs[k]->tensor = program.inputs[k];
      for (size_t k = 0; k < program.outputs.size(); ++k)
        one.table.outputs[k]->tensor = program.outputs[k];
    }
    one.table.programs.clear();
    return one;
  }

  // ---- writing

  std::vector<uint8_t> Bytes() const {
    lbm::ModelT placed = table;
    placed.segments.resize(segments.size());  // where they lie follows from the table's size
    size_t end = sizeof(lbm::Header) + Pack(placed, nullptr);
    for (size_t i = 0; i < segments.size(); ++i) {
      end = (end + alignment - 1) / alignment * alignment;
      placed.segments[i] =
          lbm::Segment(static_cast<uint32_t>(end), static_cast<uint32_t>(segments[i].size()),
                       lbm::Crc32c(segments[i].data(), segments[i].size()));
      end += segments[i].size();
    }
    std::vector<uint8_t> packed;
    Pack(placed, &packed);
    std::vector<uint8_t> file(end);
    lbm::Header header = {};
    std::memcpy(header.magic, lbm::kMagic, sizeof(lbm::kMagic));
    header.version = lbm::kVersion;
    header.features =
        (lbm::UsedFeatures(*lbm::GetModel(packed.data())) | more_features) & ~fewer_features;
    header.table_offset = sizeof(header);
    header.table_size = static_cast<uint32_t>(packed.size());
    std::memcpy(file.data(), &header, sizeof(header));
    std::memcpy(file.data() + sizeof(header), packed.data(), packed.size());
    for (size_t i = 0; i < segments.size(); ++i)
      if (!segments[i].empty())
        std::memcpy(file.data() + placed.segments[i].offset(), segments[i].data(),
                    segments[i].size());
    SealHeader(&file);
    return file;
  }

  // Makes the checksums of table and header right again.
  static void SealHeader(std::vector<uint8_t>* file) {
    lbm::Header header;
    std::memcpy(&header, file->data(), sizeof(header));
    if (uint64_t{header.table_offset} + header.table_size <= file->size())
      header.table_crc = lbm::Crc32c(file->data() + header.table_offset, header.table_size);
    header.header_crc = lbm::Crc32c(&header, offsetof(lbm::Header, header_crc));
    std::memcpy(file->data(), &header, sizeof(header));
  }

  static lbm::Window FileWindow(const Window& w) {
    const auto u16 = [](int n) { return static_cast<uint16_t>(n); };
    return {u16(w.kernel_h), u16(w.kernel_w), u16(w.stride_h),   u16(w.stride_w),
            u16(w.pad_top),  u16(w.pad_left), u16(w.pad_bottom), u16(w.pad_right)};
  }

 private:
  // A plane of bits: rows of one output, padded to 32.
  template <typename IsOne>
  uint32_t AddBits(const std::vector<int32_t>& weights, size_t outputs, IsOne is_one) {
    const size_t elements = weights.size() / outputs, row = (elements + 31) / 32 * 4;
    std::vector<uint8_t> bytes(outputs * row);
    for (size_t i = 0; i < weights.size(); ++i) {
      const size_t o = i / elements, k = i % elements;
      if (is_one(weights[i])) bytes[o * row + k / 8] |= static_cast<uint8_t>(1u << (k % 8));
    }
    return AddSegment(std::move(bytes));
  }
  std::shared_ptr<lbm::ProgramT> first_;  // until JoinWidths

  static size_t Pack(const lbm::ModelT& table, std::vector<uint8_t>* bytes) {
    flatbuffers::FlatBufferBuilder builder;
    builder.Finish(lbm::Model::Pack(builder, &table));
    if (bytes != nullptr)
      bytes->assign(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
    return builder.GetSize();
  }
  lbm::OpT* AddOp() {
    table.ops.push_back(std::make_unique<lbm::OpT>());
    table.ops.back()->name = Numbered("op", table.ops.size() - 1);
    return table.ops.back().get();
  }
  static void AddPort(std::vector<std::unique_ptr<lbm::PortT>>* ports, int tensor,
                      const std::string& name, const std::string& preprocessing) {
    auto port = std::make_unique<lbm::PortT>();
    port->name = name;
    port->tensor = static_cast<uint32_t>(tensor);
    port->preprocessing = preprocessing;
    ports->push_back(std::move(port));
  }
};

}  // namespace lbrt
