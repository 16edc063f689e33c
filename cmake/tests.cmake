# Every test file is one ctest: tests/unit/test_x.c, tests/device_suite.c, tests/e2e/test_x.py and
# tests/tools/test_x.py. An e2e file with `_serial` in its name runs alone. What several C tests
# share is in tests/unit/x_fixture.c.

function(add_c_program folder source)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
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
  set_tests_properties(${name} PROPERTIES TIMEOUT 120)
endforeach()

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
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 ENVIRONMENT "${environment}")
  endforeach()
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
