/* The smallest firmware that runs a model. It is linked without start files and system calls, so
 * that a heap, stdio or unwinding anywhere in it is an undefined symbol. */
#include "runtime/lbrt.h"

extern const unsigned char model_file[]; /* where a linker script would put it */
extern const size_t model_file_bytes;
const unsigned char model_file[LBRT_ALIGNMENT] = {0};
const size_t model_file_bytes = sizeof model_file;

static union {
  unsigned char bytes[16 * 1024];
  uint64_t alignment[2];
} model_memory, session_memory;

int main(void) {
  const lbrt_model* model = NULL;
  lbrt_session* session = NULL;
  lbrt_tensor input = {sizeof input}, output = {sizeof output};
  lbrt_status status = lbrt_model_open(model_file, model_file_bytes, NULL, model_memory.bytes,
                                       sizeof model_memory, &model);
  if (status == LBRT_OK)
    status = lbrt_session_create(model, NULL, session_memory.bytes, sizeof session_memory, &session);
  if (status == LBRT_OK) status = lbrt_input(session, 0, &input);
  if (status == LBRT_OK) status = lbrt_run(session);
  if (status == LBRT_OK) status = lbrt_output(session, 0, &output);
  return status == LBRT_OK ? 0 : 1;
}
