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

include(ThimbleComponent)
thimble_component(onnx SOURCES ${THIMBLE_ONNX_SOURCES} LIBRARIES thimble_onnx_messages)
target_compile_options(thimble_onnx_objects PRIVATE ${THIMBLE_LEVEL_2})
