#include <stdio.h>

#include <runtime/lbrt.h>

int main(void) {
  static const char not_a_model[64];
  size_t bytes = 0;
  void* pool = lbrt_pool_create(2);
  const lbrt_status status = lbrt_model_bytes(not_a_model, sizeof(not_a_model), NULL, &bytes);
  lbrt_pool_destroy(pool);
  puts(lbrt_status_text(status));
  return lbrt_isa_name(0) != NULL && (status == LBRT_NOT_A_MODEL || status == LBRT_MISALIGNED)
             ? 0 : 1;
}
