// dispatch: which kernel tables are compiled in, and which this processor can run.
#include <cstring>

#if defined(PONDER_ARM) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#if defined(PONDER_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels.h"

namespace ponder {

#if defined(PONDER_X86)
#if defined(PONDER_AMX)
extern const Kernels kernels_amx;
#endif
extern const Kernels kernels_avx512;
extern const Kernels kernels_avx2;
#elif defined(PONDER_ARM)
extern const Kernels kernels_neon_dot;
extern const Kernels kernels_neon;
#endif
extern const Kernels kernels_portable;

namespace {

#if defined(PONDER_ARM)
bool has_dot_products() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}
#endif

#if defined(PONDER_X86)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") != 0;
}
#endif

#if defined(PONDER_AMX)
// Tiles of bf16 and int8 in CPUID 7, and the system's leave to use their 8 KiB of state, which
// Linux gives on request.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kTiles = 1u << 24, kInt8 = 1u << 25, kBf16 = 1u << 22;
  if ((d & (kTiles | kInt8 | kBf16)) != (kTiles | kInt8 | kBf16)) return false;
  constexpr unsigned kConvert = 1u << 5;  // AVX512_BF16
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & kConvert) == 0) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool granted = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  return granted;
}
#endif

// Best first.
struct Choice {
  const Kernels* kernels;
  bool (*can_run)();
};

const Choice choices[] = {
#if defined(PONDER_X86)
#if defined(PONDER_AMX)
    {&kernels_amx, has_amx},
#endif
    {&kernels_avx512, has_avx512},
    {&kernels_avx2,
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") != 0; }},
#elif defined(PONDER_ARM)
    {&kernels_neon_dot, has_dot_products},
    {&kernels_neon, [] { return true; }},
#endif
    {&kernels_portable, [] { return true; }},
};

}  // namespace

const Kernels& best_kernels() {
  for (const Choice& c : choices) {
    if (c.can_run()) return *c.kernels;
  }
  return kernels_portable;
}

const Kernels* find_kernels(const char* name) {
  for (const Choice& c : choices) {
    if (std::strcmp(c.kernels->name, name) == 0 && c.can_run()) return c.kernels;
  }
  return nullptr;
}

}  // namespace ponder
