// The functions that have CUDA kernels: what a GPU computes is what a CPU computes.
#include <ATen/Context.h>

#include <cmath>

#include "tests/tensors.h"
#include "trainer/normalise.h"
#include "trainer/quantizers.h"
#include "trainer/samples.h"

namespace lbrt {
namespace {

class CudaKernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device here";
  }
};

// A leaf of the device.
at::Tensor Leaf(const at::Tensor& values, at::Device device, at::ScalarType type) {
  at::Tensor leaf = values.detach().clone().to(device, type);
  if (leaf.dim() == 4) leaf = leaf.contiguous(at::MemoryFormat::ChannelsLast);
  return leaf.requires_grad_(true);
}

void ExpectAlike(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want,
                 double tolerance, const std::string& what) {
  for (size_t i = 0; i < want.size(); ++i)
    ExpectClose(got[i].to(at::kCPU, at::kDouble), want[i],
                tolerance * (1 + want[i].abs().max().item<double>()),
                what + ", result " + std::to_string(i));
}

struct Followed {
  Rectifier rectifier;
  ClippedRounding rounding;
};

// y, dx, dresidual, dweight, dbias and the running statistics.
std::vector<at::Tensor> Normalise(at::Device device, at::ScalarType type,
                                  const std::vector<int64_t>& shape, bool affine, bool residual,
                                  const Followed& by) {
  const int64_t c = shape[1];
  const at::Tensor x = Leaf(RandomTensor(shape, 30) * 2 + 3, device, type);
  at::Tensor r, w, b;
  if (residual) r = Leaf(RandomTensor(shape, 31), device, type);
  if (affine) {
    w = Leaf(RandomTensor({c}, 32), device, type);
    b = Leaf(RandomTensor({c}, 33), device, type);
  }
  const at::Tensor mean = RandomTensor({c}, 34).to(device, type);
  const at::Tensor var = (RandomTensor({c}, 35).abs() + 0.5).to(device, type);
  const at::Tensor y = NormaliseAddRectify(x, {w, b, mean, var}, r, by.rectifier, by.rounding);
  (y * RandomTensor(shape, 36).to(device, type)).sum().backward();
  std::vector<at::Tensor> results{y.detach(), x.grad(), mean, var};
  for (const at::Tensor& t : {r, w, b})
    if (t.defined()) results.push_back(t.grad());
  return results;
}

TEST_F(CudaKernelsTest, NormaliseIsThatOfACpu) {
  // Channels that fill 16 bytes and not, more of them than a block has threads; few rows and many.
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {2, 3, 4, 4}, {64, 16, 32, 32}, {5, 80, 9, 9}, {3, 1100, 2, 2}, {4, 257, 3, 3}})
    for (const bool affine : {false, true})
      for (const bool residual : {false, true})
        for (const Followed& by :
             {Followed{Rectifier::kNone, {}}, {Rectifier::kRelu, {}}, {Rectifier::kHardtanh, {}},
              {Rectifier::kClippedRound, {1.0 / 3, 3}}, {Rectifier::kClippedRound, {0.4, 3}}}) {
          if (residual && by.rectifier == Rectifier::kClippedRound) continue;  // not together
          const std::string what = "channels " + std::to_string(shape[1]) + ", rectifier " +
                                   std::to_string(static_cast<int>(by.rectifier)) +
                                   (residual ? ", residual" : "");
          const auto want = Normalise(at::kCPU, at::kDouble, shape, affine, residual, by);
          ExpectAlike(Normalise(at::kCUDA, at::kDouble, shape, affine, residual, by), want, 1e-11,
                      what);
          if (by.rectifier == Rectifier::kClippedRound) continue;  // rounding moves codes
          ExpectAlike(Normalise(at::kCUDA, at::kFloat, shape, affine, residual, by), want, 3e-4,
                      what + ", float");
        }
}

TEST_F(CudaKernelsTest, StatisticsKeepTheirDigitsFarFromZero) {
  const at::Tensor x = (RandomTensor({32, 8, 16, 16}, 37) + 1000).to(at::kCUDA, at::kFloat);
  const auto zeros = at::zeros({8}, x.options()), ones = at::ones({8}, x.options());
  const at::Tensor var = ones.clone();
  NormaliseAddRectify(x, {{}, {}, zeros.clone(), var, 1e-5, 1.0}, {}, Rectifier::kNone);
  const at::Tensor want = x.to(at::kDouble).permute({1, 0, 2, 3}).flatten(1).var(1, true);
  ExpectClose(var.to(at::kDouble), want, 1e-4);
}

