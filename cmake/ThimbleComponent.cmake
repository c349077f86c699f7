# A library of its own beside thimble, thimble::NAME, for those who need it alone:
#   thimble_component(NAME SOURCES SOURCE... LIBRARIES LIBRARY...)
# Its object files, thimble_NAME_objects, are for tests, which link them as they do the library's.
function(thimble_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBRARIES")
  set(objects thimble_${name}_objects)
  add_library(${objects} OBJECT ${arg_SOURCES})
  target_include_directories(${objects} PRIVATE ${PROJECT_BINARY_DIR}/include)
  target_link_libraries(${objects} PRIVATE thimble_options ${arg_LIBRARIES})
  set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                              VISIBILITY_INLINES_HIDDEN ON)
  thimble_compile_together(${objects})
  if(THIMBLE_FUZZ)
    target_compile_options(${objects} PRIVATE -fsanitize=fuzzer-no-link)
  endif()

  add_library(thimble_${name} SHARED $<TARGET_OBJECTS:${objects}>)
  add_library(thimble::${name} ALIAS thimble_${name})
  target_link_libraries(thimble_${name} PUBLIC thimble PRIVATE thimble_options ${arg_LIBRARIES})
  set_target_properties(thimble_${name} PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME ${name}
                                                   VERSION ${PROJECT_VERSION} SOVERSION ${soversion})
  install(TARGETS thimble_${name} EXPORT thimbleTargets)
endfunction()
