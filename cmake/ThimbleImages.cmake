# thimble::images, a library of its own: who reads no PNG or JPEG loads neither libpng nor libjpeg.
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)

file(GLOB THIMBLE_IMAGES_SOURCES CONFIGURE_DEPENDS nn/images/*.cpp)
# Object files, which tests link as they do the library's.
add_library(thimble_images_objects OBJECT ${THIMBLE_IMAGES_SOURCES})
target_include_directories(thimble_images_objects PRIVATE ${PROJECT_BINARY_DIR}/include)
target_link_libraries(thimble_images_objects PRIVATE thimble_options PNG::PNG JPEG::JPEG)
set_target_properties(thimble_images_objects PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden
                                                        VISIBILITY_INLINES_HIDDEN ON)
thimble_compile_together(thimble_images_objects)
if(THIMBLE_FUZZ)
  target_compile_options(thimble_images_objects PRIVATE -fsanitize=fuzzer-no-link)
endif()

add_library(thimble_images SHARED $<TARGET_OBJECTS:thimble_images_objects>)
add_library(thimble::images ALIAS thimble_images)
target_link_libraries(thimble_images PUBLIC thimble PRIVATE thimble_options PNG::PNG JPEG::JPEG)
set_target_properties(thimble_images PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME images
                                                VERSION ${PROJECT_VERSION} SOVERSION ${soversion})
install(TARGETS thimble_images EXPORT thimbleTargets)
