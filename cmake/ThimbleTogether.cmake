# Most of the time to compile a source goes into what it includes and the templates that it shares with others, so several
# of a folder are compiled at a time (unity builds), in their order in batches. Names in anonymous namespaces must
# therefore not repeat within a floor, its tests or the program. Who works on one file may prefer
# -DTHIMBLE_COMPILE_TOGETHER=OFF.
function(thimble_compile_together target)
  if(NOT THIMBLE_COMPILE_TOGETHER)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  thimble_batch_by_folder(${target})
  if(THIMBLE_BUILD_TESTS)
    # When all is known about the sources.
    cmake_language(EVAL CODE "cmake_language(DEFER DIRECTORY [[${PROJECT_SOURCE_DIR}]] CALL thimble_test_as_one ${target})")
  endif()
endfunction()

# A new file moves others to another batch in its own folder alone: the rest need not be compiled again.
function(thimble_batch_by_folder target)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  foreach(source IN LISTS sources)
    cmake_path(ABSOLUTE_PATH source)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(RELATIVE_PATH folder BASE_DIRECTORY ${PROJECT_SOURCE_DIR})
    string(MAKE_C_IDENTIFIER ${folder} name)
    if(NOT DEFINED count_${name})
      set(count_${name} 0)
    endif()
    math(EXPR batch "${count_${name}} / 8")
    math(EXPR count_${name} "${count_${name}} + 1")
    set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${name}_${batch})
  endforeach()
endfunction()

# Which sources share a batch changes with every new file, and with what is left out of a build: a test shows the
# compiler all of them as one.
function(thimble_test_as_one target)
  get_target_property(sources ${target} SOURCES)
  get_target_property(folder ${target} SOURCE_DIR)
  list(FILTER sources INCLUDE REGEX "\\.cpp$")
  set(as_one "")
  foreach(source IN LISTS sources)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY ${folder})
    set(is_alone OFF)
    foreach(reason SKIP_UNITY_BUILD_INCLUSION INCLUDE_DIRECTORIES COMPILE_DEFINITIONS)
      get_source_file_property(value ${source} TARGET_DIRECTORY ${target} ${reason})
      if(value)
        set(is_alone ON)
      endif()
    endforeach()
    if(NOT is_alone)
      string(APPEND as_one "#include \"${source}\"\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/together/${target}.cpp CONTENT "${as_one}" @ONLY)
  set(options "$<TARGET_PROPERTY:${target},COMPILE_OPTIONS>")
  set(definitions "$<FILTER:$<TARGET_PROPERTY:${target},COMPILE_DEFINITIONS>,INCLUDE,.>")
  set(folders "$<TARGET_PROPERTY:${target},INCLUDE_DIRECTORIES>")
  if(THIMBLE_SANITIZE OR THIMBLE_SANITIZE_THREADS)
    return()  # which has nothing to do with names; the other presets ask
  endif()
  add_test(NAME together.${target} COMMAND_EXPAND_LISTS
           COMMAND ${CMAKE_CXX_COMPILER} -std=c++${CMAKE_CXX_STANDARD} -fsyntax-only "${options}"
                   "$<$<BOOL:${definitions}>:-D$<JOIN:${definitions},;-D>>" "-I$<JOIN:${folders},;-I>"
                   ${PROJECT_BINARY_DIR}/together/${target}.cpp)
endfunction()
