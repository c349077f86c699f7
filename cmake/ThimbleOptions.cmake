# Compiler options of everything in this tree; not passed on to users of the library.
add_library(thimble_options INTERFACE)
target_compile_options(thimble_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
  $<$<BOOL:${THIMBLE_WARNINGS_AS_ERRORS}>:-Werror>
  # One rounding per written operation on every instruction set: no silent fused multiply-add.
  -ffp-contract=off
  # Nobody reads errno or floating-point traps; without this, square roots are not vectorized.
  -fno-math-errno -fno-trapping-math)
option(THIMBLE_SANITIZE_THREADS "Build with ThreadSanitizer, which excludes THIMBLE_SANITIZE" OFF)
if(THIMBLE_SANITIZE_THREADS)
  target_compile_options(thimble_options INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(thimble_options INTERFACE -fsanitize=thread)
elseif(THIMBLE_SANITIZE)
  target_compile_options(thimble_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all
                                                   -fno-omit-frame-pointer)
  target_link_options(thimble_options INTERFACE -fsanitize=address,undefined)
endif()
