# Every test file is one ctest: tests/unit/test_x.c, tests/device_suite.c, tests/e2e/test_x.py,
# tests/tools/test_x.py and tests/web/test_x.mjs. An e2e file with `_serial` in its name runs alone. What several C tests
# share is in tests/unit/x_fixture.c.

# What unit tests link of a program: all but its main.c, and only where they include it.
function(add_parts folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.c)
  list(REMOVE_ITEM sources ${CMAKE_SOURCE_DIR}/src/${folder}/main.c)
  if(NOT sources)
    return()
  endif()
  add_library(parts_${folder} STATIC EXCLUDE_FROM_ALL ${sources})
  target_link_libraries(parts_${folder} PUBLIC house)
  foreach(lib ${ARGN})
    if(TARGET ${lib})
      target_link_libraries(parts_${folder} PUBLIC ${lib})
    endif()
  endforeach()
endfunction()

add_parts(daemon ${ROOMS_OF_DAEMON} PkgConfig::libconfig)
add_parts(worker room_model room_device room_base)
add_parts(vault room_base)
add_parts(cli room_client room_base PkgConfig::libcurl PkgConfig::ncursesw)
target_include_directories(parts_cli PUBLIC ${CMAKE_BINARY_DIR})
add_dependencies(parts_cli memkeep) # it makes cli_table.h

function(link_parts name source)
  foreach(folder daemon worker vault cli)
    file(STRINGS ${source} used REGEX "^#include \"${folder}/")
    if(used AND TARGET parts_${folder})
      target_link_libraries(${name} PRIVATE parts_${folder})
    endif()
  endforeach()
endfunction()

function(add_c_program folder source)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  link_parts(${name} ${source})
  target_link_libraries(${name} PRIVATE house ${ROOMS} ${ARGN})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/${folder})
endfunction()

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/unit/*_fixture.c)
set(FIXTURES)
if(sources AND TARGET room_service)
  add_library(fixtures STATIC ${sources})
  target_link_libraries(fixtures PUBLIC room_service PkgConfig::cmocka)
  set(FIXTURES fixtures)
endif()

file(GLOB sources CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/tests/unit/test_*.c ${CMAKE_SOURCE_DIR}/tests/device_suite.c)
foreach(source ${sources})
  add_c_program(tests ${source} ${FIXTURES} PkgConfig::cmocka)
  get_filename_component(name ${source} NAME_WE)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600) # test_load: 90 s under TSan beside a busy neighbour
endforeach()

# What a test preloads into a program: tests/shim/x.c becomes tests/x.so. A sanitizer's own allocator
# stands where such a library would stand.
if(NOT MEMKEEP_SANITIZE)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/shim/*.c)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_library(${name} MODULE ${source})
    target_link_libraries(${name} PRIVATE house)
    set_target_properties(${name} PROPERTIES
      PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  endforeach()
endif()

# The same, as part of tests of one file.
target_sources(test_os_drm_query PRIVATE tests/shim/fake_intel.c)
target_sources(test_vulkan_truth PRIVATE tests/shim/fake_intel.c)

# Kernels' own text, without a card.
foreach(name test_cuda_kernels test_fake_ptx)
  target_sources(${name} PRIVATE tests/fake_ptx.c tests/fake_ptx_text.c tests/fake_ptx_op.c tests/fake_ptx_run.c)
endforeach()

# Clocks of the test's own.
target_link_options(test_history_faults PRIVATE LINKER:--wrap=clock_real,--wrap=clock_now)

# FAKE cards (tests/fake_libcuda.h), also as an older driver has its names, and as one that lacks one.
set(FAKE_CUDA ${CMAKE_BINARY_DIR}/tests/fake_libcuda.so)
foreach(variant "" _old _broken)
  set(name fake_libcuda${variant})
  add_library(${name} MODULE tests/fake_libcuda.c tests/fake_libnvml.c tests/fake_places.c tests/fake_pins.c
    tests/fake_kernels.c tests/fake_contexts.c tests/fake_ranges.c)
  target_link_libraries(${name} PRIVATE house Threads::Threads)
  string(TOUPPER "FAKE${variant}" word)
  target_compile_definitions(${name} PRIVATE ${word})
  set_target_properties(${name} PROPERTIES
    PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()

# What is declared in src/device/cuda/api.h is compared with a toolkit's header, where there is one.
file(GLOB toolkits /usr/local/cuda*/include)
find_path(CUDA_HEADER cuda.h PATHS ${toolkits} NO_DEFAULT_PATH)
if(CUDA_HEADER)
  target_include_directories(test_cuda_api SYSTEM PRIVATE ${CUDA_HEADER})
