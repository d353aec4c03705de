// vec_avx2: 16 float lanes as two 256-bit registers, and the int8 dot products of AVX2.
#pragma once

#if !defined(PONDER_SIMDE)
#include <immintrin.h>
#else
#include <simde/x86/avx2.h>
#include <simde/x86/fma.h>
#endif

#include <cstddef>
#include <cstdint>

#include "tile.h"

namespace PONDER_ARCH {

constexpr int kFloatRows = 6;  // activation rows in one register tile of a float product

struct vf {
  __m256 a, b;
};

inline vf vset(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline vf vload(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void vstore(float* p, vf x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
// Sixteen pairs of bf16 numbers: their first ones and their second ones.
inline void vload_pairs(const uint16_t* p, vf* first, vf* second) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16));
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  *first = {_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(high, 16))};
  *second = {_mm256_castsi256_ps(_mm256_and_si256(low, upper)),
             _mm256_castsi256_ps(_mm256_and_si256(high, upper))};
}
inline vf vadd(vf x, vf y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline vf vsub(vf x, vf y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline vf vmul(vf x, vf y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline vf vdiv(vf x, vf y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline vf vmax(vf x, vf y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline vf vmin(vf x, vf y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
// Fused x*y + z: used by the float matrix product alone.
inline vf vfma(vf x, vf y, vf z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline vf vabs(vf x) {
  const __m256 mask = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
  return {_mm256_and_ps(x.a, mask), _mm256_and_ps(x.b, mask)};
}
// To the nearest integer, halves to even.
inline vf vrint(vf x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
// 2^n for integral n in [-126, 127], from its bits.
inline vf vpow2(vf n) {
  const auto power = [](__m256 k) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  };
  return {power(n.a), power(n.b)};
}
// Lane by lane: x < bound ? then : otherwise.
inline vf vselect_lt(vf x, vf bound, vf then, vf otherwise) {
  return {_mm256_blendv_ps(otherwise.a, then.a, _mm256_cmp_ps(x.a, bound.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(otherwise.b, then.b, _mm256_cmp_ps(x.b, bound.b, _CMP_LT_OQ))};
}
inline void vstore_int(int32_t* p, vf x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvtps_epi32(x.a));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), _mm256_cvtps_epi32(x.b));
}

// Folds of the lanes by halves: 16, 8, 4, 2, 1. `fold8` does the first step.
inline __m256 fold8(vf x) { return _mm256_add_ps(x.a, x.b); }
inline float vsum(vf x) {
  const __m256 e = fold8(x);
  const __m128 f = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  const __m128 d = _mm_add_ps(f, _mm_movehl_ps(f, f));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
inline float vmax_lane(vf x) {
  const __m256 e = _mm256_max_ps(x.a, x.b);
  const __m128 f = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  const __m128 d = _mm_max_ps(f, _mm_movehl_ps(f, f));
  return _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps(d, d, 1)));
}

// The sums of eight vectors at once; each sum folds as in vsum.
inline __m256 sums8(const vf* x) {
  const auto halve = [](__m256 p, __m256 q) {  // [p to 4 lanes | q to 4 lanes]
    return _mm256_add_ps(_mm256_permute2f128_ps(p, q, 0x20), _mm256_permute2f128_ps(p, q, 0x31));
  };
  const auto quarter = [](__m256 p, __m256 q) {  // per half: [p to 2 lanes, q to 2 lanes]
    return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x44), _mm256_shuffle_ps(p, q, 0xee));
  };
  const __m256 x04 = halve(fold8(x[0]), fold8(x[4])), x15 = halve(fold8(x[1]), fold8(x[5]));
  const __m256 x26 = halve(fold8(x[2]), fold8(x[6])), x37 = halve(fold8(x[3]), fold8(x[7]));
  const __m256 p = quarter(x04, x15), q = quarter(x26, x37);
  return _mm256_add_ps(_mm256_shuffle_ps(p, q, 0x88), _mm256_shuffle_ps(p, q, 0xdd));
}
inline vf vsums(const vf* x) { return {sums8(x), sums8(x + 8)}; }

// int8: activations as int16, weights widened to int16, products of pairs by vpmaddwd.
struct Q8Dot {
  using Act = int16_t;
  static constexpr int kRows = 3;     // activation rows in one register tile
  static constexpr int kActBias = 0;  // added to a quantised activation before it is stored
  // Panel row stored in each of the 16 places of a block of 4 columns: hadd puts them in order.
  static constexpr int kOrder[16] = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};

  static __m256i widened(const int8_t* w) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  }

  // a + vpmaddwd(w0, x) and b + vpmaddwd(w1, x) with x the four activations at `four`. Written so
  // that a whole tile stays in sixteen registers: GCC 12 else interleaves the sums until it spills
  // them, which costs half the speed.
  struct Two {
    __m256i a, b;
  };
  struct Four {
    Act v[4];
  };
  static Two add_pairs(__m256i a, __m256i b, __m256i w0, __m256i w1, const Act* four) {
    const auto* from = reinterpret_cast<const Four*>(four);
#if defined(PONDER_SIMDE)
    const __m256i x = _mm256_set1_epi64x(*reinterpret_cast<const int64_t*>(from));
    a = _mm256_add_epi32(a, _mm256_madd_epi16(w0, x));
    b = _mm256_add_epi32(b, _mm256_madd_epi16(w1, x));
#else
    __m256i x, pairs;
    asm(
        "vpbroadcastq %6, %2\n\t"
        "vpmaddwd %4, %2, %3\n\t"
        "vpmaddwd %5, %2, %2\n\t"
        "vpaddd %3, %0, %0\n\t"
        "vpaddd %2, %1, %1"
        : "+x"(a), "+x"(b), "=&x"(x), "=&x"(pairs)
        : "x"(w0), "x"(w1), "m"(*from));
#endif
    return {a, b};
  }

  // dots[r] = for 16 weight rows, the dot product with activation row r over 4*quads columns.
  // With kAhead the memory from `ahead` on is prefetched, a cache line a step.
  template <int R, bool kAhead>
  static void dot(const int8_t* w, int quads, const Act* x, size_t ldx, const char* ahead, vf* dots) {
    __m256i acc[R][4];
    repeat<R>([&](auto r) { repeat<4>([&](auto v) { acc[r][v] = _mm256_setzero_si256(); }); });
    for (int q = 0; q < quads; ++q, w += 64, x += 4) {
      repeat<2>([&](auto half) {
        constexpr int v = 2 * half;
        const __m256i w0 = widened(w + 16 * v), w1 = widened(w + 16 * v + 16);
        repeat<R>([&](auto r) {
          const Two sums = add_pairs(acc[r][v], acc[r][v + 1], w0, w1, x + static_cast<int>(r) * ldx);
          acc[r][v] = sums.a;
          acc[r][v + 1] = sums.b;
        });
      });
      if constexpr (kAhead) _mm_prefetch(ahead + 64 * q, _MM_HINT_T0);
    }
    repeat<R>([&](auto r) {
      dots[r] = {_mm256_cvtepi32_ps(_mm256_hadd_epi32(acc[r][0], acc[r][1])),
                 _mm256_cvtepi32_ps(_mm256_hadd_epi32(acc[r][2], acc[r][3]))};
    });
  }
};

}  // namespace PONDER_ARCH

#include "four_bits.h"
