// What the CPU offers to kernels, as a set of features, and levels: names for the sets that kernels are written for.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>

namespace thimble {

/// A set of what a processor may have beyond the baseline of its kind.
enum class CpuFeatures : uint32_t {
  none = 0,
  avx2 = 1 << 0,         // with FMA
  avx_vnni = 1 << 1,     // products of bytes in 256 bits, without AVX-512
  avx512 = 1 << 2,       // F, BW, VL and DQ
  avx512_vnni = 1 << 3,  // products of bytes in 512 bits
  amx_int8 = 1 << 4,     // tiles of bytes, and the operating system's leave to use them
  amx_bf16 = 1 << 5,     // the same of bfloat16
};

constexpr CpuFeatures operator|(CpuFeatures a, CpuFeatures b) {
  return static_cast<CpuFeatures>(static_cast<uint32_t>(a) | static_cast<uint32_t>(b));
}

/// Whether `set` holds all of `needed`.
constexpr bool has_all(CpuFeatures set, CpuFeatures needed) { return (set | needed) == set; }

/// Levels, from slow to fast. Not each includes those before it: see features_of().
enum class Isa { scalar, avx2, avx_vnni, avx512, avx512_vnni, amx };

/// What a CPU has at least, and what kernels may use, at a level.
constexpr CpuFeatures features_of(Isa isa) {
  using enum CpuFeatures;
  switch (isa) {
    case Isa::scalar:
      return none;
    case Isa::avx2:
      return avx2;
    case Isa::avx_vnni:
      return avx2 | avx_vnni;
    case Isa::avx512:
      return avx2 | avx512;
    case Isa::avx512_vnni:
      return avx2 | avx512 | avx512_vnni;
    case Isa::amx:
      break;
  }
  return avx2 | avx512 | avx512_vnni | amx_int8 | amx_bf16;
}

/// What this CPU and operating system offer.
THIMBLE_API CpuFeatures detected_features();

/// Every level that this CPU has, from slow to fast.
THIMBLE_API std::vector<Isa> available_isas();

/// The last of them.
THIMBLE_API Isa detected_isa();

/// The one in use: detected_isa(), unless the environment's THIMBLE_ISA (a level's name) or set_isa() says otherwise.
/// Throws ValueError for an unknown name or a level that this CPU lacks.
THIMBLE_API Isa active_isa();

/// Uses `isa` from now on; throws ValueError if this CPU lacks it. Not to be called while kernels run.
THIMBLE_API void set_isa(Isa isa);

THIMBLE_API std::string_view name(Isa isa);

}  // namespace thimble
