#include <atomic>
#include <cstdlib>

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

constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512", "avx512_vnni", "amx"};

#if defined(__x86_64__)
// AMX state is large, so Linux lets a process use it only after asking (arch_prctl ARCH_REQ_XCOMP_PERM, component 18).
bool amx_granted() {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool tile = (d >> 24) & 1, int8 = (d >> 25) & 1;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return tile && int8 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa detect() {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::scalar;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return Isa::avx2;
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
  return amx_granted() ? Isa::amx : Isa::avx512_vnni;
}
#else
Isa detect() { return Isa::scalar; }
#endif

void check_available(Isa isa) {
  check(isa <= detected_isa(), "instruction set '", name(isa), "' is not available on this CPU, which has up to '",
        name(detected_isa()), "'");
}

Isa from_environment() {
  const char* wanted = std::getenv("THIMBLE_ISA");
  if (!wanted || !*wanted) return detected_isa();
  for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::avx512_vnni, Isa::amx}) {
    if (name(isa) != wanted) continue;
    check_available(isa);
    return isa;
  }
  throw ValueError(str("THIMBLE_ISA='", wanted, "' is unknown; it is one of scalar, avx2, avx512, avx512_vnni, amx"));
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{from_environment()};
  return isa;
}

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_isa(Isa isa) {
  check_available(isa);
  active().store(isa, std::memory_order_relaxed);
}

std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (int i = 0; i <= static_cast<int>(detected_isa()); ++i) isas.push_back(static_cast<Isa>(i));
  return isas;
}

std::string_view name(Isa isa) { return kNames[static_cast<size_t>(isa)]; }

}  // namespace thimble
