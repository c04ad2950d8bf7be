#include "trainer/model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <cstring>

#include "images/error.h"

namespace lbrt {
namespace {

constexpr struct {
  DType ours;
  at::ScalarType torch;
} kTypes[] = {{DType::kF16, at::kHalf}, {DType::kF32, at::kFloat}, {DType::kF64, at::kDouble},
              {DType::kU8, at::kByte},  {DType::kI8, at::kChar},   {DType::kI16, at::kShort},
              {DType::kI32, at::kInt},  {DType::kI64, at::kLong},  {DType::kBool, at::kBool}};

at::ScalarType TorchType(DType type) {
  for (const auto& t : kTypes)
    if (t.ours == type) return t.torch;
  return at::kFloat;
}

bool IsFloat(DType type) {
  return type == DType::kF16 || type == DType::kF32 || type == DType::kF64;
}

// Inputs that one output reads: shape[1:] of a weight.
int64_t FanIn(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (size_t i = 1; i < shape.size(); ++i) n *= shape[i];
  return n;
}

// The weight that stands beside a bias: torch draws both from the weight's fan-in.
int64_t LayerFanIn(const Network& network, const TensorSpec& spec) {
  if (spec.shape.size() > 1) return FanIn(spec.shape);
  const std::string weight = spec.name.substr(0, spec.name.rfind('.') + 1) + "weight";
  for (const TensorSpec& other : network.tensors)
    if (other.name == weight) return FanIn(other.shape);
  return 1;
}

double TruncatedNormal(Random& random) {
  for (;;)
    if (const double x = random.Normal(); std::abs(x) <= 2) return x;
}

double Draw(const Network& network, const TensorSpec& spec, Random& random) {
  switch (spec.init.kind) {
    case Init::kConstant:
      return spec.init.value;
    case Init::kUniform01:
      return random.Uniform();
    case Init::kNormal:
      return random.Normal() * spec.init.value;
    case Init::kTruncatedNormal:
      return TruncatedNormal(random) * spec.init.value;
    case Init::kKaimingNormalFanIn:
      return random.Normal() * std::sqrt(2.0 / static_cast<double>(FanIn(spec.shape)));
    case Init::kKaimingNormalFanOut: {
      const int64_t fan_out = FanIn(spec.shape) / spec.shape[1] * spec.shape[0];
      return random.Normal() * std::sqrt(2.0 / static_cast<double>(fan_out));
    }
    case Init::kTorchDefault:
      return (2 * random.Uniform() - 1) / std::sqrt(static_cast<double>(LayerFanIn(network, spec)));
  }
  return 0;
}

bool IsScalar(const std::vector<int64_t>& shape) {
  return shape.empty() || (shape.size() == 1 && shape[0] == 1);
}

}  // namespace

TrainerModel::TrainerModel(Network network, at::ScalarType type, at::Device device)
    : network_(std::move(network)), type_(type), device_(device) {
  for (const TensorSpec& spec : network_.tensors) {
    const auto options =
        at::TensorOptions().dtype(IsFloat(spec.type) ? type : TorchType(spec.type)).device(device);
    at::Tensor tensor = at::zeros(spec.shape, options);
    if (spec.role == Role::kConstant) tensor.fill_(static_cast<float>(spec.init.value));
    if (spec.trains()) {
      tensor.requires_grad_(true);
      parameters_.push_back(spec.name);
    }
    tensors_.emplace(spec.name, tensor);
  }
}

const at::Tensor& TrainerModel::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw InputError(network_.name, "has no tensor \"" + name + "\"");
  return found->second;
}

void TrainerModel::Initialise(Random& random) {
  for (const TensorSpec& spec : network_.tensors) {
    at::Tensor values = at::empty(spec.shape, at::kDouble);
    double* v = values.data_ptr<double>();
    for (int64_t i = 0; i < values.numel(); ++i) v[i] = Draw(network_, spec, random);
    // Rounded to float32 in double models too, so that both start from the same numbers.
    if (IsFloat(spec.type)) values = values.to(at::kFloat);
    at::NoGradGuard no_grad;
    at(spec.name).copy_(values);
  }
}

void TrainerModel::Load(const StateDict& state) {
  for (const std::string& name : LoadMatching(state)) state.at(name);  // throws
}

std::vector<std::string> TrainerModel::LoadMatching(const StateDict& state, size_t* taken) {
  at::NoGradGuard no_grad;
  std::vector<std::string> missing;
  size_t found = 0;
  for (const TensorSpec& spec : network_.tensors) {
    if (spec.role == Role::kConstant) continue;
    if (!state.contains(spec.name)) {
      if (!IsCounter(spec.name)) missing.push_back(spec.name);
      continue;
    }
    const HostTensor& tensor = state.at(spec.name);
    if (tensor.shape != spec.shape && !(IsScalar(tensor.shape) && IsScalar(spec.shape)))
      throw InputError("tensor \"" + spec.name + "\"", "has shape " + ShapeText(tensor.shape) +
                                                           ", " + network_.name + " needs " +
                                                           ShapeText(spec.shape));
    at(spec.name).copy_(FromHost(tensor).reshape(spec.shape));
    if (!IsCounter(spec.name)) ++found;
  }
  if (taken != nullptr) *taken = found;
  return missing;
}

StateDict TrainerModel::ToStateDict() const {
  StateDict state;
  for (const TensorSpec& spec : network_.tensors) state[spec.name] = ToHost(at(spec.name));
  return state;
}

HostTensor ToHost(const at::Tensor& tensor) {
  const at::Tensor dense = tensor.detach().cpu().contiguous();
  for (const auto& t : kTypes)
    if (t.torch == dense.scalar_type()) {
      HostTensor result = HostTensor::Zeros(t.ours, dense.sizes().vec());
      if (!result.bytes.empty())
        std::memcpy(result.bytes.data(), dense.data_ptr(), result.bytes.size());
      return result;
    }
  throw InputError("tensor", std::string("has type ") + at::toString(dense.scalar_type()) +
                                 ", which checkpoints do not hold");
}

at::Tensor FromHost(const HostTensor& tensor) {
  at::Tensor result = at::empty(tensor.shape, TorchType(tensor.type));
  if (!tensor.bytes.empty())
    std::memcpy(result.data_ptr(), tensor.bytes.data(), tensor.bytes.size());
  return result;
}

}  // namespace lbrt
