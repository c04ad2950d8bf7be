/* The interface as a C99 program uses it: api_c99_test.cc calls this. */
#include <string.h>

#include "runtime/lbrt.h"

/* Runs `file` once on an image of zeros, at a width (0: the widest), with all of them prepared; the
 * number of classes, or -1 - status. */
int api_c99_run(const void* file, size_t size, int32_t bits, void* memory, size_t memory_bytes,
                float* logits, size_t most) {
  size_t model_bytes = 0, session_bytes = 0, i = 0;
  const lbrt_model* model = NULL;
  const lbrt_model* at = NULL;
  lbrt_info info;
  lbrt_session* session = NULL;
  lbrt_error error = {sizeof(lbrt_error), NULL, -1, NULL, -1, -1};
  lbrt_model_options options;
  lbrt_tensor image, output;
  lbrt_status status;
  memset(&options, 0, sizeof(options));
  options.struct_size = sizeof(options);
  options.error = &error;
  memset(&image, 0, sizeof(image));
  memset(&output, 0, sizeof(output));
  memset(&info, 0, sizeof(info));
  info.struct_size = sizeof(info);
  image.struct_size = output.struct_size = sizeof(lbrt_tensor);

  status = lbrt_model_bytes(file, size, &options, &model_bytes);
  if (status != LBRT_OK) return -1 - (int)status;
  status = lbrt_model_open(file, size, &options, memory, memory_bytes, &model);
  if (status != LBRT_OK) return -1 - (int)status;
  model_bytes = (model_bytes + LBRT_ALIGNMENT - 1) / LBRT_ALIGNMENT * LBRT_ALIGNMENT;
  status = lbrt_session_bytes(model, NULL, &session_bytes);
  if (status != LBRT_OK) return -1 - (int)status;
  status = lbrt_session_create(model, NULL, (char*)memory + model_bytes,
                               memory_bytes - model_bytes, &session);
  if (status != LBRT_OK) return -1 - (int)status;
  status = lbrt_input(session, 0, &image);
  if (status != LBRT_OK || image.type != LBRT_U8) return -1 - (int)status;
  memset(image.data, 0, (size_t)image.strides[0]);
  if (bits != 0) {
    status = lbrt_model_at(model, bits, &at);
    if (status != LBRT_OK) return -1 - (int)status;
    status = lbrt_model_info(at, &info);
    if (status != LBRT_OK || info.bits != bits) return -1 - (int)status;
    status = lbrt_set_width(session, bits);
    if (status != LBRT_OK) return -1 - (int)status;
  }
  status = lbrt_run(session);
  if (status != LBRT_OK) return -1 - (int)status;
  status = lbrt_output_by_name(session, "logits", &output);
  if (status != LBRT_OK) return -1 - (int)status;
  for (i = 0; i < (size_t)output.shape[3] && i < most; ++i)
    logits[i] = ((const float*)output.data)[i];
  return output.shape[3];
}
