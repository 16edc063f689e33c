# How every C file of the house is compiled: one interface target, `house`, that all targets link.
# MEMKEEP_DEBUG=1 turns on the checks that cost time (lock ranks); plain assert() is always on.

option(MEMKEEP_DEBUG "Assert lock ranks and other costly invariants" OFF)
set(MEMKEEP_SANITIZE "" CACHE STRING "Value for -fsanitize=, empty for none")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g") # CMake's own would add -DNDEBUG
set(CMAKE_C_FLAGS_DEBUG "-O1 -g3") # -Og does not inline what xxhash demands

include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

add_library(house INTERFACE)
target_include_directories(house INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_definitions(house INTERFACE _GNU_SOURCE $<$<BOOL:${MEMKEEP_DEBUG}>:MEMKEEP_DEBUG=1>)
target_compile_options(house INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes
  -Wformat=2 -Wvla -Werror
  -fvisibility=hidden -fstack-protector-strong -fstack-clash-protection)
target_link_options(house INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)

if(MEMKEEP_SANITIZE)
  # gcc's maybe-uninitialized is unreliable on instrumented code; the release build keeps it.
  target_compile_options(house INTERFACE
    -fsanitize=${MEMKEEP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)
  target_link_options(house INTERFACE -fsanitize=${MEMKEEP_SANITIZE})
else()
  target_compile_options(house INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
