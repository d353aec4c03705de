// dispatch: which kernel tables are compiled in, and which this processor can run.
#include <cstring>

#if defined(PONDER_ARM) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "kernels.h"

namespace ponder {

#if defined(PONDER_X86)
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

// Best first.
struct Choice {
  const Kernels* kernels;
  bool (*can_run)();
};

const Choice choices[] = {
#if defined(PONDER_X86)
    {&kernels_avx512,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512vnni") != 0;
     }},
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
