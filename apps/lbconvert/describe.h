// Tables of what a file holds and of what a conversion made.
#pragma once

#include <cstdint>
#include <string>

#include "converter/lowered.h"
#include "network/checkpoint.h"
#include "network/import.h"

namespace lbrt {

// `lbconvert --describe`: of a checkpoint, its network's nodes (or its tensors, where it does not
// say which network it is of); of a model, its ops. Throws InputError for a file that is neither,
// or whose bytes are not those that were written. `network` and `arguments` as FitToNetwork takes
// them.
std::string Describe(const std::string& path, const std::string& network,
                     const Arguments& arguments);

// One line per op of a model: what it was made of, what it is, and why it stands alone or stayed
// fp32. Then what import decided about single weights.
std::string ConversionReport(const LoweredGraph& lowered, const ImportReport& import);

// "1 image", "1,000 images".
std::string Counted(int64_t n, const std::string& noun);

}  // namespace lbrt
