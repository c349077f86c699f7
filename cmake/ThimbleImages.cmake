# thimble::images, a library of its own: who reads no PNG or JPEG loads neither libpng nor libjpeg.
find_package(PNG REQUIRED)
find_package(JPEG REQUIRED)

include(ThimbleComponent)
file(GLOB THIMBLE_IMAGES_SOURCES CONFIGURE_DEPENDS nn/images/*.cpp)
thimble_component(images SOURCES ${THIMBLE_IMAGES_SOURCES} LIBRARIES PNG::PNG JPEG::JPEG)
