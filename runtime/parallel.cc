// lbrt_parallel_for by pthreadpool. The one file of the runtime that knows threads; firmware builds
// leave it out.
#include <pthreadpool.h>

#include "runtime/lbrt.h"

void* lbrt_pool_create(size_t threads) { return pthreadpool_create(threads); }

void lbrt_pool_run(void* pool, size_t tasks, lbrt_task task, void* argument) {
  pthreadpool_parallelize_1d(static_cast<pthreadpool_t>(pool), task, argument, tasks, 0);
}

void lbrt_pool_destroy(void* pool) { pthreadpool_destroy(static_cast<pthreadpool_t>(pool)); }
