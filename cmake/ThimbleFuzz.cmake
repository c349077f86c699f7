# Lets the fuzz targets (tests/fuzz) see which code an input reaches, in the sources that read files or make something of
# what is in them. Kernels are left out: they would only become slower.
function(thimble_fuzz_options target)
  get_target_property(sources ${target} SOURCES)
  set(in_core "attributes|dtype|op|platform/(io_error|mapped_file)|shape|text")
  set(in_nn "([^/]*|(data|graph|inference|layers|training)/[^/]*)")
  list(FILTER sources INCLUDE REGEX
       "/(serialization/[^/]*|nn/${in_nn}|quant/layers/[^/]*|core/(${in_core}))\\.cpp$")
  set_property(SOURCE ${sources} APPEND PROPERTY COMPILE_OPTIONS -fsanitize=fuzzer-no-link)
  list(FILTER sources INCLUDE REGEX "/serialization/(attributes_json|graph_json|safetensors_header)\\.cpp$")
  set_property(SOURCE ${sources} APPEND PROPERTY COMPILE_OPTIONS
               -fsanitize-coverage-ignorelist=${PROJECT_SOURCE_DIR}/cmake/ThimbleFuzzIgnored.txt)
endfunction()
