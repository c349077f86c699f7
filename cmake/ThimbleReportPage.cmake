# The page that `thimble report` writes: its own files in apps/report, and the modules of d3 that draw its charts, become
# arrays in the program. Debian's packages have the modules; -DTHIMBLE_D3=FOLDER takes them from elsewhere, as
# FOLDER/d3-scale/dist/d3-scale.min.js.
set(THIMBLE_D3 /usr/share/nodejs CACHE PATH "Folder of d3's modules")

function(thimble_embed_report_page target)
  set(libraries "")
  # In this order: each adds to what those before it have made. From version 3 on, d3-scale needs no d3-collection.
  foreach(module array collection color format interpolate path time time-format selection scale shape axis)
    set(file ${THIMBLE_D3}/d3-${module}/dist/d3-${module}.min.js)
    if(EXISTS ${file})
      list(APPEND libraries ${file})
    elseif(NOT module STREQUAL "collection")
      message(FATAL_ERROR "There is no ${file}, which draws the charts of `thimble report`. On Debian: apt-get install "
                          "node-d3-selection node-d3-scale node-d3-shape node-d3-axis; elsewhere, say where d3's modules "
                          "are: -DTHIMBLE_D3=FOLDER")
    endif()
  endforeach()
  set(folder ${PROJECT_SOURCE_DIR}/apps/report)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/report_assets.cpp)
  add_custom_command(OUTPUT ${output} VERBATIM
                     COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DFOLDER=${folder} "-DLIBRARIES=${libraries}"
                             -P ${folder}/embed.cmake
                     DEPENDS ${folder}/embed.cmake ${folder}/page.html ${folder}/page.css ${folder}/charts.js
                             ${folder}/sections.js ${folder}/d3-license.txt ${libraries})
  target_sources(${target} PRIVATE ${output})
  set_source_files_properties(${output} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