endif()

# Mesa's driver has its own tests below; here is none.
set(NO_VULKAN VK_ICD_FILENAMES=${CMAKE_BINARY_DIR}/tests/none.json)
set_tests_properties(device_suite PROPERTIES ENVIRONMENT ${NO_VULKAN})
add_test(NAME device_suite_fake_cuda COMMAND device_suite)
set_tests_properties(device_suite_fake_cuda PROPERTIES TIMEOUT 600 ENVIRONMENT
  "${NO_VULKAN};MEMKEEP_LIBCUDA=${FAKE_CUDA};MEMKEEP_LIBNVML=${FAKE_CUDA};FAKE_CUDA_SESSION=suite")

# Of a divided card, a part that another process owns.
add_test(NAME device_suite_fake_mig COMMAND device_suite)
set_tests_properties(device_suite_fake_mig PROPERTIES TIMEOUT 600 ENVIRONMENT
  "${NO_VULKAN};MEMKEEP_LIBCUDA=${FAKE_CUDA};MEMKEEP_LIBNVML=${FAKE_CUDA};FAKE_CUDA_SESSION=suite-mig;FAKE_CUDA_MIG=0:2;FAKE_CUDA_BYTES=4294967296;CUDA_VISIBLE_DEVICES=MIG-fafafafa-fafa-fafa-fafa-fafafafafa02")

# Vulkan on Mesa's software driver: one card, or the same twice; bare, or as tests/vk_pretend.h has it.
add_library(vk_pretend MODULE tests/vk_pretend.c tests/vk_pretend_heap.c tests/vk_pretend_link.c
  tests/vk_pretend_queues.c tests/vk_pretend_dmabuf.c)
