# Writes OUTPUT, a C++ source with the contents of the report page's files as arrays:
#   cmake -DOUTPUT=FILE -DFOLDER=apps/report "-DLIBRARIES=FILE;FILE" -P embed.cmake
function(embed name)
  set(bytes "")
  foreach(file IN LISTS ARGN)
    file(READ "${file}" hex HEX)
    string(APPEND bytes "${hex}0a")  # a file may end without a new line
  endforeach()
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${bytes}")
  string(REPLACE "'\\x0a'," "'\\n',\n" bytes "${bytes}")
  set(text "${text}constexpr char k${name}Bytes[] = {\n${bytes}};\n" PARENT_SCOPE)
  set(views "${views}const std::string_view k${name}(k${name}Bytes, sizeof(k${name}Bytes));\n" PARENT_SCOPE)
endfunction()

set(text "")
set(views "")
embed(PageTemplate ${FOLDER}/page.html)
embed(PageStyle ${FOLDER}/page.css)
embed(PageScript ${FOLDER}/charts.js ${FOLDER}/sections.js)
embed(LibraryLicense ${FOLDER}/d3-license.txt)
embed(PageLibraries ${LIBRARIES})
file(WRITE ${OUTPUT} "#include \"apps/report/assets.h\"\n\nnamespace thimble::apps {\n\nnamespace {\n${text}}  // namespace\n\n"
                     "${views}\n}  // namespace thimble::apps\n")
