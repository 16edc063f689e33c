include(GNUInstallDirs)

get_property(programs GLOBAL PROPERTY MEMKEEP_PROGRAMS)
if(programs)
  install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES docs/access.md docs/vault.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# The units name the programs where they will be, whatever the prefix.
foreach(unit memkeepd.service memkeep-vault.service)
  configure_file(packaging/${unit}.in ${CMAKE_BINARY_DIR}/packaging/${unit} @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/packaging/${unit} DESTINATION lib/systemd/system)
endforeach()
