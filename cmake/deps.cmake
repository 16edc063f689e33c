# What Memkeep does not exist for comes from Debian, found by pkg-config and by nothing else.
# Of xxhash and vulkan only headers are used; their check is here so that their absence is named like the
# others'.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_program(PYTHON3 python3 REQUIRED)

set(missing)
foreach(lib libmicrohttpd jansson libuv libconfig nettle libcurl libxxhash sqlite3 ncursesw cmocka vulkan)
  pkg_check_modules(${lib} QUIET IMPORTED_TARGET ${lib})
  if(NOT ${lib}_FOUND)
    list(APPEND missing ${lib})
  endif()
endforeach()

if(missing)
  list(JOIN missing ", " missing)
  message(FATAL_ERROR "Not found by pkg-config: ${missing}. Run scripts/setup, then try again.")
endif()