target_link_libraries(vk_pretend PRIVATE house Threads::Threads)
set_target_properties(vk_pretend PROPERTIES
  PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
configure_file(tests/vk_pretend.json ${CMAKE_BINARY_DIR}/tests/vulkan/vk_pretend.json)
file(GLOB drivers /usr/share/vulkan/icd.d/lvp_icd.*.json)
if(NOT drivers)
  message(FATAL_ERROR "Not found: Mesa's software driver for Vulkan. Run scripts/setup, then try again.")
endif()
foreach(card 0 1)
  configure_file(${drivers} ${CMAKE_BINARY_DIR}/tests/vulkan/card${card}.json COPYONLY)
endforeach()
# What the driver's globals hold when it is unloaded would count as leaked: there it stays in memory.
if(MEMKEEP_SANITIZE)
  file(READ ${drivers} driver)
  string(JSON library GET ${driver} ICD library_path)
  file(WRITE ${CMAKE_BINARY_DIR}/tests/vulkan/stay.c "")
  add_library(vk_stay MODULE ${CMAKE_BINARY_DIR}/tests/vulkan/stay.c)
  target_link_options(vk_stay PRIVATE -Wl,-z,nodelete,--no-as-needed ${library})
  set_target_properties(vk_stay PROPERTIES
    PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  string(JSON driver SET ${driver} ICD library_path "\"${CMAKE_BINARY_DIR}/tests/vk_stay.so\"")
  foreach(card 0 1)
    file(WRITE ${CMAKE_BINARY_DIR}/tests/vulkan/card${card}.json ${driver})
  endforeach()
endif()
set(VULKAN_ENVIRONMENT VK_ICD_FILENAMES=${CMAKE_BINARY_DIR}/tests/vulkan/card0.json
  VK_LAYER_PATH=${CMAKE_BINARY_DIR}/tests/vulkan:/usr/share/vulkan/explicit_layer.d)

foreach(variant "" _pretend)
  set(name device_suite_vulkan${variant})
  add_test(NAME ${name} COMMAND device_suite)
  set(layers VK_LAYER_KHRONOS_validation)
  if(variant)
    string(APPEND layers :VK_LAYER_MEMKEEP_pretend)
  endif()
  set(environment ${VULKAN_ENVIRONMENT} VK_INSTANCE_LAYERS=${layers})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT "${environment}"
    FAIL_REGULAR_EXPRESSION "vulkan:0: left out;VUID-;Validation Error")
endforeach()
set_tests_properties(test_vulkan_owner test_vulkan_mover test_vulkan_truth test_vulkan_batch test_vulkan_flow
  test_vulkan_peer PROPERTIES
  FAIL_REGULAR_EXPRESSION "VUID-;Validation Error")

foreach(kind e2e tools)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${kind}/test_*.py)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE test_ ${kind}_ name ${name})
    add_test(NAME ${name} COMMAND ${PYTHON3} ${source} -v)
    string(FIND ${name} _serial serial)
    if(serial GREATER -1)
      set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
    set(environment MEMKEEP_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY} MEMKEEP_SOURCE=${CMAKE_SOURCE_DIR}
      PYTHONPATH=${CMAKE_SOURCE_DIR}/tests/e2e PYTHONDONTWRITEBYTECODE=1)
    set_tests_properties(${name} PROPERTIES TIMEOUT 900 ENVIRONMENT "${environment}")
  endforeach()
endforeach()

# python/memkeep, by Debian's interpreter: that one has numpy and torch. Its process cannot load a library that wants a
# sanitizer's runtime.
find_program(PYTHON3_DEBIAN python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
if(NOT MEMKEEP_SANITIZE)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/python/test_*.py)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(REPLACE test_ python_ name ${name})
    add_test(NAME ${name} COMMAND ${PYTHON3_DEBIAN} ${source} -v)
    set(path ${CMAKE_SOURCE_DIR}/python:${CMAKE_SOURCE_DIR}/tests/e2e)
    set(environment MEMKEEP_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY} MEMKEEP_LIB=${LIBRARY_DIR} PYTHONPATH=${path}
      PYTHONDONTWRITEBYTECODE=1)
    set_tests_properties(${name} PROPERTIES TIMEOUT 900 ENVIRONMENT "${environment}")
  endforeach()
endif()

# The dashboard, in a real browser.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/web/test_*.mjs)
foreach(source ${sources})
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE test_ web_ name ${name})
  add_test(NAME ${name} COMMAND node --test ${source})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900 ENVIRONMENT
    "MEMKEEP_BIN=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};MEMKEEP_BUILD=${CMAKE_BINARY_DIR}")
endforeach()

# Those of more than half a minute begin first: at the end nobody waits for one of them alone.
foreach(name e2e_http_hostile e2e_analytics e2e_nth_fails e2e_errors e2e_faults e2e_torture e2e_models_policy e2e_restart_vault
    e2e_history_faults python_torch_wire python_endings web_parts web_page)
  if(TEST ${name})
    set_tests_properties(${name} PROPERTIES COST 60)
  endif()
endforeach()

# Benchmarks: built by `make bench` only.
add_custom_target(benches)
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/bench_*.c)
foreach(source ${sources})
  add_c_program(bench ${source})
  get_filename_component(name ${source} NAME_WE)
  set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  add_dependencies(benches ${name})
endforeach()
