# Fuzz targets (libFuzzer), with clang only: `make fuzz`. fuzz/fuzz_x.c becomes the program fuzz_x
# (linked with the rooms and the parts of a program that it includes) and a short run over copies of
# fuzz/corpus/x, which the suite of that build folder includes.

option(MEMKEEP_FUZZ "Build the fuzz targets; needs clang" OFF)
if(NOT MEMKEEP_FUZZ)
  return()
endif()
if(NOT CMAKE_C_COMPILER_ID MATCHES Clang)
  message(FATAL_ERROR "MEMKEEP_FUZZ needs clang: cmake -DCMAKE_C_COMPILER=clang …")
endif()

target_compile_options(house INTERFACE -Wno-unknown-warning-option) # house.cmake speaks to gcc

add_custom_target(fuzz)
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c)
foreach(source ${sources})
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE fuzz_ "" corpus ${name})
  add_executable(${name} EXCLUDE_FROM_ALL ${source})
  link_parts(${name} ${source})
  target_link_libraries(${name} PRIVATE -fsanitize=fuzzer)
  foreach(room ${ROOMS})
    string(REPLACE room_ "" folder ${room})
    file(STRINGS ${source} used REGEX "^#include \"${folder}/")
    if(used)
      target_link_libraries(${name} PRIVATE ${room})
    endif()
  endforeach()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  add_dependencies(fuzz ${name})
  # What is found goes into the first folder, never into the tree.
  file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz/found/${corpus})
  add_test(NAME ${name}
    COMMAND ${name} -max_total_time=5 -max_len=4096 -timeout=5
      ${CMAKE_BINARY_DIR}/fuzz/found/${corpus} ${CMAKE_SOURCE_DIR}/fuzz/corpus/${corpus}
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
endforeach()
