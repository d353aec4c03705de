// vec_neon: 16 float lanes as four 128-bit registers, and the int8 dot products of ARMv8 NEON.
#pragma once

#if !defined(PONDER_SIMDE)
#include <arm_neon.h>
#else
#include <simde/arm/neon.h>
#endif

#include <cstddef>
#include <cstdint>

#include "tile.h"

namespace PONDER_ARCH {

constexpr int kFloatRows = 4;

struct vf {
  float32x4_t v[4];
};

template <class F>
inline vf quads_of(const F& f) {
  return {{f(0), f(1), f(2), f(3)}};
}

inline vf vset(float x) {
  const float32x4_t q = vdupq_n_f32(x);
  return {{q, q, q, q}};
}
inline vf vload(const float* p) { return quads_of([&](int i) { return vld1q_f32(p + 4 * i); }); }
inline void vstore(float* p, const vf& x) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, x.v[i]);
}
// Sixteen pairs of bf16 numbers: their first ones and their second ones.
inline void vload_pairs(const uint16_t* p, vf* first, vf* second) {
  const auto pairs = [&](int i) { return vreinterpretq_u32_u16(vld1q_u16(p + 8 * i)); };
  *first = quads_of([&](int i) { return vreinterpretq_f32_u32(vshlq_n_u32(pairs(i), 16)); });
  *second = quads_of(
      [&](int i) { return vreinterpretq_f32_u32(vandq_u32(pairs(i), vdupq_n_u32(0xffff0000u))); });
}
inline vf vadd(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vaddq_f32(x.v[i], y.v[i]); });
}
inline vf vsub(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vsubq_f32(x.v[i], y.v[i]); });
}
inline vf vmul(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vmulq_f32(x.v[i], y.v[i]); });
}
inline vf vdiv(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vdivq_f32(x.v[i], y.v[i]); });
}
inline vf vmax(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vmaxq_f32(x.v[i], y.v[i]); });
}
inline vf vmin(const vf& x, const vf& y) {
  return quads_of([&](int i) { return vminq_f32(x.v[i], y.v[i]); });
}
inline vf vfma(const vf& x, const vf& y, const vf& z) {
  return quads_of([&](int i) { return vfmaq_f32(z.v[i], x.v[i], y.v[i]); });
}
inline vf vabs(const vf& x) {
  return quads_of([&](int i) { return vabsq_f32(x.v[i]); });
}
inline vf vrint(const vf& x) {
  return quads_of([&](int i) { return vrndnq_f32(x.v[i]); });
}
inline vf vpow2(const vf& n) {
  return quads_of([&](int i) {
    const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n.v[i]), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
  });
}
inline vf vselect_lt(const vf& x, const vf& bound, const vf& then, const vf& otherwise) {
  return quads_of([&](int i) {
    return vbslq_f32(vcltq_f32(x.v[i], bound.v[i]), then.v[i], otherwise.v[i]);
  });
}
inline void vstore_int(int32_t* p, const vf& x) {
  for (int i = 0; i < 4; ++i) vst1q_s32(p + 4 * i, vcvtq_s32_f32(x.v[i]));
}
// 16 lanes to 4: lane j of the result is (x[j] + x[j + 8]) + (x[j + 4] + x[j + 12]).
inline float32x4_t fold4(const vf& x) {
  return vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
}
inline float vsum(const vf& x) {
  const float32x4_t f = fold4(x);
  const float32x2_t d = vadd_f32(vget_low_f32(f), vget_high_f32(f));
  return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
inline float vmax_lane(const vf& x) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[1]), vmaxq_f32(x.v[2], x.v[3])));
}
// The sums of sixteen vectors at once; each sum folds as in vsum.
inline vf vsums(const vf* x) {
  const auto half = [](float32x4_t f) { return vadd_f32(vget_low_f32(f), vget_high_f32(f)); };
  return quads_of([&](int i) {
    const float32x4_t a = vcombine_f32(half(fold4(x[4 * i])), half(fold4(x[4 * i + 1])));
    const float32x4_t b = vcombine_f32(half(fold4(x[4 * i + 2])), half(fold4(x[4 * i + 3])));
    return vpaddq_f32(a, b);
  });
}

// int8: sdot where the processor has it, else products in int16 (127 * 127 * 2 fits) added in pairs.
struct Q8Dot {
  using Act = int8_t;
  static constexpr int kRows = 4;
  static constexpr int kActBias = 0;
  static constexpr int kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

  static int32x4_t add_dots(int32x4_t sum, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, w, x);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
    const int16x8_t high = vmull_s8(vget_high_s8(w), vget_high_s8(x));
    return vpadalq_s16(sum, vpaddq_s16(low, high));
#endif
  }

  template <int R, bool kAhead>
  static void dot(const int8_t* w, int quads, const Act* x, size_t ldx, const char* ahead, vf* dots) {
    int32x4_t acc[R][4];
    repeat<R>([&](auto r) { repeat<4>([&](auto v) { acc[r][v] = vdupq_n_s32(0); }); });
    for (int q = 0; q < quads; ++q, w += 64, x += 4) {
      int8x16_t four[R];
      repeat<R>([&](auto r) {
        int32_t bits;
        __builtin_memcpy(&bits, x + static_cast<int>(r) * ldx, 4);
        four[r] = vreinterpretq_s8_s32(vdupq_n_s32(bits));
      });
      repeat<4>([&](auto v) {
        const int8x16_t weights = vld1q_s8(w + 16 * static_cast<int>(v));
        repeat<R>([&](auto r) { acc[r][v] = add_dots(acc[r][v], weights, four[r]); });
      });
      if constexpr (kAhead) __builtin_prefetch(ahead + 64 * q);
    }
    repeat<R>([&](auto r) {
      dots[r] = quads_of([&](int v) { return vcvtq_f32_s32(acc[r][v]); });
    });
  }
};

}  // namespace PONDER_ARCH

#include "four_bits.h"