// signs, dx.
std::vector<at::Tensor> Signs(at::Device device, at::ScalarType type,
                              const std::vector<int64_t>& shape, bool residual) {
  const at::Tensor x = Leaf(RandomTensor(shape, 38) * 0.4 + 0.1, device, type);
  const RecuSigns result = RecuSign(x);
  at::Tensor sum = (result.signs * RandomTensor(shape, 39).to(device, type)).sum();
  if (residual) sum = sum + (result.unchanged * RandomTensor(shape, 40).to(device, type)).sum();
  sum.backward();
  return {result.signs.detach(), x.grad()};
}

TEST_F(CudaKernelsTest, RecuSignIsThatOfACpu) {
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{3, 16, 32, 32}, {2, 3, 5, 5}, {7, 10}, {300, 64, 8, 8}})
    for (const bool residual : {false, true}) {
      const std::string what = std::to_string(shape[1]) + " channels";
      const auto want = Signs(at::kCPU, at::kDouble, shape, residual);
      ExpectAlike(Signs(at::kCUDA, at::kDouble, shape, residual), want, 1e-12, what);
      ExpectAlike(Signs(at::kCUDA, at::kFloat, shape, residual), want, 1e-5, what + ", float");
    }
}

// codes, dw.
std::vector<at::Tensor> Weights(at::Device device, at::ScalarType type,
                                const std::vector<int64_t>& shape, double tau) {
  const at::Tensor w = Leaf(RandomTensor(shape, 41) * 0.3, device, type);
  const Quantized q = RecuWeights(w, at::full({1}, tau, w.options().requires_grad(false)));
  (q.codes * RandomTensor(shape, 42).to(device, type)).sum().backward();
  return {q.codes.detach(), w.grad()};
}

TEST_F(CudaKernelsTest, RecuWeightsAreThoseOfACpu) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {16, 16, 3, 3}, {64, 32, 3, 3}, {3, 5, 1, 1}, {10, 64}, {512, 512, 3, 3}})
    for (const double tau : {0.85, 0.99}) {
      const std::string what = std::to_string(shape[0]) + " outputs";
      const auto want = Weights(at::kCPU, at::kDouble, shape, tau);
      ExpectAlike(Weights(at::kCUDA, at::kDouble, shape, tau), want, 1e-10, what);
    }
}

// codes, scale, dw.
std::vector<at::Tensor> AnyPrecision(at::Device device, at::ScalarType type, const at::Tensor& w0,
                                     int bits, bool truncating) {
  const at::Tensor w = Leaf(w0, device, type);
  const Quantized q = AnyPrecisionWeights(w, bits, truncating);
  (q.codes * RandomTensor(w0.sizes(), 43).to(device, type)).sum().backward();
  return {q.codes.detach(), q.scale, w.grad()};
}

TEST_F(CudaKernelsTest, AnyPrecisionWeightsAreThoseOfACpu) {
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{16, 16, 3, 3}, {3, 5, 1, 1}, {10, 64}, {320, 320, 3, 3}}) {
    at::Tensor w = RandomTensor(shape, 44) * 0.3;
    w.flatten()[1] = -w.abs().max();  // two are the largest
    for (const bool truncating : {false, true})
      for (const int bits : {1, 2, 4, 8, 32}) {
        const std::string what =
            std::to_string(shape[0]) + " outputs, " + std::to_string(bits) + " bits";
        const auto want = AnyPrecision(at::kCPU, at::kDouble, w, bits, truncating);
        ExpectAlike(AnyPrecision(at::kCUDA, at::kDouble, w, bits, truncating), want, 1e-10, what);
      }
  }
}

