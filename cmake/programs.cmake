# The programs (floor 7): main and wiring, each linked with no more rooms than it may include.

function(add_program name folder)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${folder}/*.c)
  if(NOT sources)
    return()
  endif()
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE house)
  foreach(lib ${ARGN})
    if(TARGET ${lib})
      target_link_libraries(${name} PRIVATE ${lib})
    endif()
  endforeach()
  set_property(GLOBAL APPEND PROPERTY MEMKEEP_PROGRAMS ${name})
endfunction()

add_program(memkeepd daemon ${ROOMS_OF_DAEMON} PkgConfig::libconfig)
add_program(memkeep-worker worker room_model room_device room_base)
add_program(memkeep-vault vault room_base)
add_program(memkeep cli room_client room_base PkgConfig::libcurl PkgConfig::ncursesw)

# The CLI is made from the table of operations: `gen cli` and `gen routes` print what src/cli includes
# as "gen/cli_table.h" and "gen/cli_routes.h". The generator runs at build time, so that the CLI
# itself needs no ops.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/gen/*.c)
if(sources AND TARGET room_ops)
  add_executable(gen ${sources})
  target_link_libraries(gen PRIVATE room_ops)
  set_target_properties(gen PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/gen)
  add_custom_command(
    OUTPUT ${CMAKE_BINARY_DIR}/gen/cli_table.h ${CMAKE_BINARY_DIR}/gen/cli_routes.h
    COMMAND gen cli > ${CMAKE_BINARY_DIR}/gen/cli_table.h
    COMMAND gen routes > ${CMAKE_BINARY_DIR}/gen/cli_routes.h
    DEPENDS gen
    VERBATIM)
  if(TARGET memkeep)
    target_sources(memkeep PRIVATE
      ${CMAKE_BINARY_DIR}/gen/cli_table.h ${CMAKE_BINARY_DIR}/gen/cli_routes.h)
    target_include_directories(memkeep PRIVATE ${CMAKE_BINARY_DIR})
  endif()
endif()

# Completion and memkeep(1), from the CLI's own tables.
if(TARGET gen AND TARGET memkeep)
  set(MANUAL_OF fit.c globals.c glyph.c paint.c show.c show_event.c table.c verbs.c)
  list(TRANSFORM MANUAL_OF PREPEND ${CMAKE_SOURCE_DIR}/src/cli/)
  add_executable(manual ${CMAKE_SOURCE_DIR}/tools/manual/manual.c ${MANUAL_OF}
    ${CMAKE_BINARY_DIR}/gen/cli_table.h)
  target_include_directories(manual PRIVATE ${CMAKE_BINARY_DIR})
  target_link_libraries(manual PRIVATE room_base)
  set_target_properties(manual PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/gen)
  add_custom_command(
    OUTPUT ${CMAKE_BINARY_DIR}/gen/memkeep.bash ${CMAKE_BINARY_DIR}/gen/memkeep.fish
      ${CMAKE_BINARY_DIR}/gen/memkeep.1
    COMMAND manual bash > ${CMAKE_BINARY_DIR}/gen/memkeep.bash
    COMMAND manual fish > ${CMAKE_BINARY_DIR}/gen/memkeep.fish
    COMMAND manual man > ${CMAKE_BINARY_DIR}/gen/memkeep.1
    DEPENDS manual
    VERBATIM)
  add_custom_target(manuals ALL
    DEPENDS ${CMAKE_BINARY_DIR}/gen/memkeep.bash ${CMAKE_BINARY_DIR}/gen/memkeep.1)
  add_dependencies(manual memkeep) # one of them makes cli_table.h, not both at once
endif()
