// lbrt_run and lbrt_set_width take nothing from the heap, nor do opening and creating.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "runtime/lbrt.h"
#include "tests/tiny_model.h"

namespace {
std::atomic<long> allocations{0};
}

// Every allocation of this program, by any library, is counted.
#if defined(__SANITIZE_ADDRESS__)
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             size_t),
                                                         void (*free_hook)(const volatile void*));
static const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, size_t) { ++allocations; }, [](const volatile void*) {});
#elif defined(__GLIBC__)
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void* malloc(size_t size) {
  ++allocations;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++allocations;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  ++allocations;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  ++allocations;
  return __libc_memalign(alignment, size);
}
}
#endif

namespace lbrt {
namespace {

TEST(Alloc, TheCounterSeesAllocations) {
  const long before = allocations;
  std::vector<int>* volatile list = new std::vector<int>(100);
  delete list;
  EXPECT_EQ(before + 2, allocations);
}

void ExpectNothingFromTheHeap(const ModelFile& model_file) {
  AlignedBytes file(model_file.Bytes());
  AlignedBytes model_memory(1 << 20), session_memory(1 << 20);
  // The first question about the CPU is cpuinfo's, which allocates once per process.
  ASSERT_NE(nullptr, lbrt_isa_name(0));

  const long before = allocations;
  size_t bytes = 0;
  const lbrt_model* model = nullptr;
  lbrt_session* session = nullptr;
  lbrt_status status = lbrt_model_bytes(file.data(), file.size(), nullptr, &bytes);
  if (status == LBRT_OK)
    status = lbrt_model_open(file.data(), file.size(), nullptr, model_memory.data(),
                             model_memory.size(), &model);
  if (status == LBRT_OK)
    status =
        lbrt_session_create(model, nullptr, session_memory.data(), session_memory.size(), &session);
  for (size_t i = 0; i < 6 && status == LBRT_OK; ++i) {
    status = lbrt_set_width(session, model_file.table.widths[i % model_file.table.widths.size()]);
    if (status == LBRT_OK) status = lbrt_run(session);
  }
  const long after = allocations;
  EXPECT_EQ(LBRT_OK, status);
  EXPECT_EQ(before, after);
}

TEST(Alloc, OpeningCreatingAndRunningTakeNothingFromTheHeap) {
  ExpectNothingFromTheHeap(TinyModel());
  ExpectNothingFromTheHeap(TinyCodesModel());
  ExpectNothingFromTheHeap(TinyOperatorsModel());
  ExpectNothingFromTheHeap(TinyWidthsModel());
}

TEST(Alloc, RunningOnAPoolTakesNothingFromTheHeap) {
  // Large enough to be divided.
  ModelFile model_file;
  Random random(1);
  const int input = model_file.AddInput(lbm::TensorType::F32, {1, 64, 64, 16});
  lbm::ConvT& conv = model_file.AddConv(input, SquareWindow(3, 1, 1), lbm::WeightKind::Sign, 16,
                                        model_file.AddSigns(RandomSigns(16 * 9 * 16, &random), 16));
  model_file.AddOutput(model_file.StoreF32(model_file.AddStage(conv)));
  AlignedBytes file(model_file.Bytes());
  AlignedBytes model_memory(1 << 20), session_memory(4 << 20);
  const lbrt_model* model = nullptr;
  ASSERT_EQ(LBRT_OK, lbrt_model_open(file.data(), file.size(), nullptr, model_memory.data(),
                                     model_memory.size(), &model));
  lbrt_session_options options = {};
  options.struct_size = sizeof(options);
  options.threads = 2;
  size_t calls = 0;
  struct Context {
    void* pool;
    size_t* calls;
  } context = {lbrt_pool_create(2), &calls};
  options.parallel_for = [](void* pointer, size_t tasks, lbrt_task task, void* argument) {
    const auto& c = *static_cast<const Context*>(pointer);
    ++*c.calls;
    lbrt_pool_run(c.pool, tasks, task, argument);
  };
  options.parallel_context = &context;
  lbrt_session* session = nullptr;
  ASSERT_EQ(LBRT_OK, lbrt_session_create(model, &options, session_memory.data(),
                                         session_memory.size(), &session));
  const long before = allocations;
  const lbrt_status status = lbrt_run(session);
  const long after = allocations;
  EXPECT_EQ(LBRT_OK, status);
  EXPECT_EQ(before, after);
  EXPECT_EQ(1u, calls) << "the work was not divided";
  lbrt_pool_destroy(context.pool);
}

}  // namespace
}  // namespace lbrt
