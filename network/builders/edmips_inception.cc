// edmips/{googlenet, inception-v3} (methods.md 2.4). The branches of a module read one batch norm's
// result through quantizers of their own; the pooling branch has a batch norm of its own. Layers
// come in registration order. Everything but stem and head is quantized; all parameters decay.
#include "network/builders/edmips.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr double kEps = 1e-3;

// Bits of the layers in registration order, as shipped (methods.md 2.3).
constexpr char kGoogLeNetBits[] =
    "41431434311311341434331423311423311413311413442434443434/"
    "42432323322323332334332323322323322323322323333334332324";
constexpr char kInceptionBits[] =
    "114143131114411111442311313114112111111412211111341111111134112111113111111443341134334431334/"
    "434244343234323323432332323224332222223332222222332223222233222222223222222443343233333322223";

// The start of the weights is truncated at two deviations: 0.01 in GoogLeNet, 0.1 in Inception.
class Modules {
 public:
  Modules(NetworkBuilder& b, double deviation)
      : b_(b), init_{Init::kTruncatedNormal, deviation} {}

  Value Stem(const std::string& name, int channels, Window window) {
    return b_.Conv(name, b_.Input(3), channels, window, {.part = Part::kStem, .init = init_});
  }
  Value Norm(const std::string& name, Value x) { return b_.BatchNorm(name, x, {.eps = kEps}); }
  Value Conv(const std::string& name, Value x, int channels, Window window) {
    return EdmipsConv(b_, name, x, channels, window, init_);
  }
  Value NormConv(const std::string& name, Value x, int channels, Window window) {
    x = Norm(name + ".bn", x);
    return Conv(name + ".conv", x, channels, window);
  }
  // The convolutions "<name>_1", "<name>_2", ...; all but the first have a batch norm.
  struct Step {
    int channels;
    Window window;
  };
  Value Branch(const std::string& name, Value x, const std::vector<Step>& steps) {
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::string step = name + "_" + std::to_string(i + 1);
      x = i == 0 ? Conv(step, x, steps[i].channels, steps[i].window)
                 : NormConv(step, x, steps[i].channels, steps[i].window);
    }
    return x;
  }
  Network Finish(Value x) {
    x = b_.GlobalAvgPool("avgpool", b_.Relu("relu", x));
    return b_.Finish(
        b_.Linear("fc", x, b_.classes(), {.part = Part::kHead, .init = init_, .bias = true}));
  }

 private:
  NetworkBuilder& b_;
  Init init_;
};

constexpr Window kOne = SquareWindow(1, 1, 0), kThree = SquareWindow(3, 1, 1),
                 kFive = SquareWindow(5, 1, 2), kReduce = SquareWindow(3, 2, 0);
constexpr Window Row(int taps) { return {1, taps, 1, 1, 0, taps / 2, 0, taps / 2}; }
constexpr Window Column(int taps) { return {taps, 1, 1, 1, taps / 2, 0, taps / 2, 0}; }

// --- googlenet -----------------------------------------------------------------------------------

struct GoogLeNetModule {
  const char* name;
  int one, three_reduced, three, five_reduced, five, pool;
};
constexpr GoogLeNetModule kGoogLeNet[] = {
    {"inception3a", 64, 96, 128, 16, 32, 32},     {"inception3b", 128, 128, 192, 32, 96, 64},
    {"inception4a", 192, 96, 208, 16, 48, 64},    {"inception4b", 160, 112, 224, 24, 64, 64},
    {"inception4c", 128, 128, 256, 24, 64, 64},   {"inception4d", 112, 144, 288, 32, 64, 64},
    {"inception4e", 256, 160, 320, 32, 128, 128}, {"inception5a", 256, 160, 320, 32, 128, 128},
    {"inception5b", 384, 192, 384, 48, 128, 128},
};

Network GoogLeNet(const std::string& name, const std::vector<std::string>&,
                  const Arguments& given) {
  NetworkBuilder b(name, given, EdmipsQuantization(kGoogLeNetBits, given), 224, 1000);
  Modules m(b, 0.01);
  Value x = b.MaxPool("maxpool1", m.Stem("conv1", 64, SquareWindow(7, 2, 3)), 3, 2, 0, true);
  x = m.NormConv("conv2", x, 64, kOne);
  x = b.MaxPool("maxpool2", m.NormConv("conv3", x, 192, kThree), 3, 2, 0, true);
  for (const GoogLeNetModule& module : kGoogLeNet) {
    const std::string prefix = module.name;
    if (prefix == "inception4a") x = b.MaxPool("maxpool3", x, 3, 2, 0, true);
    if (prefix == "inception5a") x = b.MaxPool("maxpool4", x, 2, 2, 0, true);
    const Value xb = m.Norm(prefix + ".bn", x);
    const Value one = m.Conv(prefix + ".branch1", xb, module.one, kOne);
    const Value three = m.Branch(prefix + ".branch2", xb,
                                 {{module.three_reduced, kOne}, {module.three, kThree}});
    const Value five =
        m.Branch(prefix + ".branch3", xb, {{module.five_reduced, kOne}, {module.five, kFive}});
    const Value pooled = b.MaxPool(prefix + ".branch4.pool", x, 3, 1, 1);
    const Value pool = m.NormConv(prefix + ".branch4", pooled, module.pool, kOne);
    x = b.Concat(prefix + ".concat", {one, three, five, pool});
  }
  return m.Finish(m.Norm("inception5b_bn", x));
}

// --- inception-v3 --------------------------------------------------------------------------------

