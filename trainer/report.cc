#include "trainer/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <sstream>

#include "images/error.h"
#include "images/file.h"
#include "network/architecture.h"
#include "network/bits.h"
#include "trainer/published.h"
#include "trainer/run.h"
#include "trainer/search.h"

namespace lbrt {
namespace {

std::string Escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else
      result += c;
  }
  return result;
}

std::string Fixed(double value, int decimals) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

// The columns of metrics.csv by name.
struct Metrics {
  std::vector<std::string> names;
  std::map<std::string, std::vector<double>> columns;

  explicit Metrics(const std::string& text) {
    std::istringstream lines(text);
    std::string line, cell;
    std::getline(lines, line);
    for (std::istringstream cells(line); std::getline(cells, cell, ',');) names.push_back(cell);
    if (names.empty() || names[0] != "epoch")
      throw InputError("metrics.csv", "begins with \"" + line.substr(0, 40) +
                                          "\", expected a header that begins with epoch");
    while (std::getline(lines, line)) {
      std::istringstream cells(line);
      for (const std::string& name : names) {
        if (!std::getline(cells, cell, ','))
          throw InputError("metrics.csv", "has a line of fewer cells than its header: " + line);
        columns[name].push_back(std::strtod(cell.c_str(), nullptr));
      }
    }
    if (columns.empty()) throw InputError("metrics.csv", "holds no epochs");
  }

  const std::vector<double>& at(const std::string& name) const {
    const auto found = columns.find(name);
    if (found == columns.end()) throw InputError("metrics.csv", "has no column " + name);
    return found->second;
  }
};

struct Curve {
  std::string name;
  const std::vector<double>* values;
};

// As many as a network can have widths.
constexpr const char* kColours[] = {"#1f6fb4", "#d1495b", "#3a7d44", "#8d5a97", "#c77d1e",
                                    "#444444", "#17a2a2", "#b8860b", "#e377c2"};

// The distance of grid lines: 1, 2 or 5 times a power of ten, about five of them.
double GridStep(double range) {
  const double rough = range / 5, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double m : {1.0, 2.0, 5.0})
    if (rough <= m * power) return m * power;
  return 10 * power;
}

// Lines over the epochs, of which `epochs` has the numbers from 0 on, as SVG.
std::string Chart(const std::string& title, const std::vector<Curve>& curves,
                  const std::vector<double>& epochs) {
  constexpr double kWidth = 640, kHeight = 300, kLeft = 56, kRight = 16, kTop = 16, kBottom = 36;
  double low = 1e300, high = -1e300;
  for (const Curve& c : curves) {
    for (const double v : *c.values) {
      if (!std::isfinite(v)) continue;
      low = std::min(low, v);
      high = std::max(high, v);
    }
  }
  if (!(high > low)) high = low + 1;
  const double step = GridStep(high - low);
  low = std::floor(low / step) * step;
  high = std::ceil(high / step) * step;
  const double first = epochs.front(), all = std::max(1.0, epochs.back() - first);
  const auto x = [&](double epoch) {
    return kLeft + (epoch - first) / all * (kWidth - kLeft - kRight);
  };
  const auto y = [&](double v) {
    return kTop + (high - v) / (high - low) * (kHeight - kTop - kBottom);
  };

  std::ostringstream svg;
  svg << "<figure><figcaption>" << Escaped(title) << "</figcaption>\n<svg viewBox=\"0 0 " << kWidth
      << " " << kHeight << "\" role=\"img\">\n";
  const int decimals = step < 1 ? static_cast<int>(std::ceil(-std::log10(step))) : 0;
  for (double v = low; v <= high + step / 2; v += step)
    svg << "<line class=\"grid\" x1=\"" << kLeft << "\" x2=\"" << kWidth - kRight << "\" y1=\""
        << y(v) << "\" y2=\"" << y(v) << "\"/><text x=\"" << kLeft - 8 << "\" y=\"" << y(v) + 4
        << "\" text-anchor=\"end\">" << Fixed(v, decimals) << "</text>\n";
  svg << "<text x=\"" << kLeft << "\" y=\"" << kHeight - 12 << "\">" << Fixed(first + 1, 0)
      << "</text><text x=\"" << kWidth - kRight << "\" y=\"" << kHeight - 12
      << "\" text-anchor=\"end\">epoch " << Fixed(epochs.back() + 1, 0) << "</text>\n";
  for (size_t i = 0; i < curves.size(); ++i) {
    const char* colour = kColours[i % std::size(kColours)];
    svg << "<polyline stroke=\"" << colour << "\" points=\"";
    for (size_t e = 0; e < curves[i].values->size(); ++e)
      if (std::isfinite((*curves[i].values)[e]))
        svg << Fixed(x(epochs[e]), 1) << "," << Fixed(y((*curves[i].values)[e]), 1) << " ";
    svg << "\"/>\n";
  }
  svg << "</svg>\n<p class=\"key\">";
  for (size_t i = 0; i < curves.size(); ++i)
    svg << "<span style=\"color:" << kColours[i % std::size(kColours)] << "\">&#9644; "
        << Escaped(curves[i].name) << "</span> ";
  svg << "</p></figure>\n";
  return svg.str();
}

