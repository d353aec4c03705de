// kernels_avx2: the shared algorithm compiled for one instruction set.
#define PONDER_ARCH ponder_avx2
#include "vec_avx2.h"

#include "kernels_impl.h"

namespace ponder {
extern const Kernels kernels_avx2;
const Kernels kernels_avx2 = ponder_avx2::table("avx2");
}  // namespace ponder
