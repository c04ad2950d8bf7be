#include "converter/onnx/quantizers.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "images/error.h"

namespace lbrt::onnx {
namespace {

double Float32(double x) { return static_cast<double>(static_cast<float>(x)); }

using Rounding = double (*)(double x);

double HalfEven(double x) {
  const double nearest = std::round(x);  // half away from zero
  return std::fabs(x - std::trunc(x)) == 0.5 ? 2 * std::round(x / 2) : nearest;
}
double Up(double x) { return x < 0 ? std::floor(x) : std::ceil(x); }
double HalfDown(double x) {
  const double nearest = std::round(x);
  return std::fabs(x - std::trunc(x)) == 0.5 ? std::trunc(x) : nearest;
}

constexpr struct {
  const char* name;
  Rounding round;
} kRoundings[] = {
    {"ROUND", HalfEven},
    {"HALF_EVEN", HalfEven},
    {"CEIL", [](double x) { return std::ceil(x); }},
    {"FLOOR", [](double x) { return std::floor(x); }},
    {"UP", Up},
    {"DOWN", [](double x) { return std::trunc(x); }},
    {"ROUND_TO_ZERO", [](double x) { return std::trunc(x); }},
    {"HALF_UP", [](double x) { return std::round(x); }},
    {"HALF_DOWN", HalfDown},
};

Rounding RoundingOf(const Node& node, const std::string& absent) {
  std::string mode = node.Text("rounding_mode", absent), known;
  std::transform(mode.begin(), mode.end(), mode.begin(),
                 [](unsigned char c) { return std::toupper(c); });
  for (const auto& entry : kRoundings) {
    if (mode == entry.name) return entry.round;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw InputError(node.title(),
                   "has the rounding mode \"" + mode + "\", expected one of " + known);
}

double OneNumber(const Node& node, const Value* value, const char* what) {
  if (value == nullptr || value->values.size() != 1)
    throw InputError(node.title(), std::string("expected one number as its ") + what);
  return value->values[0];
}

double BitsOf(const Node& node, const Value* value) {
  const double bits = OneNumber(node, value, "bit width");
  if (bits != std::floor(bits) || bits < 1 || bits > 32)
    throw InputError(node.title(), "has " + std::to_string(bits) + " bits, expected 1 to 32");
  return bits;
}

void CheckScale(const Node& node, const Numbers& scale) {
  for (const double s : scale.list)
    if (!(s > 0) || !std::isfinite(s))
      throw InputError(node.title(),
                       "has a scale of " + std::to_string(s) + ", expected one above 0");
}

// The integers there are.
void SetRange(const Node& node, double bits, Quantizer* q) {
  const bool is_signed = node.Int("signed", 1) != 0, narrow = node.Int("narrow", 0) != 0;
  const double top = std::ldexp(1, static_cast<int>(bits) - (is_signed ? 1 : 0));
  q->least = is_signed ? -top : 0;
  q->most = top - 1;
  if (narrow) (is_signed ? q->least : q->most) += is_signed ? 1 : -1;
}

Quantizer Integers(const Node& node, Numbers scale, Numbers zero, double bits) {
  Quantizer q;
  CheckScale(node, scale);
  q.scale = std::move(scale);
  q.zero = std::move(zero);
  SetRange(node, bits, &q);
  const Numbers &s = q.scale, &z = q.zero;
  if (bits == 1 && node.Int("signed", 1) != 0) {
    q.least = -1;
    q.most = 1;
    q.sign = true;
    q.integer = [s, z](double x, size_t c) {
      return Float32(Float32(x / s[c]) + z[c]) >= 0 ? 1.0 : -1.0;
    };
    return q;
  }
  const Rounding round = RoundingOf(node, "ROUND");
  const double least = q.least, most = q.most;
  q.integer = [=](double x, size_t c) {
    const double y = Float32(Float32(x / s[c]) + z[c]);
    return round(y > most ? most : y < least ? least : y);
  };
  return q;
}

Quantizer Bipolar(const Node& node, Numbers scale) {
  Quantizer q;
  CheckScale(node, scale);
  q.scale = std::move(scale);
  q.least = -1;
  q.most = 1;
  q.sign = true;
  q.integer = [](double x, size_t) { return x >= 0 ? 1.0 : -1.0; };
  return q;
}

Quantizer Truncation(const Node& node, const std::vector<const Value*>& constants,
                     const Chain& chain, size_t channels) {
  const bool second = constants.size() >= 6;
  const double scale = OneNumber(node, constants.at(0), "scale");
  const double zero = OneNumber(node, constants.at(1), "zero point");
  Quantizer q;
  q.scale = second ? OneNumber(node, constants[3], "output scale") : scale;
  CheckScale(node, scale);
  CheckScale(node, q.scale);
  const double divisor = second ? std::exp2(HalfEven(std::log2(q.scale[0] / scale)))
                                : std::ldexp(1, static_cast<int>(BitsOf(node, constants.at(2)) -
                                                                 BitsOf(node, constants.at(3))));
  q.zero = second ? Float32(zero / divisor) : zero;
  const Rounding round = RoundingOf(node, "FLOOR");
  if (second) SetRange(node, BitsOf(node, constants[5]), &q);
  const double least = second ? q.least : -INFINITY, most = second ? q.most : INFINITY;
  q.integer = [=](double x, size_t) {
    const double y = Float32(HalfEven(Float32(Float32(x / scale) + zero)) / divisor);
    return round(y > most ? most : y < least ? least : y);
  };
  if (second) return q;
  if (!chain.integers) throw InputError(node.title(), "truncates a value that is not quantized");
  q.least = INFINITY;
  q.most = -INFINITY;
  for (size_t c = 0; c < channels; ++c)
    for (const double s : {chain.least, chain.most}) {
      q.least = std::min(q.least, q.integer(chain.Value(s, c), c));
      q.most = std::max(q.most, q.integer(chain.Value(s, c), c));
    }
  return q;
}

Quantizer Multiple(const Node& node, const Value* table, size_t channels) {
  const double scale = static_cast<double>(node.Float("out_scale", 1));
  const double bias = static_cast<double>(node.Float("out_bias", 0));
  CheckScale(node, scale);
  if (table == nullptr || table->shape.size() != 2 ||
      (table->shape[0] != 1 && table->shape[0] != static_cast<int64_t>(channels)))
    throw InputError(node.title(), "its thresholds are " +
                                       (table == nullptr ? "missing" : ShapeText(table->shape)) +
                                       ", expected a row for all or each of the " +
                                       std::to_string(channels) + " channels");
  const auto steps = static_cast<size_t>(table->shape[1]);
  const bool shared = table->shape[0] == 1;
  Quantizer q;
  q.most = static_cast<double>(steps);
  q.scale = scale;
  q.zero = -bias / scale;
  q.integer = [values = table->values, steps, shared](double x, size_t c) {
    const auto row = values.begin() + static_cast<ptrdiff_t>(shared ? 0 : c * steps);
    return static_cast<double>(
        std::count_if(row, row + static_cast<ptrdiff_t>(steps), [x](double t) { return x >= t; }));
  };
  if (steps == 1 && 2 * bias == -scale) {
    q.sign = true;
    q.least = -1;
    q.most = 1;
    q.scale = scale / 2;
    q.zero = 0;
    q.integer = [count = q.integer](double x, size_t c) { return 2 * count(x, c) - 1; };
  }
  return q;
}

}  // namespace

Numbers PerChannel(const Node& node, const Array& operand, const Shape& shape,
                   size_t channel_axis) {
  if (operand.values.size() == 1) return operand.values[0];
  const size_t rank = operand.shape.size();
  bool right = rank <= shape.size() && channel_axis + rank >= shape.size();
  for (size_t i = 0; right && i < rank; ++i)
    right = i + shape.size() - rank == channel_axis ? operand.shape[i] == shape[channel_axis]
                                                    : operand.shape[i] == 1;
  if (!right)
    throw InputError(node.title(), "has an operand of " + ShapeText(operand.shape) +
                                       " for a value of " + ShapeText(shape) +
                                       ", expected one number, or one a channel");
  return Numbers(operand.values);
}

bool IsQuantizer(const Node& node) {
  return IsQuantizerDomain(node.domain) &&
         (node.op == "Quant" || node.op == "IntQuant" || node.op == "BipolarQuant" ||
          node.op == "Trunc" || node.op == "MultiThreshold");
}

Quantizer QuantizerOf(const Node& node, const std::vector<const Value*>& constants,
                      const Shape& shape, size_t channel_axis, const Chain& chain,
                      size_t channels) {
  const size_t wanted = node.op == "BipolarQuant" || node.op == "MultiThreshold" ? 1
                        : node.op == "Trunc"                                     ? 4
                                                                                 : 3;
  if (constants.size() < wanted)
    throw InputError(node.title(), "has " + std::to_string(constants.size() + 1) +
                                       " inputs, expected " + std::to_string(wanted + 1));
  for (const Value* constant : constants)
    if (constant == nullptr)
      throw InputError(node.title(), "expected constants as its scale, zero point and bit width");
  const auto numbers = [&](size_t i) {
    return PerChannel(node, *constants[i], shape, channel_axis);
  };
  Quantizer q;
  if (node.op == "BipolarQuant")
    q = Bipolar(node, numbers(0));
  else if (node.op == "MultiThreshold")
    q = Multiple(node, constants[0], channels);
  else if (node.op == "Trunc")
    q = Truncation(node, constants, chain, channels);
  else
    q = Integers(node, numbers(0), numbers(1), BitsOf(node, constants[2]));
  if (q.most - q.least > 255)
    throw InputError(node.title(), "makes " + std::to_string(std::llround(q.most - q.least) + 1) +
                                       " different values, expected at most 256 (8 bits)");
  return q;
}

Value QuantizeConstant(const Node& node, const std::vector<const Value*>& inputs) {
  const Value& x = *inputs.at(0);
  if (node.op == "MultiThreshold" || node.op == "Trunc")
    throw InputError(node.title(), "quantizes a constant, expected Quant or BipolarQuant there");
  // An element a channel, so that scales may have any shape that broadcasts.
  const auto spread = [&](size_t i) {
    if (i >= inputs.size() || inputs[i] == nullptr)
      throw InputError(node.title(), "has too few inputs");
    const Value& operand = *inputs[i];
    if (operand.values.size() == 1) return Numbers(operand.values[0]);
    if (operand.shape.size() > x.shape.size())
      throw InputError(node.title(), "has an operand of " + ShapeText(operand.shape) +
                                         " for a constant of " + ShapeText(x.shape));
    std::vector<double> list(x.values.size());
    for (size_t e = 0; e < list.size(); ++e) {
      size_t rest = e, index = 0, step = 1;
      for (size_t back = 1; back <= operand.shape.size(); ++back) {
        const auto side = static_cast<size_t>(x.shape[x.shape.size() - back]);
        const auto own = static_cast<size_t>(operand.shape[operand.shape.size() - back]);
        if (own != 1 && own != side)
          throw InputError(node.title(), "has an operand of " + ShapeText(operand.shape) +
                                             " for a constant of " + ShapeText(x.shape));
        if (own != 1) index += rest % side * step;
        step *= own;
        rest /= side;
      }
      list[e] = operand.values.at(index);
    }
    return Numbers(std::move(list));
  };
  const Quantizer q = node.op == "BipolarQuant"
                          ? Bipolar(node, spread(1))
                          : Integers(node, spread(1), spread(2),
                                     BitsOf(node, inputs.size() > 3 ? inputs[3] : nullptr));
  Value y;
  y.shape = x.shape;
  for (size_t i = 0; i < x.values.size(); ++i) {
    y.codes.push_back(Float32(q.integer(x.values[i], i) - q.zero[i]));
    y.scales.push_back(q.scale[i]);
    y.values.push_back(Float32(y.codes[i] * y.scales[i]));
  }
  return y;
}

}  // namespace lbrt::onnx
