// C source of a model: the example builds as it stands, on a host and for a Cortex-M4, and computes
// what the model computes.
#include "apps/lbconvert/emit_c.h"

#include <bit>

#include "apps/model_runner.h"
#include "images/error.h"
#include "images/file.h"
#include "tests/run_program.h"

namespace lbrt {
namespace {

const std::string kModel = LBRT_SOURCE_DIR "/models/recu-resnet20-cifar10.lbm";

// Runs a command line of words; its output.
std::string Output(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << text;
  return text;
}

bool Has(const std::string& program) {
  return std::system(("command -v " + program + " > /dev/null 2>&1").c_str()) == 0;
}

// What main.c is to print.
std::string Expected() {
  ModelRunner runner(kModel, {});
  const lbrt_tensor& input = runner.input();
  const size_t n = static_cast<size_t>(input.shape[1] * input.shape[2] * input.shape[3]);
  for (size_t i = 0; i < n; ++i)
    static_cast<uint8_t*>(input.data)[i] = static_cast<uint8_t>(i * 37 + 11);
  std::string text;
  char line[16];
  for (const float value : runner.Run()) {
    std::snprintf(line, sizeof line, "0x%08x\n", std::bit_cast<uint32_t>(value));
    text += line;
  }
  return text;
}

TEST(EmitC, TheExampleComputesWhatTheModelDoesOnThisMachine) {
  const TemporaryFolder folder;
  EmitC(ReadFile(kModel), "recu-resnet20-cifar10.lbm", folder / "c");
  Output("cd " + (folder / "c") + " && " LBRT_C_COMPILER " " LBRT_C_FLAGS
         " -std=c99 -Wall -Wextra -Werror main.c model.c -I " LBRT_SOURCE_DIR " " LBRT_ARCHIVE
         " -lpthreadpool -lcpuinfo -lstdc++ -lm -o main");
  EXPECT_EQ(Output(folder / "c/main"), Expected());
}

TEST(EmitC, TheExampleComputesTheSameOnACortexM4) {
  if (!Has("arm-none-eabi-g++") || !Has("qemu-system-arm"))
    GTEST_SKIP() << "arm-none-eabi-g++ or qemu-system-arm is missing";
  const TemporaryFolder folder;
  EmitC(ReadFile(kModel), "recu-resnet20-cifar10.lbm", folder / "c");
  const std::string build = folder / "arm";
  Output("cmake -S " LBRT_SOURCE_DIR " -B " + build +
         " -DCMAKE_TOOLCHAIN_FILE=" LBRT_SOURCE_DIR
         "/toolchains/arm-none-eabi.cmake -DCMAKE_BUILD_TYPE=MinSizeRel -DLBRT_HOST=OFF");
  Output("cmake --build " + build + " --target lbrt");
  Output("cd " + (folder / "c") +
         " && arm-none-eabi-gcc -std=c99 -Os -Wall -Wextra -Werror -mcpu=cortex-m4 -mthumb "
         "-mfloat-abi=hard -mfpu=fpv4-sp-d16 --specs=rdimon.specs main.c model.c "
         "-I " LBRT_SOURCE_DIR " " +
         build + "/runtime/liblbrt.a -lm " LBRT_SOURCE_DIR
         "/tests/firmware/mps2_an386.c -T " LBRT_SOURCE_DIR "/tests/firmware/mps2_an386.ld -o main");
  EXPECT_EQ(Output("qemu-system-arm -M mps2-an386 -nographic "
                   "-semihosting-config enable=on,target=native -kernel " +
                   (folder / "c/main")),
            Expected());
}

TEST(EmitC, LbconvertWritesIt) {
  const TemporaryFolder folder;
  const ProgramResult result =
      RunProgram({LBRT_BIN_DIR "/lbconvert", "--emit-c", folder / "c", kModel});
  EXPECT_EQ(result.status, 0) << result.error;
  EXPECT_NE(result.out.find("main.c"), std::string::npos) << result.out;
  EmitC(ReadFile(kModel), "recu-resnet20-cifar10.lbm", folder / "want");
  for (const char* file : {"model.h", "model.c", "main.c"})
    EXPECT_EQ(TextOfFile(folder / ("c/" + std::string(file))),
              TextOfFile(folder / ("want/" + std::string(file))));
}

TEST(EmitC, TheHeaderNamesMemoryAndOps) {
  const TemporaryFolder folder;
  const std::vector<uint8_t> file = ReadFile(kModel);
  EmitC(file, "recu-resnet20-cifar10.lbm", folder / "c");
  const std::string header = TextOfFile(folder / "c/model.h");
  for (const std::string& part :
       {"#define MODEL_BYTES " + std::to_string(file.size()), std::string("conv 1x1 ("),
        std::string("uint8_t [32][32][3]"), std::string("#define MODEL_CLASSES 10 ")})
    EXPECT_NE(header.find(part), std::string::npos) << part << " in\n" << header;
}

TEST(EmitC, WhatIsNoModelIsRefusedAndLeavesNothing) {
  const TemporaryFolder folder;
  EXPECT_THROW(EmitC({1, 2, 3}, "three bytes", folder / "c"), InputError);
  EXPECT_FALSE(std::filesystem::exists(folder / "c"));
  const std::string file = folder / "file";
  AtomicFile text(file);
  text.Write("x");
  text.Commit();
  EXPECT_THROW(EmitC(ReadFile(kModel), "m", file + "/c"), InputError);
}

}  // namespace
}  // namespace lbrt
