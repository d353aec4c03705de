// vec_portable: 16 float lanes as a plain array; what every other vector header must equal.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tile.h"

namespace PONDER_ARCH {

constexpr int kFloatRows = 2;

struct vf {
  float v[16];
};

template <class F>
inline vf lanes(const F& f) {
  vf y;
  for (int i = 0; i < 16; ++i) y.v[i] = f(i);
  return y;
}
inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
inline float from_bits(uint32_t u) {
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

inline vf vset(float x) { return lanes([&](int) { return x; }); }
inline vf vload(const float* p) {
  vf x;
  std::memcpy(x.v, p, sizeof x.v);
  return x;
}
inline void vstore(float* p, const vf& x) { std::memcpy(p, x.v, sizeof x.v); }
// Sixteen pairs of bf16 numbers: their first ones and their second ones.
inline void vload_pairs(const uint16_t* p, vf* first, vf* second) {
  *first = lanes([&](int i) { return from_bits(static_cast<uint32_t>(p[2 * i]) << 16); });
  *second = lanes([&](int i) { return from_bits(static_cast<uint32_t>(p[2 * i + 1]) << 16); });
}
inline vf vadd(const vf& x, const vf& y) { return lanes([&](int i) { return x.v[i] + y.v[i]; }); }
inline vf vsub(const vf& x, const vf& y) { return lanes([&](int i) { return x.v[i] - y.v[i]; }); }
inline vf vmul(const vf& x, const vf& y) { return lanes([&](int i) { return x.v[i] * y.v[i]; }); }
inline vf vdiv(const vf& x, const vf& y) { return lanes([&](int i) { return x.v[i] / y.v[i]; }); }
inline vf vmax(const vf& x, const vf& y) {
  return lanes([&](int i) { return x.v[i] > y.v[i] ? x.v[i] : y.v[i]; });
}
inline vf vmin(const vf& x, const vf& y) {
  return lanes([&](int i) { return x.v[i] < y.v[i] ? x.v[i] : y.v[i]; });
}
// Rounded twice here, where no fused operation can be counted on: float products may differ.
inline vf vfma(const vf& x, const vf& y, const vf& z) { return vadd(vmul(x, y), z); }
inline vf vabs(const vf& x) { return lanes([&](int i) { return std::fabs(x.v[i]); }); }
inline vf vrint(const vf& x) { return lanes([&](int i) { return std::nearbyintf(x.v[i]); }); }
inline vf vpow2(const vf& n) {
  return lanes([&](int i) {
    return from_bits(static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23);
  });
}
inline vf vselect_lt(const vf& x, const vf& bound, const vf& then, const vf& otherwise) {
  return lanes([&](int i) { return x.v[i] < bound.v[i] ? then.v[i] : otherwise.v[i]; });
}
inline void vstore_int(int32_t* p, const vf& x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int32_t>(x.v[i]);
}
inline float vsum(const vf& x) {
  vf y = x;
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) y.v[i] += y.v[i + half];
  return y.v[0];
}
inline float vmax_lane(const vf& x) {
  float top = x.v[0];
  for (int i = 1; i < 16; ++i) top = x.v[i] > top ? x.v[i] : top;
  return top;
}
inline vf vsums(const vf* x) { return lanes([&](int i) { return vsum(x[i]); }); }

struct Q8Dot {
  using Act = int8_t;
  static constexpr int kRows = 2;
  static constexpr int kActBias = 0;
  static constexpr int kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

  template <int R, bool kAhead>
  static void dot(const int8_t* w, int quads, const Act* x, size_t ldx, const char*, vf* dots) {
    int32_t acc[R][16] = {};
    for (int q = 0; q < quads; ++q, w += 64, x += 4)
      for (int r = 0; r < R; ++r)
        for (int n = 0; n < 16; ++n)
          for (int i = 0; i < 4; ++i) acc[r][n] += w[4 * n + i] * x[r * ldx + i];
    for (int r = 0; r < R; ++r) {
      dots[r] = lanes([&](int n) { return static_cast<float>(acc[r][n]); });
    }
  }
};

}  // namespace PONDER_ARCH

#include "four_bits.h"
