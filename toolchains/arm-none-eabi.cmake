# Bare-metal ARM with newlib. The preset chooses the core by LBRT_CPU_FLAGS; the default is a
# Cortex-M4 with its single-precision FPU.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)  # there is no program without a linker script

set(LBRT_CPU_FLAGS "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16" CACHE STRING "The core")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LBRT_CPU_FLAGS)
set(CMAKE_C_FLAGS_INIT "-mthumb ${LBRT_CPU_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "-mthumb ${LBRT_CPU_FLAGS}")

# Nothing of the host's but FlatBuffers' headers, which schema/ links into a folder of their own.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(CMAKE_INCLUDE_PATH /usr/include)
