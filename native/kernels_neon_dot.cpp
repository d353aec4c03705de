// kernels_neon_dot: the shared algorithm compiled for one instruction set.
#define PONDER_ARCH ponder_neon_dot
#include "vec_neon.h"

#include "kernels_impl.h"

namespace ponder {
extern const Kernels kernels_neon_dot;
const Kernels kernels_neon_dot = ponder_neon_dot::table("neon_dot");
}  // namespace ponder
