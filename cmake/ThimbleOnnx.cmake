# thimble::onnx, a library of its own: who imports no ONNX model loads no protobuf.
find_package(Protobuf REQUIRED)
find_path(ONNX_INCLUDE_DIR onnx/onnx_pb.h REQUIRED)
find_library(ONNX_PROTO_LIBRARY onnx_proto REQUIRED)

file(GLOB THIMBLE_ONNX_SOURCES CONFIGURE_DEPENDS serialization/onnx/*.cpp)
# ONNX's messages, with the definition that Debian's package was made with.
add_library(thimble_onnx_messages INTERFACE)
target_compile_definitions(thimble_onnx_messages INTERFACE ONNX_ML)
target_include_directories(thimble_onnx_messages SYSTEM INTERFACE ${ONNX_INCLUDE_DIR})
target_link_libraries(thimble_onnx_messages INTERFACE ${ONNX_PROTO_LIBRARY} protobuf::libprotobuf)

# Object files, which tests link as they do the library's.
add_library(thimble_onnx_objects OBJECT ${THIMBLE_ONNX_SOURCES})
target_include_directories(thimble_onnx_objects PRIVATE ${PROJECT_BINARY_DIR}/include)
target_link_libraries(thimble_onnx_objects PRIVATE thimble_options thimble_onnx_messages)
target_compile_options(thimble_onnx_objects PRIVATE ${THIMBLE_LEVEL_2})
set_target_properties(thimble_onnx_objects PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                                      VISIBILITY_INLINES_HIDDEN ON)
thimble_compile_together(thimble_onnx_objects)
if(THIMBLE_FUZZ)
  target_compile_options(thimble_onnx_objects PRIVATE -fsanitize=fuzzer-no-link)
endif()

add_library(thimble_onnx SHARED $<TARGET_OBJECTS:thimble_onnx_objects>)
add_library(thimble::onnx ALIAS thimble_onnx)
target_link_libraries(thimble_onnx PUBLIC thimble PRIVATE thimble_options thimble_onnx_messages)
set_target_properties(thimble_onnx PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME onnx
                                              VERSION ${PROJECT_VERSION} SOVERSION ${soversion})
install(TARGETS thimble_onnx EXPORT thimbleTargets)
