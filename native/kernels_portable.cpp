// kernels_portable: the shared algorithm compiled for one instruction set.
#define PONDER_ARCH ponder_portable
#include "vec_portable.h"

#include "kernels_impl.h"

namespace ponder {
extern const Kernels kernels_portable;
const Kernels kernels_portable = ponder_portable::table("portable");
}  // namespace ponder