// Padding counts as zeros.
Value PoolBranch(NetworkBuilder& b, Modules& m, const std::string& name, Value x, int channels) {
  const Value pooled = b.AvgPool(name + ".branch_pool.pool", x, kThree);
  return m.NormConv(name + ".branch_pool", pooled, channels, kOne);
}

Value ModuleA(NetworkBuilder& b, Modules& m, const std::string& name, Value x, int pool) {
  const Value xb = m.Norm(name + ".bn", x);
  const Value one = m.Conv(name + ".branch1x1", xb, 64, kOne);
  const Value five = m.Branch(name + ".branch5x5", xb, {{48, kOne}, {64, kFive}});
  const Value three =
      m.Branch(name + ".branch3x3dbl", xb, {{64, kOne}, {96, kThree}, {96, kThree}});
  return b.Concat(name + ".concat", {one, five, three, PoolBranch(b, m, name, x, pool)});
}

Value ModuleB(NetworkBuilder& b, Modules& m, const std::string& name, Value x) {
  const Value xb = m.Norm(name + ".bn", x);
  const Value three = m.Conv(name + ".branch3x3", xb, 384, kReduce);
  const Value twice =
      m.Branch(name + ".branch3x3dbl", xb, {{64, kOne}, {96, kThree}, {96, kReduce}});
  return b.Concat(name + ".concat", {three, twice, b.MaxPool(name + ".pool", x, 3, 2, 0)});
}

Value ModuleC(NetworkBuilder& b, Modules& m, const std::string& name, Value x, int c) {
  const Value xb = m.Norm(name + ".bn", x);
  const Value one = m.Conv(name + ".branch1x1", xb, 192, kOne);
  const Value seven = m.Branch(name + ".branch7x7", xb, {{c, kOne}, {c, Row(7)}, {192, Column(7)}});
  const Value twice =
      m.Branch(name + ".branch7x7dbl", xb,
               {{c, kOne}, {c, Column(7)}, {c, Row(7)}, {c, Column(7)}, {192, Row(7)}});
  return b.Concat(name + ".concat", {one, seven, twice, PoolBranch(b, m, name, x, 192)});
}

Value ModuleD(NetworkBuilder& b, Modules& m, const std::string& name, Value x) {
  const Value xb = m.Norm(name + ".bn", x);
  const Value three = m.Branch(name + ".branch3x3", xb, {{192, kOne}, {320, kReduce}});
  const Value seven = m.Branch(name + ".branch7x7x3", xb,
                               {{192, kOne}, {192, Row(7)}, {192, Column(7)}, {192, kReduce}});
  return b.Concat(name + ".concat", {three, seven, b.MaxPool(name + ".pool", x, 3, 2, 0)});
}

Value ModuleE(NetworkBuilder& b, Modules& m, const std::string& name, Value x) {
  const Value xb = m.Norm(name + ".bn", x);
  const Value one = m.Conv(name + ".branch1x1", xb, 320, kOne);
  const Value three =
      m.Norm(name + ".branch3x3_bn", m.Branch(name + ".branch3x3", xb, {{384, kOne}}));
  const Value row = m.Conv(name + ".branch3x3_2a", three, 384, Row(3));
  const Value column = m.Conv(name + ".branch3x3_2b", three, 384, Column(3));
  const Value twice =
      m.Norm(name + ".branch3x3dbl_bn",
             m.Branch(name + ".branch3x3dbl", xb, {{448, kOne}, {384, kThree}}));
  const Value twice_row = m.Conv(name + ".branch3x3dbl_3a", twice, 384, Row(3));
  const Value twice_column = m.Conv(name + ".branch3x3dbl_3b", twice, 384, Column(3));
  return b.Concat(name + ".concat", {one, row, column, twice_row, twice_column,
                                     PoolBranch(b, m, name, x, 192)});
}

Network InceptionV3(const std::string& name, const std::vector<std::string>&,
                    const Arguments& given) {
  NetworkBuilder b(name, given, EdmipsQuantization(kInceptionBits, given), 299, 1000);
  Modules m(b, 0.1);
  Value x = m.Stem("Conv2d_1a_3x3", 32, kReduce);
  x = m.NormConv("Conv2d_2a_3x3", x, 32, SquareWindow(3, 1, 0));
  x = b.MaxPool("maxpool1", m.NormConv("Conv2d_2b_3x3", x, 64, kThree), 3, 2, 0);
  x = m.NormConv("Conv2d_3b_1x1", x, 80, kOne);
  x = b.MaxPool("maxpool2", m.NormConv("Conv2d_4a_3x3", x, 192, SquareWindow(3, 1, 0)), 3, 2, 0);
  x = ModuleA(b, m, "Mixed_5b", x, 32);
  x = ModuleA(b, m, "Mixed_5c", x, 64);
  x = ModuleA(b, m, "Mixed_5d", x, 64);
  x = ModuleB(b, m, "Mixed_6a", x);
  x = ModuleC(b, m, "Mixed_6b", x, 128);
  x = ModuleC(b, m, "Mixed_6c", x, 160);
  x = ModuleC(b, m, "Mixed_6d", x, 160);
  x = ModuleC(b, m, "Mixed_6e", x, 192);
  x = ModuleD(b, m, "Mixed_7a", x);
  x = ModuleE(b, m, "Mixed_7b", x);
  x = ModuleE(b, m, "Mixed_7c", x);
  return m.Finish(m.Norm("Mixed_7c_bn", x));
}

constexpr NetworkEntry kNetworks[] = {
    {"edmips/googlenet", GoogLeNet, ImageNetDefaults},
    {"edmips/inception-v3", InceptionV3, ImageNetDefaults},
};

}  // namespace

NetworkEntries EdmipsInceptions() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
