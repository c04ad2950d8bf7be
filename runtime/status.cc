#include "runtime/lbrt.h"

const char* lbrt_status_text(lbrt_status status) {
  switch (status) {
    case LBRT_OK: return "all is well";
    case LBRT_BAD_ARGUMENT: return "an argument is null, out of range or of an unknown version";
    case LBRT_MISALIGNED: return "memory does not begin at a multiple of 16 bytes";
    case LBRT_NOT_A_MODEL: return "not a .lbm model";
    case LBRT_BAD_VERSION: return "a .lbm model of another version of the format";
    case LBRT_NEEDS_FEATURE: return "the model needs a feature that this build does not have";
    case LBRT_TRUNCATED: return "the model is cut off";
    case LBRT_BAD_CHECKSUM: return "the model is damaged: a checksum is wrong";
    case LBRT_BAD_MODEL: return "the model contradicts itself";
    case LBRT_UNKNOWN_ISA: return "no such instruction set on this CPU";
    case LBRT_TOO_LITTLE_MEMORY: return "too little memory was given";
    case LBRT_BAD_WIDTH: return "the model cannot run at that many bits per weight";
  }
  return "an unknown status";
}
