// Images to files.
#pragma once

#include <string>

#include "images/image.h"

namespace lbrt {

// 8-bit grey or RGB PNG, written atomically.
void WritePng(const std::string& path, const Image& image);

}  // namespace lbrt
