#include "apps/lbconvert/describe.h"

#include <algorithm>
#include <cstdio>

#include "apps/explain.h"
#include "apps/model_runner.h"
#include "apps/table.h"
#include "images/error.h"
#include "images/file.h"
#include "network/bits.h"

namespace lbrt {
namespace {

std::string Number(size_t n) { return Grouped(static_cast<int64_t>(n)); }

std::string PixelsText(int height, int width, int channels) {
  return std::to_string(height) + "x" + std::to_string(width) + "x" + std::to_string(channels);
}

std::string WindowText(const Window& w) {
  std::string text = " " + std::to_string(w.kernel_h) + "x" + std::to_string(w.kernel_w);
  if (w.stride_h != 1 || w.stride_w != 1) text += " s" + std::to_string(w.stride_h);
  if (w.pad_top != 0 || w.pad_left != 0) text += " p" + std::to_string(w.pad_top);
  return text;
}

std::string Joined(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

// Lines to a list.
std::string InOneLine(const std::string& lines) {
  std::string text;
  for (const char c : lines.substr(0, lines.find_last_not_of('\n') + 1))
    c == '\n' ? text += ", " : text += c;
  return text;
}

// ------------------------------------------------------------------------------- checkpoints

std::string BitsText(int bits) {
  return bits == 0 ? "" : " " + std::to_string(bits) + (bits == 1 ? " bit" : " bits");
}

std::string KindText(const Node& node) {
  switch (node.kind) {
    case NodeKind::kInput:
      return "input";
    case NodeKind::kConv:
      return "conv" + WindowText(node.window);
    case NodeKind::kLinear:
      return "linear";
    case NodeKind::kBatchNorm:
      return node.per_width ? "batch norm a width" : "batch norm";
    case NodeKind::kQuantize:
      return EntryOf(node.activations.kind).name + BitsText(node.activations.bits);
    case NodeKind::kRelu:
      return "relu";
    case NodeKind::kHardtanh:
      return "hardtanh";
    case NodeKind::kClip:
      return "clip";
    case NodeKind::kPRelu:
      return "prelu";
    case NodeKind::kBias:
      return "bias";
    case NodeKind::kAdd:
      return "add";
    case NodeKind::kConcat:
      return "concat";
    case NodeKind::kMaxPool:
      return "max pool" + WindowText(node.window);
    case NodeKind::kAvgPool:
      return "average pool" + WindowText(node.window);
    case NodeKind::kGlobalAvgPool:
      return "average pool";
    case NodeKind::kPadChannels:
      return "pad channels " + std::to_string(node.pad_before) + "+" +
             std::to_string(node.pad_after);
    case NodeKind::kFlatten:
      return "flatten";
    case NodeKind::kDropout:
      return "dropout " + Fixed(node.probability, 2);
  }
  return "";
}

// The precision of a node's weights, as a column says it.
std::string WeightsText(const Node& node) {
  const WeightQuantizer& q = node.weights;
  switch (q.kind) {
    case WeightQuantizer::kFloat:
      return "fp32";
    case WeightQuantizer::kRecu:
    case WeightQuantizer::kMcDonnell:
      return "1 bit";
    case WeightQuantizer::kFixedPoint:
      return "i" + std::to_string(8 * q.limbs);
    case WeightQuantizer::kTernary:
      return q.t_ex == 1 ? "ternary" : "ternary x " + std::to_string(q.t_ex);
    case WeightQuantizer::kEdmips:
      if (q.mixture) return "1-4 bit mixture";
      break;
    case WeightQuantizer::kAnyPrecision:
    case WeightQuantizer::kTruncating:
      if (q.bits == 0) return "any width";
      break;
  }
  return std::to_string(q.bits) + (q.bits == 1 ? " bit" : " bits");
}

// Of the tensors that are a node's own.
struct Sizes {
  size_t parameters = 0, bytes = 0;
};
Sizes SizesOf(const Network& network, const Node& node) {
  Sizes sizes;
  for (const TensorSpec& spec : network.tensors) {
    const bool own = spec.name == node.weight ||
                     (spec.name.starts_with(node.name + ".") &&
                      spec.name.find('.', node.name.size() + 1) == std::string::npos);
    if (!own) continue;
    const auto elements = static_cast<size_t>(HostTensor{spec.type, spec.shape, {}}.numel());
    if (spec.trains()) sizes.parameters += elements;
    sizes.bytes += elements * DTypeSize(spec.type);
  }
  return sizes;
}

std::string DescribeNetwork(const Network& network) {
  Table table({"node", "op", "inputs", "result", "weights", "parameters", "bytes"});
  for (const Node& node : network.nodes) {
    std::vector<std::string> inputs;
    for (const Value input : node.inputs) inputs.push_back(network.node(input).name);
    std::string weights;
    if (!node.weight.empty()) weights = WeightsText(node);
    if (node.kind == NodeKind::kBatchNorm) weights = "fp32";
    const Sizes sizes = SizesOf(network, node);
    table.Add({node.name, KindText(node), Joined(inputs, ", "),
               node.height == 0 ? std::to_string(node.channels)
                                : PixelsText(node.height, node.width, node.channels),
               weights, sizes.bytes == 0 ? "" : Number(sizes.parameters),
               sizes.bytes == 0 ? "" : Number(sizes.bytes)});
  }
  const NetworkCounts counts = Count(network);
  std::string text = table.Text() + "\n" + Grouped(counts.parameters) + " parameters; " +
                     Grouped(counts.quantized_weights) + " quantized weights in " +
                     Grouped(counts.quantized_layers) + " layers";
  if (!IsSearch(network))
    text += " (" + Fixed(CostsOf(network).bitw_m / 8 * 1e6, 0) + " bytes packed)";
  return text + ", " + Grouped(counts.float_weights) +
         " fp32 weights; multiply-adds an image: " + Grouped(counts.quantized_macs) +
         " with quantized weights, " + Grouped(counts.float_macs) + " with fp32\n";
}

std::string DescribeTensors(const StateDict& state) {
  Table table({"tensor", "shape", "type", "bytes"});
  size_t bytes = 0;
  for (const std::string& name : state.names()) {
    const HostTensor& tensor = state.at(name);
    bytes += tensor.bytes.size();
    table.Add({Printable(name), ShapeText(tensor.shape), DTypeName(tensor.type),
               Number(tensor.bytes.size())});
  }
  return table.Text() + "\n" + Number(state.size()) + " tensors, " + Number(bytes) + " bytes\n";
}

std::string DescribeCheckpoint(const std::string& path, const std::string& network_name,
                               const Arguments& arguments) {
  Checkpoint checkpoint = ReadCheckpoint(path);
  std::string text = Printable(path) + ": checkpoint";
  if (network_name.empty() && checkpoint.text.count("network") == 0) {
    text +=
        " of a network it does not name (see --network)\n\n" + DescribeTensors(checkpoint.state);
  } else {
    const Network network = FitToNetwork(&checkpoint, network_name, arguments);
    text += " of " + network.name + " " + ArgumentsText(network.arguments) + "\n\n" +
            DescribeNetwork(network);
    const NetworkDefaults defaults = DefaultsOf(network);
    if (checkpoint.text.count("preprocessing") == 0)
      text += KeyText("preprocessing (the published one)", defaults.preprocessing);
    if (checkpoint.text.count("labels") == 0)
      text += KeyText("labels (the published ones)", InOneLine(defaults.labels));
  }
  for (const auto& [key, value] : checkpoint.text)
    text += KeyText(key, key == "labels" ? InOneLine(value) : value);
  for (const auto& [key, value] : checkpoint.integers) text += KeyText(key, std::to_string(value));
  for (const auto& [key, value] : checkpoint.numbers) text += KeyText(key, Fixed(value, 4));
  return text;
}

// ------------------------------------------------------------------------------------ models

const char* TypeText(lbrt_type type) {
  switch (type) {
    case LBRT_U8:
      return "u8";
    case LBRT_F32:
      return "f32";
    case LBRT_SIGN:
      return "1 bit";
    case LBRT_CODES:
      return "codes";
  }
  return "";
}

std::string TensorText(const lbrt_tensor& tensor) {
  return std::string(tensor.name != nullptr ? Printable(tensor.name) : "") + " (" +
         TypeText(tensor.type) + " " +
         PixelsText(tensor.shape[1], tensor.shape[2], tensor.shape[3]) + ")";
}

std::string DescribeOps(const ModelRunner& runner) {
  Table table({"op", "name", "kind", "result", "precision", "MACs", "bytes", "makes"});
  for (uint32_t i = 0; i < runner.info().ops; ++i) {
    lbrt_op op = {};
    op.struct_size = sizeof op;
    lbrt_model_op(runner.model(), i, &op);
    std::vector<std::string> makes;
    for (uint32_t k = 0; k < op.tensor_count; ++k) {
      uint32_t index = 0;
      lbrt_op_tensor(runner.model(), i, k, &index);
      lbrt_tensor tensor = {};
      tensor.struct_size = sizeof tensor;
      lbrt_model_tensor(runner.model(), index, &tensor);
      makes.push_back((tensor.name != nullptr ? Printable(tensor.name) : "") + " " +
                      TypeText(tensor.type));
    }
    table.Add({std::to_string(i), op.name != nullptr ? Printable(op.name) : "", op.kind,
               PixelsText(op.shape[1], op.shape[2], op.shape[3]), op.precision, Grouped(op.macs),
               Number(op.weight_bytes), Joined(makes, ", ")});
  }
  return table.Text();
}

std::string WidthText(const ModelRunner& runner) {
  const std::string widths = WidthTable(runner);
  return widths.empty() ? "" : widths + "\nat width " + std::to_string(runner.width()) + ":\n";
}

std::string DescribeModel(const std::string& path) {
  RunnerOptions options;
  options.isa = "scalar";
  options.all_widths = true;
  const ModelRunner runner(path, options);  // verifies all checksums
  lbrt_tensor input = {}, output = {};
  input.struct_size = output.struct_size = sizeof input;
  lbrt_model_input(runner.model(), 0, &input);
  lbrt_model_output(runner.model(), 0, &output);
  const lbrt_info& info = runner.info();
  char features[20];
  std::snprintf(features, sizeof features, "0x%llx",
                static_cast<unsigned long long>(info.features));

  std::string text = Printable(path) + ": model, " + Number(runner.file_bytes()) + " bytes, " +
                     Number(info.weight_bytes) + " of them weights; its checksums hold; features " +
                     features + "\n\n" + WidthText(runner) + DescribeOps(runner) + "\ninput: " + TensorText(input) +
                     "\noutput: " + TensorText(output) + "\n";
  if (input.preprocessing != nullptr) text += KeyText("preprocessing", input.preprocessing);
  text += KeyText("labels", Joined(runner.labels(), ", "));
  const char *key = nullptr, *value = nullptr;
  for (size_t i = 0; i < info.notes && lbrt_note(runner.model(), i, &key, &value) == LBRT_OK; ++i)
    text += KeyText(key, value != nullptr ? value : "");
  float percent = 0;
  for (size_t i = 0;
       i < info.measurements && lbrt_measurement(runner.model(), i, &key, &percent) == LBRT_OK; ++i)
    text += KeyText(std::string("measured, ") + key, Fixed(percent, 2) + " %");
  return text;
}

// -------------------------------------------------------------------------------- conversions

std::string KindText(const GraphNode& node) {
  switch (node.op) {
    case GraphOp::kInput:
      return "input";
    case GraphOp::kConv:
      return "conv" + WindowText(node.window) +
             (node.groups > 1 ? ", " + std::to_string(node.groups) + " groups" : "");
    case GraphOp::kAffine:
      return "affine";
    case GraphOp::kAdd:
      return "add";
    case GraphOp::kActivation:
      return node.activation == Activation::kRelu       ? "relu"
             : node.activation == Activation::kHardtanh ? "hardtanh"
                                                        : "clip";
    case GraphOp::kSign:
      return "sign";
    case GraphOp::kAvgPool:
      return (node.type == ValueType::kI32 ? "sum pool" : "average pool") +
             WindowText(node.window);
    case GraphOp::kPadChannels:
      return "pad channels";
    case GraphOp::kQuantize:
      return "quantize";
    case GraphOp::kDecode:
      return "decode";
    case GraphOp::kMaxPool:
      return "max pool" + WindowText(node.window);
    case GraphOp::kConcat:
      return "concat";
    case GraphOp::kPRelu:
      return "prelu";
    case GraphOp::kThreshold:
      return "threshold";
    case GraphOp::kUpsample:
      return "upsample " + std::to_string(node.factor_h) + "x" + std::to_string(node.factor_w);
    case GraphOp::kDepthToSpace:
      return "depth to space " + std::to_string(node.block);
  }
  return "";
}

std::string TypeText(const GraphNode& node) {
  switch (node.type) {
    case ValueType::kU8:
      return "u8";
    case ValueType::kSign:
      return "1 bit";
    case ValueType::kCode:
      return "0 to " + std::to_string(node.levels);
    case ValueType::kI32:
      return "sums";
    case ValueType::kF32:
    case ValueType::kI64:
      break;
  }
  return "f32";
}

std::string WeightsText(const GraphNode& conv) {
  switch (conv.weight_kind) {
    case WeightKind::kSign:
      return "1 bit";
    case WeightKind::kFloat:
      return "fp32";
    case WeightKind::kFixed:
      return "i" + std::to_string(8 * conv.limbs);
    case WeightKind::kTernary:
      return "ternary";
    case WeightKind::kOdd:
    case WeightKind::kInteger:
      return std::to_string(conv.bits) + " bits";
  }
  return "";
}

// The type of what an op reads, beside what it adds.
std::string InputText(const LoweredGraph& lowered, const LoweredGraph::Op& op) {
  std::string text = TypeText(lowered.node(op.inputs[0]));
  if (op.inputs.size() > 1) text = std::to_string(op.inputs.size()) + " x " + text;
  return text;
}

std::string NoteText(const LoweredGraph& lowered, const LoweredGraph::Op& op) {
  if (!op.note.empty()) return op.note;
  const GraphNode& conv = lowered.node(op.nodes[0]);
  if (conv.op != GraphOp::kConv || conv.weight_kind != WeightKind::kFloat) return "";
  return op.inputs[0] == 0 ? "fp32 by --stem f32"
                           : "fp32: its weights and its input are real numbers";
}

}  // namespace

std::string Counted(int64_t n, const std::string& noun) {
  return Grouped(n) + " " + noun + (n == 1 ? "" : "s");
}

std::string Describe(const std::string& path, const std::string& network,
                     const Arguments& arguments) {
  const std::vector<uint8_t> file = ReadFile(path);
  const bool model = file.size() >= 3 && file[0] == 'L' && file[1] == 'B' && file[2] == 'M';
  return model ? DescribeModel(path) : DescribeCheckpoint(path, network, arguments);
}

std::string ConversionReport(const LoweredGraph& lowered, const ImportReport& import) {
  Table table({"op", "made of", "weights", "input", "result", "stored as", "weight bytes", "note"});
  for (const LoweredGraph::Op& op : lowered.ops) {
    std::vector<std::string> parts, stored;
    for (const int node : op.nodes) parts.push_back(KindText(lowered.node(node)));
    for (const int value : OutputsOf(op)) stored.push_back(TypeText(lowered.node(value)));
    const GraphNode& first = lowered.node(op.nodes[0]);
    const GraphNode& last = lowered.node(op.nodes.back());
    size_t bytes = 0;
    for (const auto& plane : op.planes) bytes += plane.size();
    const bool conv = first.op == GraphOp::kConv;
    table.Add({first.name, Joined(parts, ", "), conv ? WeightsText(first) : "",
               InputText(lowered, op), PixelsText(last.height, last.width, last.channels),
               Joined(stored, ", "),
               conv ? Number(bytes) : "", NoteText(lowered, op)});
  }
  const auto any = [&](auto matches) {
    return std::any_of(lowered.graph->nodes.begin(), lowered.graph->nodes.end(), matches);
  };
  std::string cases;
  if (any([](const GraphNode& node) {
        return node.op == GraphOp::kConv && node.weight_kind == WeightKind::kSign;
      }))
    cases += Counted(import.zero_weights, "one-bit weight") + " exactly zero, stored as +1; " +
             Counted(import.dead_channels, "channel") + " of nothing but those\n";
  if (any([](const GraphNode& node) { return node.op == GraphOp::kSign; }))
    cases += Counted(import.zero_sums, "sum") +
             " of whole numbers can make an activation of exactly zero, stored as +1\n";
  if (import.between_codes != 0)
    cases += Counted(import.between_codes, "weight") +
             " between two codes, decided by the code of 8 bits\n";
  for (const std::string& line : import.lines) cases += "  " + Printable(line) + "\n";
  return table.Text() + (cases.empty() ? "" : "\n" + cases);
}

}  // namespace lbrt
