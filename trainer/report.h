// report.html: what a run did, in one file that needs no other: curves, final accuracies beside the
// published ones, the bits that a search chose.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "network/checkpoint.h"

namespace lbrt {

// Published accuracies to stand beside: what they are of ("vanilla") and the figure as published,
// of several widths from the narrowest on.
using PublishedFigures = std::vector<std::pair<std::string, std::string>>;

// From the run's last checkpoint and the text of its metrics.csv. Throws InputError for metrics
// that are none.
std::string ReportHtml(const Checkpoint& checkpoint, const std::string& metrics,
                       const PublishedFigures& published);

// Writes `folder`/report.html from its last.pt and metrics.csv, beside what was published of such
// a network (RowsOf in trainer/published.h).
void WriteReport(const std::string& folder);

}  // namespace lbrt
