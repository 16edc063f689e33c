# libmemkeep, into build/lib/: the public header's functions (mk_…), what client/ and base/ do for
# them inside. The shared library's version script and, in the static one, `ld -r` and objcopy see to
# it that nothing else can be linked against, or clash with a program's own names. Whoever adds a
# function adds it to libmemkeep.map.

set(LIBRARY_DIR ${CMAKE_BINARY_DIR}/lib)
set(LIBRARY_MAP ${CMAKE_SOURCE_DIR}/cmake/libmemkeep.map)

target_include_directories(room_client PUBLIC ${CMAKE_SOURCE_DIR}/include)

add_library(libmemkeep SHARED $<TARGET_PROPERTY:room_client,SOURCES>)
target_include_directories(libmemkeep PRIVATE ${CMAKE_SOURCE_DIR}/include)
target_link_libraries(libmemkeep PRIVATE house room_base)
target_link_options(libmemkeep PRIVATE -Wl,--version-script=${LIBRARY_MAP} -Wl,--exclude-libs,ALL)
if(NOT MEMKEEP_SANITIZE)
  target_link_options(libmemkeep PRIVATE -Wl,-z,defs) # a sanitizer's runtime is in the program
endif()
set_target_properties(libmemkeep PROPERTIES
  OUTPUT_NAME memkeep
  EXPORT_COMPILE_COMMANDS OFF # room_client's say the same; clang-tidy 14 errs over files with two
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LINK_DEPENDS ${LIBRARY_MAP}
  LIBRARY_OUTPUT_DIRECTORY ${LIBRARY_DIR})

# ld takes from base/ what client/ needs, and nothing else.
set(merged ${CMAKE_BINARY_DIR}/libmemkeep.o)
add_custom_command(
  OUTPUT ${LIBRARY_DIR}/libmemkeep.a
  COMMAND ${CMAKE_LINKER} -r -o ${merged} $<TARGET_OBJECTS:libmemkeep> $<TARGET_FILE:room_base>
  COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=mk_* ${merged}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${LIBRARY_DIR}/libmemkeep.a
  COMMAND ${CMAKE_AR} rcs ${LIBRARY_DIR}/libmemkeep.a ${merged}
  DEPENDS libmemkeep room_base $<TARGET_OBJECTS:libmemkeep>
  COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(libmemkeep_static ALL DEPENDS ${LIBRARY_DIR}/libmemkeep.a)

# libmemkeep_torch, PyTorch's allocator, beside it: the functions of src/torch/memkeep_torch.h, with
# all that they need of libmemkeep inside.
set(TORCH_MAP ${CMAKE_SOURCE_DIR}/cmake/libmemkeep_torch.map)
add_library(libmemkeep_torch SHARED $<TARGET_PROPERTY:room_torch,SOURCES>)
target_link_libraries(libmemkeep_torch PRIVATE house room_client room_base ${CMAKE_DL_LIBS})
target_link_options(libmemkeep_torch PRIVATE -Wl,--version-script=${TORCH_MAP} -Wl,--exclude-libs,ALL)
if(NOT MEMKEEP_SANITIZE)
  target_link_options(libmemkeep_torch PRIVATE -Wl,-z,defs)
endif()
set_target_properties(libmemkeep_torch PROPERTIES
  OUTPUT_NAME memkeep_torch
  EXPORT_COMPILE_COMMANDS OFF
  VERSION ${PROJECT_VERSION}
  SOVERSION 0
  LINK_DEPENDS ${TORCH_MAP}
  LIBRARY_OUTPUT_DIRECTORY ${LIBRARY_DIR})
