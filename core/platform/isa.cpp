#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iterator>
#include <string>

#include <thimble/core/error.h>
#include <thimble/core/platform/isa.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace thimble {

namespace {

constexpr std::string_view kNames[] = {"scalar", "avx2", "avx_vnni", "avx512", "avx512_vnni", "amx"};
constexpr Isa kLevels[] = {Isa::scalar, Isa::avx2, Isa::avx_vnni, Isa::avx512, Isa::avx512_vnni, Isa::amx};

#if defined(__x86_64__)
// Leaf 7 of what the CPU says of itself, registers a and d: not every compiler's __builtin_cpu_supports() has names for
// what is asked for here.
struct Leaf7 {
  unsigned a = 0, d = 0;
  explicit Leaf7(unsigned subleaf) {
    unsigned last = 0, b = 0, c = 0, ignored = 0;
    if (__get_cpuid_count(7, 0, &last, &b, &c, &ignored) && subleaf <= last)
      __get_cpuid_count(7, subleaf, &a, &b, &c, &d);
  }
};

bool bit(unsigned value, int i) { return (value >> i) & 1; }

// AMX state is large, so Linux lets a process use it only after asking (arch_prctl ARCH_REQ_XCOMP_PERM, component 18).
bool amx_granted() {
#if defined(__linux__)
  if (!bit(Leaf7(0).d, 24)) return false;  // tiles
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

CpuFeatures detect() {
  using enum CpuFeatures;
  __builtin_cpu_init();
  CpuFeatures features = none;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return features;
  features = features | avx2;
  if (bit(Leaf7(1).a, 4)) features = features | avx_vnni;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return features;
  features = features | avx512;
  if (__builtin_cpu_supports("avx512vnni")) features = features | avx512_vnni;
  if (!amx_granted()) return features;
  if (bit(Leaf7(0).d, 25)) features = features | amx_int8;
  if (bit(Leaf7(0).d, 22)) features = features | amx_bf16;
  return features;
}
#else
CpuFeatures detect() { return CpuFeatures::none; }
#endif

bool is_available(Isa isa) { return has_all(detected_features(), features_of(isa)); }

template <typename Isas>
std::string names(const Isas& isas) {
  std::string all;
  for (const Isa isa : isas) all += (all.empty() ? "" : ", ") + std::string(name(isa));
  return all;
}

void check_available(Isa isa) {
  if (!is_available(isa))
    throw ValueError(
        str("instruction set '", name(isa), "' is not available on this CPU, which has ", names(available_isas())));
}

Isa from_environment() {
  const char* wanted = std::getenv("THIMBLE_ISA");
  if (!wanted || !*wanted) return detected_isa();
  for (const Isa isa : kLevels) {
    if (name(isa) != wanted) continue;
    check_available(isa);
    return isa;
  }
  throw ValueError(str("THIMBLE_ISA='", wanted, "' is unknown; it is one of ", names(kLevels)));
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{from_environment()};
  return isa;
}

}  // namespace

CpuFeatures detected_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  std::ranges::copy_if(kLevels, std::back_inserter(isas), is_available);
  return isas;
}

Isa detected_isa() {
  Isa best = Isa::scalar;
  for (const Isa isa : kLevels)
    if (is_available(isa)) best = isa;
  return best;
}

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  check_available(isa);
  active().store(isa, std::memory_order_relaxed);
}

std::string_view name(Isa isa) { return kNames[static_cast<size_t>(isa)]; }

}  // namespace thimble
