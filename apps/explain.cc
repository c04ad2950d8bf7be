#include "apps/explain.h"

#include <algorithm>

#include "apps/table.h"

namespace lbrt {
namespace {

std::string Result(const lbrt_op& op) {
  return std::to_string(op.shape[1]) + "x" + std::to_string(op.shape[2]) + "x" +
         std::to_string(op.shape[3]);
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

}  // namespace

void Profile::Observe(void* context, const lbrt_session*, size_t op) {
  Profile& profile = *static_cast<Profile*>(context);
  const auto now = std::chrono::steady_clock::now();
  profile.us[op].push_back(std::chrono::duration<double, std::micro>(now - profile.last).count());
  profile.last = now;
}

std::span<const float> Run(ModelRunner& runner, Profile* profile) {
  if (profile != nullptr) profile->last = std::chrono::steady_clock::now();
  return runner.Run();
}

std::string OpTable(const ModelRunner& runner, const Profile* profile) {
  std::vector<std::string> headings = {"op",     "name", "kind", "result", "precision",
                                       "kernel", "isa",  "MACs", "bytes"};
  if (profile != nullptr)
    headings.insert(headings.end(), {"us", "%", "GMAC/s"});
  else
    headings.push_back("why");
  Table table(headings);
  std::vector<double> median;
  double total = 0;
  if (profile != nullptr)
    for (const std::vector<double>& us : profile->us) total += median.emplace_back(Median(us));
  for (uint32_t i = 0; i < runner.info().ops; ++i) {
    lbrt_op op = {};
    op.struct_size = sizeof op;
    lbrt_model_op(runner.model(), i, &op);
    std::vector<std::string> cells = {std::to_string(i),
                                      op.name != nullptr ? Printable(op.name) : "",
                                      op.kind,
                                      Result(op),
                                      op.precision,
                                      op.kernel,
                                      op.isa,
                                      Grouped(op.macs),
                                      Grouped(static_cast<int64_t>(op.weight_bytes))};
    if (profile != nullptr) {
      cells.push_back(Fixed(median[i], 1));
      cells.push_back(Fixed(total > 0 ? 100 * median[i] / total : 0, 1));
      cells.push_back(median[i] > 0 ? Fixed(static_cast<double>(op.macs) / median[i] * 1e-3, 1)
                                    : "");
    } else {
      cells.push_back(op.why != nullptr ? op.why : "");
    }
    table.Add(cells);
  }
  return table.Text();
}

std::string WidthTable(const ModelRunner& runner) {
  if (runner.info().file_width_count < 2) return "";
  Table table({"width", "file bytes", "weights repacked"});
  for (const int width : runner.widths()) {
    const lbrt_model* model = nullptr;
    lbrt_info info = {};
    info.struct_size = sizeof info;
    lbrt_model_at(runner.model(), width, &model);
    lbrt_model_info(model, &info);
    table.Add({std::to_string(width), Grouped(static_cast<int64_t>(info.width_file_bytes)),
               Grouped(static_cast<int64_t>(info.width_repacked_bytes))});
  }
  return table.Text() + "(a file of so many bytes, cut by `lbconvert --truncate` or `head -c`, has "
                        "that width and those before)\n";
}

std::string Summary(const ModelRunner& runner) {
  const lbrt_info& info = runner.info();
  const auto bytes = [](size_t n) { return Grouped(static_cast<int64_t>(n)); };
  std::string text = Printable(runner.name()) + ": " + bytes(runner.file_bytes()) + " bytes, " +
                     bytes(info.weight_bytes) + " of them weights; " +
                     std::to_string(runner.classes()) + " classes; isa " + info.isa + "\n" +
                     "memory: " + bytes(info.repacked_bytes) +
                     " bytes of weights repacked, arena " + bytes(info.arena_bytes) +
                     " bytes (at least " + bytes(info.arena_lower_bound) +
                     " live at once), scratch " + bytes(info.scratch_bytes) + " bytes a thread\n" + WidthTable(runner);
  const char *key = nullptr, *value = nullptr;
  for (size_t i = 0; i < info.notes && lbrt_note(runner.model(), i, &key, &value) == LBRT_OK; ++i)
    text += KeyText(key, value != nullptr ? value : "");
  float percent = 0;
  for (size_t i = 0;
       i < info.measurements && lbrt_measurement(runner.model(), i, &key, &percent) == LBRT_OK; ++i)
    text += "measured: " + Printable(key) + ": " + Fixed(percent, 2) + " %\n";
  return text;
}

}  // namespace lbrt
