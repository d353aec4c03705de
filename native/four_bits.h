// four_bits: what int4_impl.h asks of a vec_*.h header, for those without instructions of their
// own.
#pragma once

namespace PONDER_ARCH {

inline vf vload_bytes(const uint8_t* p) {
  alignas(64) float x[16];
  for (int i = 0; i < 16; ++i) x[i] = static_cast<float>(p[i]);
  return vload(x);
}
// The low halves of eight bytes, then their high halves.
inline vf vload_halves(const uint8_t* p) {
  alignas(64) float x[16];
  for (int i = 0; i < 8; ++i) x[i] = static_cast<float>(p[i] & 15);
  for (int i = 0; i < 8; ++i) x[8 + i] = static_cast<float>(p[i] >> 4);
  return vload(x);
}

// dots[r] = for 16 weight rows, the dot product of their codes with activation row r over `quads`
// times 4 columns, at most 8.
template <int R>
inline void four_bit_dots(const uint8_t* codes, int quads, const Q8Dot::Act* x, size_t ldx,
                          vf* dots) {
  alignas(64) int8_t bytes[512];
  for (int v = 0; v < 4; ++v, codes += 64) {
    int8_t* to = bytes + 128 * v;
    for (int i = 0; i < 64; ++i) to[i] = static_cast<int8_t>(codes[i] & 15);
    for (int i = 0; i < 64; ++i) to[64 + i] = static_cast<int8_t>(codes[i] >> 4);
  }
  Q8Dot::dot<R, false>(bytes, quads, x, ldx, nullptr, dots);
}

}  // namespace PONDER_ARCH
