// tile: what the register tiles of every instruction set share.
#pragma once

namespace PONDER_ARCH {

template <int I>
struct Index {
  constexpr operator int() const { return I; }
};

// A loop unrolled in the front end, so that arrays of registers stay registers: f(Index<0>), f(Index<1>), ... f(Index<N - 1>).
template <int N, class F>
[[gnu::always_inline]] inline void repeat(const F& f) {
  if constexpr (N > 0) {
    repeat<N - 1>(f);
    f(Index<N - 1>{});
  }
}

}  // namespace PONDER_ARCH
