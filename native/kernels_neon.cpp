// kernels_neon: the shared algorithm compiled for one instruction set.
#define PONDER_ARCH ponder_neon
#include "vec_neon.h"

#include "kernels_impl.h"

namespace ponder {
extern const Kernels kernels_neon;
const Kernels kernels_neon = ponder_neon::table("neon");
}  // namespace ponder
