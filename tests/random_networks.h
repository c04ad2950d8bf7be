// Small random networks of every kind of op, shape and epilogue the file format knows, with inputs.
#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "tests/model_builder.h"
#include "tests/model_reference.h"

namespace lbrt {

// Fast and the same everywhere: these tests also run under emulators.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) { Bits(); }
  uint32_t Bits() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>(state_ >> 32);
  }
  int Between(int low, int high) {
    return low + static_cast<int>(Bits() % static_cast<uint32_t>(high - low + 1));
  }
  bool Chance(int percent) { return Between(1, 100) <= percent; }
  float Unit() { return static_cast<float>(static_cast<int32_t>(Bits())) * 0x1p-31f; }
  template <typename T>
  T Among(std::initializer_list<T> list) {
    return list.begin()[Between(0, static_cast<int>(list.size()) - 1)];
  }

 private:
  uint64_t state_;
};

inline std::vector<float> RandomFloats(size_t count, float scale, Random* random) {
  std::vector<float> values(count);
  for (float& value : values) value = random->Unit() * scale;
  return values;
}
inline std::vector<int32_t> RandomSigns(size_t count, Random* random) {
  std::vector<int32_t> values(count);
  for (int32_t& value : values) value = random->Chance(50) ? 1 : -1;
  return values;
}
inline std::vector<int32_t> RandomCodes(size_t count, int low, int high, Random* random) {
  std::vector<int32_t> values(count);
  for (int32_t& value : values) value = random->Between(low, high);
  return values;
}

// Weights of a kind, [o][k], as planes of a file: +-1, f32, -1 to 1, odd numbers or integers of
// `bits` bits, or fixed-point numbers of `bits` / 8 limbs.
inline std::vector<uint32_t> AddRandomWeights(ModelFile* file, lbm::WeightKind kind, int bits,
                                              size_t outputs, size_t count, Random* random) {
  switch (kind) {
    case lbm::WeightKind::Sign: return file->AddSigns(RandomSigns(count, random), outputs);
    case lbm::WeightKind::Float: return file->AddFloatWeights(RandomFloats(count, 1.0f, random));
    case lbm::WeightKind::Ternary:
      return file->AddTernary(RandomCodes(count, -1, 1, random), outputs);
    case lbm::WeightKind::Odd: {
      std::vector<int32_t> weights = RandomCodes(count, 0, (1 << bits) - 1, random);
      for (int32_t& w : weights) w = 2 * w - (1 << bits) + 1;
      return file->AddOdd(weights, outputs, bits);
    }
    // As many planes, of any bits: what they weigh is the convolution's to say.
    case lbm::WeightKind::Weighted: {
      std::vector<uint32_t> planes;
      for (int i = 0; i < bits; ++i)
        planes.push_back(file->AddSigns(RandomSigns(count, random), outputs)[0]);
      return planes;
    }
    case lbm::WeightKind::Integers:
      return file->AddIntegers(
          RandomCodes(count, -(1 << (bits - 1)), (1 << (bits - 1)) - 1, random), outputs, bits);
    case lbm::WeightKind::Fixed: break;
  }
  const int most = bits == 8 ? 127 : bits == 16 ? 32639 : 8355711;
  return file->AddFixed(RandomCodes(count, -most, most, random), bits / 8);
}

// What weighted planes weigh, and how many bits their numbers have: anything that is allowed.
inline void SetRandomWeights(lbm::ConvT& conv, int bits, Random* random) {
  std::vector<uint8_t> weights;
  for (size_t i = 0; i < conv.planes.size(); ++i)
    weights.push_back(static_cast<uint8_t>(random->Between(1, (1 << bits) - 1)));
  ModelFile::SetWeighted(conv, weights, bits, random->Between(0, (1 << bits) - 1));
}

class RandomNetwork {
 public:
  explicit RandomNetwork(uint64_t seed) : random_(seed) {
    const int batch = random_.Among({1, 1, 1, 2, 3});
    Value x = {lbm::TensorType::U8, random_.Among({1, 2, 5, 7, 8, 16, 32}),
               random_.Among({1, 3, 6, 8, 14, 16, 32, 35}), random_.Among({1, 3, 4})};
    narrow_ = random_.Chance(50);
    wide_ = !narrow_ && random_.Chance(15);
    if (wide_) x.h = 2, x.w = 70;
    AddInput(x, batch);
    if (!narrow_ && random_.Chance(50))
      AddInput({lbm::TensorType::F32, x.h, x.w, random_.Among({1, 3, 16, 20})}, batch);
    const int ops = random_.Between(2, 7);
    if (narrow_) AddConv(values_[0]);
    for (int i = 0; i < ops; ++i) AddRandomOp();
    AddOutputs();
  }