// The curves whose columns begin with `prefix`, e.g. test_accuracy and its widths; none without.
std::vector<Curve> Curves(const Metrics& metrics, const std::string& prefix) {
  std::vector<Curve> curves;
  for (const std::string& name : metrics.names)
    if (name.starts_with(prefix + "_w"))
      curves.push_back({name.substr(prefix.size() + 2) + " bits", &metrics.at(name)});
  if (curves.empty() && metrics.columns.count(prefix))
    curves.push_back({"test", &metrics.at(prefix)});
  return curves;
}

std::string Row(const std::vector<std::string>& cells, const char* tag = "td") {
  std::string row = "<tr>";
  for (const std::string& cell : cells)
    row += "<" + std::string(tag) + ">" + Escaped(cell) + "</" + tag + ">";
  return row + "</tr>\n";
}

// What was published of curve number `i` of `n`, the widest width first.
std::string FigureOf(const std::string& figures, size_t i, size_t n) {
  std::istringstream words(figures);
  const std::vector<std::string> each{std::istream_iterator<std::string>(words), {}};
  return n > 1 && each.size() == n ? each[n - 1 - i] : figures;
}

// Best and last of every accuracy, beside what was published. The best epoch is chosen by the
// widest width, as the published checkpoints are.
std::string Accuracies(const Metrics& metrics, const PublishedFigures& published) {
  const std::vector<double>& widest = metrics.at("test_accuracy");
  const auto best =
      static_cast<size_t>(std::max_element(widest.begin(), widest.end()) - widest.begin());
  std::vector<std::string> head = {"test accuracy, percent", "last epoch", "best epoch"};
  for (const auto& [what, figure] : published) head.push_back("published: " + what);
  std::string table = "<table>\n" + Row(head, "th");
  const std::vector<Curve> top1 = Curves(metrics, "test_accuracy"),
                           top5 = Curves(metrics, "test_top5");
  for (size_t i = 0; i < top1.size(); ++i) {
    const auto cell = [&](size_t epoch) {
      std::string text = Fixed((*top1[i].values)[epoch], 2);
      if (!top5.empty()) text += "/" + Fixed((*top5[i].values)[epoch], 2);
      return text;
    };
    std::vector<std::string> row = {top1[i].name, cell(widest.size() - 1), cell(best)};
    for (const auto& [what, figure] : published) row.push_back(FigureOf(figure, i, top1.size()));
    table += Row(row);
  }
  return table + "</table>\n<p>" + (top5.empty() ? "" : "Top-1/top-5. ") +
         "The best epoch is number " + Fixed(metrics.at("epoch")[best] + 1, 0) + ".</p>\n";
}

