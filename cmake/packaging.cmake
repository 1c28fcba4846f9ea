# What is built for others and what `make install` puts where: libfam as a shared and a static library, the public headers,
# fam.pc, the program, its manual page and completion, the licence.
include(GNUInstallDirs)

# What someone who links libfam.a needs too. fam.pc finds its prefix from where it lies, so that DESTDIR, another --prefix
# and a moved folder all work.
set(FAM_PC_REQUIRES "jansson libpcre2-8 libxxhash yaml-0.1")
set(FAM_PC_LIBS "-ldnnl -lgomp -lpthread -lm")
file(RELATIVE_PATH FAM_PC_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" FAM_PC_PREFIX "${FAM_PC_PREFIX}")
configure_file(fam.pc.in fam.pc @ONLY)

# The major number is that of the binary interface.
add_library(fam_shared SHARED)
target_link_libraries(fam_shared PRIVATE fam_objects)
target_include_directories(fam_shared INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
set_target_properties(fam_shared PROPERTIES OUTPUT_NAME fam VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
if(NOT FAM_SANITIZE)
  target_link_options(fam_shared PRIVATE LINKER:--no-undefined)
endif()

# The archive that the tests link, under its public name.
set_target_properties(fam_internal PROPERTIES OUTPUT_NAME fam)

install(TARGETS fam_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS fam_internal ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET fam_program)
  install(TARGETS fam_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY include/fam DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_BINARY_DIR}/fam.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES docs/fam.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
install(FILES cli/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME fam OPTIONAL)
install(FILES LICENSE README.md CHANGELOG.md CITATION.cff DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)
