// Tests of kernels on all that the processor has.
#pragma once

#include <gtest/gtest.h>

#include <thimble/core/error.h>
#include <thimble/core/parallel.h>
#include <thimble/core/platform/isa.h>

namespace thimble {

/// Runs a test's body for each instruction set and several numbers of threads, and puts both back.
template <typename Body>
void everywhere(Body&& body) {
  const Isa isa_before = active_isa();
  const int threads_before = num_threads();
  for (Isa isa : available_isas())
    for (int threads : {1, 3}) {
      set_isa(isa);
      set_num_threads(threads);
      SCOPED_TRACE(str(name(isa), ", ", threads, " threads"));
      body();
    }
  set_isa(isa_before);
  set_num_threads(threads_before);
}

}  // namespace thimble