// A convolution's results in bf16 times a scale, and codes in bf16, against the same in float.
TEST_F(CudaKernelsTest, NormaliseOfScaledBf16IsThatOfItsValues) {
  const std::vector<int64_t> shape{8, 48, 9, 9};
  const at::Tensor sums = RandomTensor(shape, 45).mul(20).round();  // exact in bf16
  const at::Tensor factors = RandomTensor(shape, 46).to(at::kBFloat16).to(at::kDouble);
  for (const bool codes : {false, true})
    for (const bool bf16 : {false, true}) {
      const at::ScalarType type = bf16 ? at::kBFloat16 : at::kFloat;
      const at::Tensor x = Leaf(sums, at::kCUDA, type);
      const at::Tensor w = Leaf(RandomTensor({48}, 47), at::kCUDA, at::kFloat);
      const at::Tensor b = Leaf(RandomTensor({48}, 48), at::kCUDA, at::kFloat);
      const auto options = w.options().requires_grad(false);
      BatchNormTensors tensors{w, b, at::zeros({48}, options), at::ones({48}, options)};
      tensors.scale = at::full({}, 0.03, options);
      tensors.bf16_codes = bf16;
      const Rectifier rectifier = codes ? Rectifier::kClippedRound : Rectifier::kNone;
      const at::Tensor y = NormaliseAddRectify(x, tensors, {}, rectifier, {1.0 / 15, 15});
      EXPECT_EQ(y.scalar_type(), codes && bf16 ? at::kBFloat16 : at::kFloat);
      y.backward(factors.to(y.device(), y.scalar_type()));

      const at::Tensor plain = Leaf(sums, at::kCPU, at::kFloat);
      const at::Tensor pw = Leaf(w.detach(), at::kCPU, at::kFloat);
      const at::Tensor pb = Leaf(b.detach(), at::kCPU, at::kFloat);
      const at::Tensor mean = at::zeros({48}), var = at::ones({48});
      const at::Tensor want = NormaliseAddRectify(plain * 0.03f, {pw, pb, mean, var}, {}, rectifier,
                                                  {1.0 / 15, 15});
      want.backward(factors.to(at::kFloat));
      // A code of very many may be its neighbour.
      const at::Tensor apart =
          (y.detach().to(at::kCPU, at::kFloat) - want.detach()).abs();
      EXPECT_LE(apart.mean().item<double>(), 1e-3);
      ExpectAlike({tensors.running_mean, tensors.running_var, w.grad(), b.grad()},
                  {mean.to(at::kDouble), var.to(at::kDouble), pw.grad().to(at::kDouble),
                   pb.grad().to(at::kDouble)},
                  1e-3, "statistics and affine");
      ExpectAlike({x.grad()}, {plain.grad().to(at::kDouble)}, bf16 ? 5e-3 : 1e-4, "dx");
    }
}

// The images of an epoch, from a source of random bytes.
std::vector<at::Tensor> Epoch(at::Device device, Augmentation augmentation) {
  constexpr size_t kImages = 40;
  Samples samples;
  samples.height = 9;
  samples.width = 7;
  samples.channels = 3;
  Random random(5);
  for (size_t i = 0; i < kImages; ++i) samples.labels.push_back(static_cast<int>(i % 10));
  for (size_t i = 0; i < kImages * samples.image_bytes(); ++i)
    samples.pixels.push_back(static_cast<uint8_t>(random.Below(256)));
  Preprocessing preprocessing;
  preprocessing.channels = 3;
  preprocessing.mean = {0.5, 0.4, 0.3};
  preprocessing.std = {0.2, 0.3, 0.4};
  Batcher batcher(samples, preprocessing, device);
  batcher.Start(ShuffledOrder(kImages, random), 0, augmentation, 6);
  std::vector<at::Tensor> results;
  for (const size_t count : {16, 16, 8}) {
    const Batch batch = batcher.Next(count);
    results.push_back(batch.input.to(at::kCPU, at::kDouble));
    results.push_back(batch.labels.to(at::kCPU, at::kDouble));
  }
  return results;
}

TEST_F(CudaKernelsTest, BatchesAreThoseOfACpu) {
  for (const Augmentation a : {Augmentation::kNone, Augmentation::kBlack, Augmentation::kReflect})
    ExpectAlike(Epoch(at::kCUDA, a), Epoch(at::kCPU, a), 0, AugmentationName(a));
}

}  // namespace
}  // namespace lbrt
