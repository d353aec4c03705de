// kernels_avx512: the shared algorithm compiled for one instruction set.
#define PONDER_ARCH ponder_avx512
#include "vec_avx512.h"

#include "kernels_impl.h"

namespace ponder {
extern const Kernels kernels_avx512;
const Kernels kernels_avx512 = ponder_avx512::table("avx512");
}  // namespace ponder