// Bits of each quantized layer, as bars.
std::string Allocation(const Checkpoint& checkpoint, const Network& network) {
  const std::vector<QuantizedLayer> layers = QuantizedLayers(network);
  const bool search = IsSearch(network);
  const Architecture chosen = search ? ArchitectureOf(checkpoint.state) : Architecture();
  std::string table =
      "<h2>Bits of each layer</h2>\n<table>\n" + Row({"layer", "weights", "activations"}, "th");
  for (size_t i = 0; i < layers.size(); ++i) {
    const Node& conv = network.node(layers[i].conv);
    const int w = search ? chosen.weight_bits[i] : conv.weights.bits;
    const int a = search               ? chosen.activation_bits[i]
                  : layers[i].quantize >= 0 ? network.node(layers[i].quantize).activations.bits
                                            : 0;
    const auto bar = [](int bits) {
      return "<td><span class=\"bar\" style=\"width:" + std::to_string(24 * bits) +
             "px\"></span> " + std::to_string(bits) + "</td>";
    };
    table += "<tr><td>" + Escaped(conv.name) + "</td>" + bar(w) + bar(a) + "</tr>\n";
  }
  table += "</table>\n";
  if (search) table += "<pre>" + Escaped(ArchitectureTable(network, checkpoint.state)) + "</pre>\n";
  return table;
}

bool HasBitsOfItsOwn(const Network& network) {
  return std::any_of(network.nodes.begin(), network.nodes.end(), [](const Node& node) {
    return node.weights.kind == WeightQuantizer::kEdmips;
  });
}

constexpr char kStyle[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:720px;margin:2em auto;padding:0 1em;"
    "color:#222}h1{font-size:1.4em}h2{font-size:1.1em;margin-top:2em}figure{margin:1.5em 0}"
    "figcaption{font-weight:600}svg{width:100%;font-size:11px}svg text{fill:#555}"
    ".grid{stroke:#ddd}polyline{fill:none;stroke-width:1.8}.key{margin:.2em 0;font-size:13px}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .9em .2em 0;text-align:left;"
    "border-bottom:1px solid #ddd}.bar{display:inline-block;height:.7em;background:#1f6fb4}"
    "pre{background:#f5f5f5;padding:1em;overflow:auto}";

}  // namespace

std::string ReportHtml(const Checkpoint& checkpoint, const std::string& metrics_text,
                       const PublishedFigures& published) {
  const Metrics metrics(metrics_text);
  const Network network = NetworkOf(checkpoint, "");
  const auto text = [&](const char* key) {
    const auto found = checkpoint.text.find(key);
    return found == checkpoint.text.end() ? std::string() : found->second;
  };
  const std::vector<double>& seconds = metrics.at("seconds");
  double total = 0;
  for (const double s : seconds) total += s;

  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
      Escaped(network.name) + "</title>\n<style>" + kStyle + "</style></head><body>\n<h1>" +
      Escaped(network.name) + "</h1>\n<p>" + Escaped(ArgumentsText(network.arguments)) + "; seed " +
      Escaped(text("seed")) + ", " + Escaped(text("device")) + "; " +
      std::to_string(seconds.size()) + " epochs in " + Fixed(total / 60, 1) + " minutes, " +
      Fixed(metrics.at("images_per_second").back(), 0) + " images a second.</p>\n";
  html += Accuracies(metrics, published);
  const auto chart = [&](const char* title, const std::vector<Curve>& curves) {
    html += Chart(title, curves, metrics.at("epoch"));
  };
  chart("Test accuracy, percent", Curves(metrics, "test_accuracy"));
  chart("Test loss", Curves(metrics, "test_loss"));
  chart("Training loss", Curves(metrics, "train_loss"));
  chart("Learning rate", {{"learning rate", &metrics.at("lr")}});
  if (metrics.at("complexity").back() > 0)
    chart("Complexity, normalised", {{"complexity", &metrics.at("complexity")}});
  if (HasBitsOfItsOwn(network)) html += Allocation(checkpoint, network);
  return html + "<h2>Recipe</h2>\n<pre>" + Escaped(text("recipe")) + "</pre>\n</body></html>\n";
}

void WriteReport(const std::string& folder) {
  const Checkpoint checkpoint = ReadCheckpoint(folder + "/last.pt");
  PublishedFigures published;
  for (const PublishedRow* row : RowsOf(RecipeOf(checkpoint, folder + "/last.pt")))
    if (std::string_view(row->what) != "search")  // whose figure is none of accuracy
      published.emplace_back(row->what, row->figure);
  const std::vector<uint8_t> metrics = ReadFile(folder + "/metrics.csv");
  AtomicFile file(folder + "/report.html");
  file.Write(ReportHtml(checkpoint, std::string(metrics.begin(), metrics.end()), published));
  file.Commit();
}

}  // namespace lbrt
