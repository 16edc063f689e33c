include(GNUInstallDirs)

get_property(programs GLOBAL PROPERTY MEMKEEP_PROGRAMS)
if(programs)
  install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES docs/access.md docs/vault.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES packaging/memkeepd.8 packaging/memkeep-vault.8 packaging/memkeep-worker.8
  DESTINATION ${CMAKE_INSTALL_MANDIR}/man8)
if(TARGET manuals)
  install(FILES ${CMAKE_BINARY_DIR}/gen/memkeep.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${CMAKE_BINARY_DIR}/gen/memkeep.bash RENAME memkeep
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${CMAKE_BINARY_DIR}/gen/memkeep.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

# The units name the programs where they will be, whatever the prefix; `cmake --install` may have
# been given another one, so they are written again then.
foreach(unit memkeepd.service memkeep-vault.service)
  configure_file(packaging/${unit}.in ${CMAKE_BINARY_DIR}/packaging/${unit} @ONLY)
  install(CODE "
    set(CMAKE_INSTALL_FULL_BINDIR \"${CMAKE_INSTALL_BINDIR}\")
    set(CMAKE_INSTALL_FULL_DOCDIR \"${CMAKE_INSTALL_DOCDIR}\")
    foreach(dir CMAKE_INSTALL_FULL_BINDIR CMAKE_INSTALL_FULL_DOCDIR)
      cmake_path(ABSOLUTE_PATH \${dir} BASE_DIRECTORY \"\${CMAKE_INSTALL_PREFIX}\")
    endforeach()
    configure_file(\"${CMAKE_SOURCE_DIR}/packaging/${unit}.in\"
      \"${CMAKE_BINARY_DIR}/packaging/${unit}\" @ONLY)")
  install(FILES ${CMAKE_BINARY_DIR}/packaging/${unit} DESTINATION lib/systemd/system)
endforeach()
install(FILES packaging/memkeepd.socket DESTINATION lib/systemd/system)
install(FILES packaging/prometheus/memkeep.rules.yml packaging/grafana/memkeep.json DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The library: memkeep.pc for pkg-config, memkeepConfig.cmake for find_package(memkeep). Both find
# the prefix from where they lie.
if(TARGET libmemkeep)
  include(CMakePackageConfigHelpers)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/memkeep)
  file(RELATIVE_PATH PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  configure_file(cmake/memkeep.pc.in ${CMAKE_BINARY_DIR}/memkeep.pc @ONLY)
  configure_package_config_file(cmake/memkeepConfig.cmake.in ${CMAKE_BINARY_DIR}/memkeepConfig.cmake
    INSTALL_DESTINATION ${package_dir}
    PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/memkeepConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(TARGETS libmemkeep libmemkeep_torch LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES ${LIBRARY_DIR}/libmemkeep.a DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES include/memkeep/memkeep.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/memkeep)
  install(FILES ${CMAKE_BINARY_DIR}/memkeep.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  install(FILES ${CMAKE_BINARY_DIR}/memkeepConfig.cmake ${CMAKE_BINARY_DIR}/memkeepConfigVersion.cmake
    DESTINATION ${package_dir})
endif()
