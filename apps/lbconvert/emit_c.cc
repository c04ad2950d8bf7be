#include "apps/lbconvert/emit_c.h"

#include <cstdio>
#include <filesystem>
#include <set>

#include "apps/model_runner.h"
#include "images/error.h"
#include "images/file.h"

namespace lbrt {
namespace {

void WriteText(const std::string& path, const std::string& text) {
  AtomicFile file(path);
  file.Write(text);
  file.Commit();
}

std::string Bytes(const std::vector<uint8_t>& bytes) {
  std::string text;
  text.reserve(5 * bytes.size() + bytes.size() / 16);
  for (size_t i = 0; i < bytes.size(); ++i)
    text += std::to_string(bytes[i]) + (i % 20 == 19 ? ",\n" : ",");
  return text;
}

// "conv 1x1 (xor_popcount)", each kind once.
std::set<std::string> OpsOf(const ModelRunner& runner) {
  std::set<std::string> kinds;
  for (const int width : runner.widths().empty() ? std::vector<int>{0} : runner.widths()) {
    const lbrt_model* model = runner.model();
    if (width != 0) lbrt_model_at(runner.model(), width, &model);
    lbrt_info info = {};
    info.struct_size = sizeof info;
    lbrt_model_info(model, &info);
    for (uint32_t i = 0; i < info.ops; ++i) {
      lbrt_op op = {};
      op.struct_size = sizeof op;
      lbrt_model_op(model, i, &op);
      kinds.insert(std::string(op.kind) + " " + op.precision + " (" + op.kernel + ")");
    }
  }
  return kinds;
}

// What the model and a session take with the firmware's instruction set. Pointers are as long as
// this machine's, so that a 32-bit one takes a little less.
struct Memory {
  size_t model = 0, session = 0;
};
Memory MemoryOf(const std::vector<uint8_t>& file, const ModelRunner& runner) {
  Memory memory;
  lbrt_model_options options = {};
  options.struct_size = sizeof options;
  options.isa = "scalar";
  lbrt_model_bytes(file.data(), file.size(), &options, &memory.model);
  lbrt_session_bytes(runner.model(), nullptr, &memory.session);
  return memory;
}

std::string Header(const std::vector<uint8_t>& file, const ModelRunner& runner,
                   const std::string& source) {
  const Memory memory = MemoryOf(file, runner);
  const lbrt_tensor& input = runner.input();
  std::string ops;
  for (const std::string& op : OpsOf(runner)) ops += " *   " + op + "\n";
  const auto define = [](const std::string& name, size_t value, const std::string& comment) {
    return "#define " + name + " " + std::to_string(value) + " /* " + comment + " */\n";
  };
  std::string text = "/* The lbrt model " + source + ". Ops in use:\n" + ops + " */\n" +
                     "#ifndef MODEL_H_\n#define MODEL_H_\n\n" +
                     define("MODEL_BYTES", file.size(), "model_file, read-only") +
                     define("MODEL_ARENA_BYTES", runner.info().arena_bytes,
                            "activations, part of a session's memory") +
                     "/* Memory of the model and of a session with the instruction set \"scalar\", "
                     "the one of firmware:\n * lbrt_model_bytes and lbrt_session_bytes on a 64-bit "
                     "machine. They need a little less where\n * pointers are shorter. */\n" +
                     define("MODEL_MEMORY_BYTES", memory.model, "lbrt_model_open") +
                     define("MODEL_SESSION_BYTES", memory.session, "lbrt_session_create") +
                     define("MODEL_CLASSES", static_cast<size_t>(runner.classes()), "outputs");
  text += "/* Input: " + std::string(input.type == LBRT_U8 ? "uint8_t" : "float") + " [" +
          std::to_string(input.shape[1]) + "][" + std::to_string(input.shape[2]) + "][" +
          std::to_string(input.shape[3]) + "], height, width, channels */\n";
  return text +
         "\n#if defined(__GNUC__)\n"
         "#define MODEL_ALIGNED __attribute__((aligned(16))) /* LBRT_ALIGNMENT */\n"
         "#else\n"
         "#define MODEL_ALIGNED _Alignas(16) /* C11 */\n"
         "#endif\n\n"
         "extern const unsigned char model_file[MODEL_BYTES];\n\n#endif /* MODEL_H_ */\n";
}

std::string Data(const std::vector<uint8_t>& file, const std::string& source) {
  return "/* The lbrt model " + source +
         ". */\n#include \"model.h\"\n\n"
         "MODEL_ALIGNED const unsigned char model_file[MODEL_BYTES] = {\n" +
         Bytes(file) + "};\n";
}

constexpr char kMain[] =
    R"(/* Runs the model once on a test pattern and prints its outputs, as the bits of floats.
 *
 * On a host:
 *   cc main.c model.c -I LBRT LBRT/build/release/runtime/liblbrt.a \
 *     -lpthreadpool -lcpuinfo -lstdc++ -lm
 * For a Cortex-M4, with the start-up code and linker script of the board; qemu's AN386 for one, on
 * which printf is the debugger's (semihosting):
 *   arm-none-eabi-gcc -Os -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
 *     --specs=rdimon.specs main.c model.c -I LBRT LBRT/build/cortex-m4/runtime/liblbrt.a -lm \
 *     LBRT/tests/firmware/mps2_an386.c -T LBRT/tests/firmware/mps2_an386.ld
 *   qemu-system-arm -M mps2-an386 -nographic -semihosting-config enable=on,target=native \
 *     -kernel a.out
 * where LBRT is the folder of lbrt's sources. */
)"
    "#include <stdio.h>\n\n"
    "#include \"model.h\"\n"
    "#include \"runtime/lbrt.h\"\n"
    R"(
static MODEL_ALIGNED unsigned char model_memory[MODEL_MEMORY_BYTES];
static MODEL_ALIGNED unsigned char session_memory[MODEL_SESSION_BYTES];

static int Failed(lbrt_status status) {
  if (status != LBRT_OK) printf("%s\n", lbrt_status_text(status));
  return status != LBRT_OK;
}

int main(void) {
  const lbrt_model* model = NULL;
  lbrt_session* session = NULL;
  lbrt_model_options options = {.struct_size = sizeof options, .isa = "scalar"}; /* see model.h */
  lbrt_tensor input = {.struct_size = sizeof input}, output = {.struct_size = sizeof output};
  size_t i, n;
  if (Failed(lbrt_model_open(model_file, MODEL_BYTES, &options, model_memory,
                             sizeof model_memory, &model)) ||
      Failed(lbrt_session_create(model, NULL, session_memory, sizeof session_memory, &session)))
    return 1;

  if (Failed(lbrt_input(session, 0, &input))) return 1;
  n = (size_t)input.shape[1] * input.shape[2] * input.shape[3];
  for (i = 0; i < n; ++i) { /* yours: the image, or the network's own float input */
    const unsigned char value = (unsigned char)(i * 37 + 11);
    if (input.type == LBRT_U8)
      ((uint8_t*)input.data)[i] = value;
    else
      ((float*)input.data)[i] = value / 128.0f - 1;
  }
  if (Failed(lbrt_run(session)) || Failed(lbrt_output(session, 0, &output))) return 1;

  for (i = 0; i < MODEL_CLASSES; ++i)
    printf("0x%08lx\n", (unsigned long)((const uint32_t*)output.data)[i]);
  return 0;
}
)";

}  // namespace

void EmitC(const std::vector<uint8_t>& file, const std::string& source,
           const std::string& folder) {
  RunnerOptions options;
  options.isa = "scalar";
  options.all_widths = true;
  const ModelRunner runner(file, source, options);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw InputError(folder, "cannot be made: " + error.message());
  WriteText(folder + "/model.h", Header(file, runner, source));
  WriteText(folder + "/model.c", Data(file, source));
  WriteText(folder + "/main.c", kMain);
}

}  // namespace lbrt