  const ModelFile& file() const { return file_; }
  const std::vector<PlainTensor>& inputs() const { return inputs_; }

 private:
  struct Value {
    lbm::TensorType type;
    int h, w, c;
    int tensor = -1;
    int levels = 0;  // of codes
  };

  void AddInput(Value value, int batch) {
    PlainTensor plain = {static_cast<size_t>(batch),
                         static_cast<size_t>(value.h),
                         static_cast<size_t>(value.w),
                         static_cast<size_t>(value.c),
                         {}};
    for (size_t i = 0; i < plain.n * plain.image(); ++i)
      plain.values.push_back(value.type == lbm::TensorType::U8
                                 ? static_cast<float>(random_.Between(0, 255))
                                 : random_.Among({random_.Unit(), random_.Unit(), 0.0f, -0.0f}));
    value.tensor = file_.AddInput(value.type, {1, value.h, value.w, value.c},
                                  ModelFile::Numbered("input", inputs_.size()));
    inputs_.push_back(plain);
    values_.push_back(value);
  }

  // Later values are likelier, so that networks get deep.
  Value AnyValue() {
    const int count = static_cast<int>(values_.size());
    return values_[static_cast<size_t>(
        std::max(random_.Between(0, count - 1), random_.Between(0, count - 1)))];
  }

  void AddRandomOp() {
    const Value x = AnyValue();
    const bool f32 = x.type == lbm::TensorType::F32;
    if (!narrow_ && x.type != lbm::TensorType::U8 && random_.Chance(15)) {
      AddBlocksOrThreshold(x);
    } else if (f32 && random_.Chance(narrow_ ? 100 : 30)) {
      random_.Chance(50) ? AddPool(x) : AddStages(file_.AddEltwise(x.tensor), x, 0);
    } else if (!narrow_ && x.type != lbm::TensorType::U8 &&
               random_.Chance(x.type == lbm::TensorType::Bits ? 50 : 30)) {
      AddMaxPoolConcatOrEltwise(x);
    } else {
      AddConv(x);
    }
  }

  std::vector<float> AnyThresholds(int of_channels, int levels) {
    const auto channels = static_cast<size_t>(random_.Chance(50) ? 1 : of_channels);
    std::vector<float> thresholds = RandomFloats(channels, 1.0f, &random_);
    while (thresholds.size() < channels * static_cast<size_t>(levels))
      thresholds.push_back(thresholds[thresholds.size() - channels] +
                           random_.Among({0.0f, 0.01f, 0.1f}));
    return thresholds;
  }

  void AddBlocksOrThreshold(Value x) {
    if (x.type == lbm::TensorType::F32 && random_.Chance(60)) {
      x.type = lbm::TensorType::Codes;
      x.levels = random_.Among({1, 3, 15, 31, 32, 100, 255});
      x.tensor = file_.AddThreshold(x.tensor, x.levels, AnyThresholds(x.c, x.levels));
    } else if (x.h * x.w > 300) {
      return;
    } else if (x.c % 4 == 0 && random_.Chance(50)) {
      x.tensor = file_.AddDepthToSpace(
          x.tensor, 2,
          random_.Among({lbm::DepthOrder::BlockFirst, lbm::DepthOrder::ChannelFirst}));
      x.h *= 2;
      x.w *= 2;
      x.c /= 4;
    } else {
      const int factor_h = random_.Among({1, 2, 2, 3}), factor_w = random_.Among({2, 2, 3});
      x.tensor = file_.AddUpsample(x.tensor, factor_h, factor_w);
      x.h *= factor_h;
      x.w *= factor_w;
    }
    values_.push_back(x);
  }

  // Of a convolution of x with so many outputs: any number that divides both, often all.
  int AnyGroups(const Value& x, int channels) {
    if (narrow_ || random_.Chance(60)) return 1;
    std::vector<int> divisors;
    for (int groups = 2; groups <= x.c; ++groups)
      if (x.c % groups == 0 && channels % groups == 0) divisors.push_back(groups);
    if (divisors.empty()) return 1;
    if (random_.Chance(50)) return divisors.back();
    return divisors[static_cast<size_t>(
        random_.Between(0, static_cast<int>(divisors.size()) - 1))];
  }

  // Bits that say of which channels a max pooling takes the smallest; often none.
  std::vector<uint8_t> AnyMinimum(const Value& x) {
    std::vector<uint8_t> bits;
    if (x.type == lbm::TensorType::F32 || random_.Chance(50)) return bits;
    bits.resize(static_cast<size_t>(x.c + 7) / 8);
    for (int c = 0; c < x.c; ++c)
      if (random_.Chance(50)) bits[static_cast<size_t>(c) / 8] |= static_cast<uint8_t>(1 << c % 8);
    return bits;
  }

