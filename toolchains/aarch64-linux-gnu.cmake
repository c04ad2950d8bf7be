# 64-bit ARM Linux, built with Debian's cross compiler against a sysroot of its packages
# (scripts/cross-sysroot.sh arm64 build/sysroot-arm64) and run under qemu-user. Another CPU per run:
# QEMU_CPU=cortex-a53 ctest.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(LBRT_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build/sysroot-arm64 CACHE PATH "Unpacked packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LBRT_SYSROOT)
get_filename_component(sysroot ${LBRT_SYSROOT} ABSOLUTE)
if(NOT EXISTS ${sysroot}/.complete)
  message(FATAL_ERROR "No sysroot in ${sysroot}: run scripts/cross-sysroot.sh arm64 ${sysroot}")
endif()
set(CMAKE_SYSROOT ${sysroot})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR}
    ${sysroot}/usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/pkgconfig:${sysroot}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L ${sysroot})
