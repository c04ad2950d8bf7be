// A model as C source, for programs that have no files: firmware.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lbrt {

// Writes to `folder`, which it makes where needed,
//   model.h  the names, the memory a session takes, the ops in use
//   model.c  the bytes of `file`
//   main.c   a program in C99 that runs the model once, and says how to build it
// `source` is what the file is called in their comments. Throws InputError for a file that is no
// usable model and where something cannot be written.
void EmitC(const std::vector<uint8_t>& file, const std::string& source, const std::string& folder);

}  // namespace lbrt