  void AddMaxPoolConcatOrEltwise(Value x) {
    const int choice = random_.Among({1, 2, 2, 3});
    if (choice == 1) {
      const Window w = AnyWindow(x);
      x.tensor = file_.AddMaxPool(x.tensor, w, AnyMinimum(x));
      x.h = OutputHeight(w, x.h);
      x.w = OutputWidth(w, x.w);
      values_.push_back(x);
    } else if (choice == 2) {
      std::vector<int> inputs = {x.tensor};
      for (const Value& other : std::vector<Value>(values_))
        if (other.type == x.type && other.h == x.h && other.w == x.w && other.levels == x.levels &&
            inputs.size() < 16 && random_.Chance(70)) {
          inputs.push_back(other.tensor);
          x.c += other.c;
        }
      if (inputs.size() == 1) {
        inputs.push_back(x.tensor);
        x.c *= 2;
      }
      if (x.c > 100) return;
      x.tensor = file_.AddConcat(inputs);
      values_.push_back(x);
    } else {
      x.type = lbm::TensorType::F32;
      AddStages(file_.AddEltwise(x.tensor), x, 0);
    }
  }

  Window AnyWindow(const Value& x) {
    const int side = random_.Among({1, 3, 3, 3, 5});
    Window w = {side, side, random_.Among({1, 1, 2, 3}), 1, 0, 0, 0, 0};
    w.stride_w = random_.Chance(80) ? w.stride_h : random_.Between(1, 2);
    if (random_.Chance(10)) w.kernel_w = random_.Among({1, 2, 7});
    if (random_.Chance(70)) {
      w.pad_top = w.pad_bottom = (w.kernel_h - 1) / 2;
      w.pad_left = w.pad_right = (w.kernel_w - 1) / 2;
    } else if (random_.Chance(50)) {
      w.pad_top = random_.Between(0, w.kernel_h - 1);
      w.pad_left = random_.Between(0, w.kernel_w - 1);
      w.pad_right = random_.Between(0, w.kernel_w - 1);
    }
    if (OutputHeight(w, x.h) < 1 || OutputWidth(w, x.w) < 1) return Window{};
    return w;
  }

  Value Result(const Value& x, const Window& w, int channels) {
    return {lbm::TensorType::F32, OutputHeight(w, x.h), OutputWidth(w, x.w), channels};
  }

  void AddConv(const Value& x) {
    const Window w = AnyWindow(x);
    int channels = random_.Among({1, 5, 16, 16, 20, 32, 33, 64, 65, 96});
    if (narrow_) channels = random_.Among({16, 16, 16, 16, 16, 32, 64});
    if (wide_ && random_.Chance(50)) channels = random_.Among({130, 160});
    if (x.c > 8 && random_.Chance(40)) channels = x.c;
    const size_t outputs = static_cast<size_t>(channels);
    const int groups = AnyGroups(x, channels);
    const size_t count = outputs * static_cast<size_t>(w.taps() * (x.c / groups));
    lbm::WeightKind kind = lbm::WeightKind::Sign;
    if (x.type == lbm::TensorType::U8) {
      kind = lbm::WeightKind::Fixed;
    } else if (x.type == lbm::TensorType::F32 && random_.Chance(30)) {
      kind = lbm::WeightKind::Float;
    } else if (!narrow_ && random_.Chance(x.type == lbm::TensorType::Codes ? 80 : 40)) {
      kind = random_.Among(
          {lbm::WeightKind::Ternary, lbm::WeightKind::Odd, lbm::WeightKind::Fixed,
           lbm::WeightKind::Weighted, lbm::WeightKind::Integers});
    }
    const int bits = kind == lbm::WeightKind::Fixed ? 8 * random_.Between(1, 3)
                                                    : random_.Between(2, 8);
    const std::vector<uint32_t> planes =
        AddRandomWeights(&file_, kind, bits, outputs, count, &random_);
    const int classes = kind == lbm::WeightKind::Fixed
                            ? BorderRows(w, x.h).classes() * BorderColumns(w, x.w).classes()
                            : 0;
    lbm::ConvT& conv = file_.AddConv(x.tensor, w, kind, static_cast<uint32_t>(channels), planes);
    conv.groups = static_cast<uint32_t>(groups);
    if (kind == lbm::WeightKind::Weighted) SetRandomWeights(conv, random_.Between(2, 8), &random_);
    if (x.type == lbm::TensorType::Codes && random_.Chance(30))
      conv.zero = static_cast<uint8_t>(random_.Among({1, x.levels / 2, x.levels}));
    AddStages(conv, Result(x, w, channels), classes);
  }

