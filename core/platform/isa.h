// Which instruction set the kernels use: the best that the CPU has, or a lower one on request.
#pragma once

#include <string_view>
#include <vector>

namespace thimble {

/// In rising order; each includes the ones before it. amx is Intel's tile unit (with avx512_vnni).
enum class Isa { scalar, avx2, avx512, avx512_vnni, amx };

/// The best instruction set that this CPU and operating system offer.
Isa detected_isa();

/// The one in use: detected_isa(), unless the environment's THIMBLE_ISA=scalar|avx2|avx512|avx512_vnni|amx or set_isa()
/// says otherwise. Throws ValueError for an unknown name or one that this CPU lacks.
Isa active_isa();

/// Uses `isa` from now on; throws ValueError if this CPU lacks it. Not to be called while kernels run.
void set_isa(Isa isa);

/// Every instruction set that this CPU has, in rising order.
std::vector<Isa> available_isas();

std::string_view name(Isa isa);

}  // namespace thimble
