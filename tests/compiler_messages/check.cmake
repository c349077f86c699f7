# Compiles slips.cpp, and compares what the compiler says with the comment above each slip:
#   cmake -DCOMPILER=g++ -DCOMPILER_ID=GNU -DINCLUDES=build/release/include -P check.cmake
set(source ${CMAKE_CURRENT_LIST_DIR}/slips.cpp)
list(TRANSFORM INCLUDES PREPEND -I)
set(ENV{LC_ALL} C)
set(unlimited -fmax-errors=0)
if(COMPILER_ID MATCHES Clang)
  set(unlimited -ferror-limit=0)
endif()
execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only ${unlimited} ${INCLUDES} ${source}
                RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(status EQUAL 0)
  message(FATAL_ERROR "${COMPILER} takes ${source}")
endif()

# One item an error with the notes behind it; lists in CMake have no use for brackets and semicolons.
string(REGEX REPLACE "[][;]" " " said "${said}")
string(REGEX REPLACE "\n([^\n]*: error: )" ";\\1" errors "${said}")

file(STRINGS ${source} lines)
set(number 0)
set(slips 0)
foreach(line IN LISTS lines)
  math(EXPR number "${number} + 1")
  if(line MATCHES "// says: (.*)")
    set(expected "${CMAKE_MATCH_1}")
    math(EXPR slip "${number} + 1")
    math(EXPR slips "${slips} + 1")
    set(found ${errors})
    list(FILTER found INCLUDE REGEX "slips\\.cpp:${slip}:[0-9]+: error: ")
    if(NOT found MATCHES "${expected}")
      message(SEND_ERROR "line ${slip} should say ${expected}, says: ${found}")
    endif()
    list(FILTER errors EXCLUDE REGEX "slips\\.cpp:${slip}:[0-9]+: error: ")
  endif()
endforeach()

# What is left is about something else, such as a header that is not found.
list(FILTER errors INCLUDE REGEX ": (fatal )?error: ")
if(errors OR slips EQUAL 0)
  message(SEND_ERROR "${slips} slips; unexpected: ${errors}")
endif()