  void AddPool(const Value& x) {
    const Window w = AnyWindow(x);
    const int before = random_.Among({0, 0, 3, 8}), after = random_.Among({0, 0, 5, 8});
    Value y = Result(x, w, before + x.c + after);
    y.tensor = file_.AddAvgPool(x.tensor, w, static_cast<uint32_t>(before),
                                static_cast<uint32_t>(after), random_.Chance(30));
    values_.push_back(y);
  }

  // Whether a stage that makes y's shape can read it.
  static bool Fits(const Value& other, const Value& y) {
    return other.type == lbm::TensorType::F32 && other.h == y.h && other.w == y.w &&
           other.c == y.c;
  }

  // One stage or several that make tensors of y's shape. Scales that keep sums near 0, where signs
  // change.
  template <typename Op>
  void AddStages(Op& op, Value y, int classes) {
    const size_t channels = static_cast<size_t>(y.c);
    const std::vector<Value> before = values_;
    const int stages = random_.Chance(75) ? 1 : random_.Chance(70) ? 2 : random_.Between(3, 8);
    bool stored = false;  // something of the stage before
    for (int i = 0; i < stages; ++i) {
      lbm::StageT& stage = file_.AddStage(op);
      stage.restart = std::is_same_v<Op, lbm::ConvT> && stored && random_.Chance(40);
      std::vector<float> a, b;
      const float scale = random_.Among({1.0f, 0.01f, 1e-6f});
      if (random_.Chance(75)) a = RandomFloats(random_.Chance(80) ? channels : 1, scale, &random_);
      if (random_.Chance(75)) b = RandomFloats(random_.Chance(80) ? channels : 1, 1.0f, &random_);
      if ((i == 0 || stage.restart) && classes > 0 && random_.Chance(70))
        b = RandomFloats(channels * static_cast<size_t>(classes), 1.0f, &random_);
      if (!narrow_ && random_.Chance(20)) {
        for (const Value& other : before)
          if (Fits(other, y)) stage.base = other.tensor;
      }
      file_.SetAffine(stage, a, stage.base < 0 ? b : std::vector<float>{});
      if (random_.Chance(60)) {
        for (const Value& other : before)
          if (Fits(other, y)) stage.add = other.tensor;
      }
      stage.activation =
          random_.Among({lbm::Activation::None, lbm::Activation::Relu, lbm::Activation::Hardtanh,
                         lbm::Activation::ClipUnit});
      if (!narrow_ && random_.Chance(20))
        file_.SetPRelu(stage, RandomFloats(random_.Chance(80) ? channels : 1, 1.0f, &random_));
      const bool last = i + 1 == stages;
      const bool f32 = random_.Chance(last ? 65 : 50);
      if (f32) {
        y.tensor = file_.StoreF32(stage);
        values_.push_back(y);
      }
      if (random_.Chance(60) || (last && !f32)) {
        Value signs = y;
        signs.type = lbm::TensorType::Bits;
        signs.tensor = file_.StoreSign(stage);
        values_.push_back(signs);
      }
      if (!narrow_ && random_.Chance(50)) {
        Value codes = y;
        codes.type = lbm::TensorType::Codes;
        codes.levels = random_.Among({1, 2, 3, 3, 15, 15, 100, 255});
        const float inverse_step = random_.Among({0.5f, 1.0f, 3.7f, 60.0f});
        codes.tensor = random_.Chance(70)
                           ? file_.StoreCodes(stage, inverse_step, codes.levels)
                           : file_.StoreCounts(stage, codes.levels, AnyThresholds(y.c, codes.levels));
        values_.push_back(codes);
      }
      stored = stage.out_f32 >= 0 || stage.out_sign >= 0 || stage.out_codes >= 0;
    }
  }

  // The last f32 value, pooled to one pixel or as it is; a layer is added where there is none.
  void AddOutputs() {
    for (;;) {
      const Value last = values_.back();
      if (last.type == lbm::TensorType::F32 && last.tensor >= static_cast<int>(inputs_.size()))
        break;
      AddConv(last);
    }
    Value last = values_.back();
    if (narrow_ || random_.Chance(70)) {
      const Window all = {last.h, last.w, 1, 1, 0, 0, 0, 0};
      file_.AddOutput(file_.AddAvgPool(last.tensor, all));
    } else {
      file_.AddOutput(last.tensor);
    }
  }

  Random random_;
  bool narrow_ = false;  // channels that are one word a pixel, and nothing that wants rows
  bool wide_ = false;    // rows that do not fit the scratch at once
  ModelFile file_;
  std::vector<PlainTensor> inputs_;
  std::vector<Value> values_;
};

}  // namespace lbrt
