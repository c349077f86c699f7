# Old paths of headers that version 0.2 moved, <thimble/nn/conv.h> for <thimble/nn/layers/conv.h>, go on working until 0.3.
# THIMBLE_OLD_HEADERS is the folder with them; all that they do is to include the new ones.
set(THIMBLE_OLD_HEADERS ${PROJECT_BINARY_DIR}/include_old)

# The headers NAME.h of the folder `from` that lie in `to` now.
function(thimble_moved_headers from to)
  foreach(name IN LISTS ARGN)
    file(CONFIGURE OUTPUT ${THIMBLE_OLD_HEADERS}/thimble/${from}/${name}.h @ONLY CONTENT
         "// Moved: include <thimble/${to}/${name}.h>.\n#pragma once\n#include <thimble/${to}/${name}.h>\n")
    install(FILES ${THIMBLE_OLD_HEADERS}/thimble/${from}/${name}.h
            DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/thimble/${from})
    string(APPEND includes "#include <thimble/${from}/${name}.h>\n")
  endforeach()
  set_property(GLOBAL APPEND_STRING PROPERTY THIMBLE_OLD_INCLUDES "${includes}")
endfunction()

thimble_moved_headers(core core/platform isa)
thimble_moved_headers(nn nn/graph graph passes trace)
thimble_moved_headers(nn nn/inference executor inference)
thimble_moved_headers(nn nn/layers activation batch_norm container conv conv_bn_relu dropout embedding fused group_norm
                      layer_norm linear pool)
thimble_moved_headers(nn nn/training eval_mode evaluate)
thimble_moved_headers(nn/optim nn/training/optim optimizer schedule)
