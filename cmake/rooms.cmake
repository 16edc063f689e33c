# One static library per room, linked with the rooms on the floors below it, as ARCHITECTURE.md
# draws them. A room without a source file is left out, so the tree builds while it grows.

set(ROOMS)       # every room library there is
set(ROOMS_BELOW) # those on the floors below the one being added, highest first

function(add_room room)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${room}/*.c)
  if(NOT sources)
    return()
  endif()
  add_library(room_${room} STATIC ${sources})
  target_link_libraries(room_${room} PUBLIC house ${ARGN})
  set(ROOMS ${ROOMS} room_${room} PARENT_SCOPE)
endfunction()

macro(add_floor)
  foreach(room ${ARGN})
    add_room(${room} ${ROOMS_BELOW})
  endforeach()
  set(ROOMS_BELOW ${ROOMS})
  list(REVERSE ROOMS_BELOW)
endmacro()

function(room_uses room)
  if(TARGET room_${room})
    target_link_libraries(room_${room} PRIVATE ${ARGN})
  endif()
endfunction()

add_floor(base)
add_floor(device)
add_floor(memory)
add_floor(ledger model history)
add_floor(service)
add_floor(ops)
add_floor(http socket)
set(ROOMS_OF_DAEMON ${ROOMS_BELOW})

if(TARGET room_base)
  add_room(client room_base)
  add_room(torch room_client room_base)
endif()

room_uses(base PkgConfig::jansson PkgConfig::libuv Threads::Threads)
room_uses(torch Threads::Threads ${CMAKE_DL_LIBS})
room_uses(memory m)
room_uses(history PkgConfig::sqlite3)
room_uses(http PkgConfig::libmicrohttpd PkgConfig::nettle)

# The dashboard is part of room http: web/ and uPlot, which npm brings as web/package-lock.json names it.
if(TARGET room_http)
  set(web ${CMAKE_SOURCE_DIR}/web)
  file(GLOB_RECURSE pages CONFIGURE_DEPENDS ${web}/*.html ${web}/*.css ${web}/*.js ${web}/*.svg)
  list(FILTER pages EXCLUDE REGEX node_modules)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gen/uplot/LICENSE
    COMMAND npm ci --ignore-scripts --no-audit --no-fund --silent --prefix ${web}
    COMMAND ${CMAKE_COMMAND} -E copy_directory ${web}/node_modules/uplot ${CMAKE_BINARY_DIR}/gen/uplot
    COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_BINARY_DIR}/gen/uplot/LICENSE
    DEPENDS ${web}/package-lock.json
    VERBATIM)
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/gen/page_files.c
    COMMAND ${PYTHON3} ${CMAKE_SOURCE_DIR}/tools/embed.py ${web} ${CMAKE_BINARY_DIR}/gen/uplot
      > ${CMAKE_BINARY_DIR}/gen/page_files.c
    DEPENDS ${pages} ${CMAKE_SOURCE_DIR}/tools/embed.py ${CMAKE_BINARY_DIR}/gen/uplot/LICENSE
    VERBATIM)
  target_sources(room_http PRIVATE ${CMAKE_BINARY_DIR}/gen/page_files.c)
endif()
