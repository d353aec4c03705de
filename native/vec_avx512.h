// vec_avx512: 16 float lanes as one 512-bit register, and the int8 dot products of AVX-512 VNNI.
#pragma once

#if !defined(PONDER_SIMDE)
#include <immintrin.h>
#else
#include <simde/x86/avx512.h>
#endif

#include <cstddef>
#include <cstdint>

#include "tile.h"

namespace PONDER_ARCH {

constexpr int kFloatRows = 12;

struct vf {
  __m512 a;
};

inline vf vset(float x) { return {_mm512_set1_ps(x)}; }
inline vf vload(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void vstore(float* p, vf x) { _mm512_storeu_ps(p, x.a); }
// Sixteen pairs of bf16 numbers: their first ones and their second ones.
inline void vload_pairs(const uint16_t* p, vf* first, vf* second) {
  const __m512i pairs = _mm512_loadu_si512(p);
  *first = {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16))};
  *second = {_mm512_castsi512_ps(
      _mm512_and_si512(pairs, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
inline vf vadd(vf x, vf y) { return {_mm512_add_ps(x.a, y.a)}; }
inline vf vsub(vf x, vf y) { return {_mm512_sub_ps(x.a, y.a)}; }
inline vf vmul(vf x, vf y) { return {_mm512_mul_ps(x.a, y.a)}; }
inline vf vdiv(vf x, vf y) { return {_mm512_div_ps(x.a, y.a)}; }
inline vf vmax(vf x, vf y) { return {_mm512_max_ps(x.a, y.a)}; }
inline vf vmin(vf x, vf y) { return {_mm512_min_ps(x.a, y.a)}; }
inline vf vfma(vf x, vf y, vf z) { return {_mm512_fmadd_ps(x.a, y.a, z.a)}; }
inline vf vabs(vf x) { return {_mm512_abs_ps(x.a)}; }
inline vf vrint(vf x) { return {_mm512_roundscale_ps(x.a, 0x08)}; }
inline vf vpow2(vf n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.a), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
inline vf vselect_lt(vf x, vf bound, vf then, vf otherwise) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.a, bound.a, _CMP_LT_OQ), otherwise.a, then.a)};
}
inline void vstore_int(int32_t* p, vf x) { _mm512_storeu_si512(p, _mm512_cvtps_epi32(x.a)); }

inline float vsum(vf x) {
  const __m256 e = _mm256_add_ps(_mm512_castps512_ps256(x.a), _mm512_extractf32x8_ps(x.a, 1));
  const __m128 f = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  const __m128 d = _mm_add_ps(f, _mm_movehl_ps(f, f));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
inline float vmax_lane(vf x) { return _mm512_reduce_max_ps(x.a); }

// The sums of sixteen vectors at once; each sum folds as in vsum.
inline vf vsums(const vf* x) {
  __m512 e[8], f[4], d[2];
  for (int i = 0; i < 8; ++i) {  // [x[i] to 8 lanes | x[i + 8] to 8 lanes]
    e[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x[i].a, x[i + 8].a, 0x44),
                         _mm512_shuffle_f32x4(x[i].a, x[i + 8].a, 0xee));
  }
  for (int i = 0; i < 4; ++i) {  // quarters: x[i], x[i + 4], x[i + 8], x[i + 12] to 4 lanes
    const __m512 low = _mm512_shuffle_f32x4(e[i], e[i + 4], 0x88);
    const __m512 high = _mm512_shuffle_f32x4(e[i], e[i + 4], 0xdd);
    // Blocks of low: e[i] 0, e[i] 2, e[i+4] 0, e[i+4] 2, that is x[i], x[i+8], x[i+4], x[i+12].
    const __m512 sum = _mm512_add_ps(low, high);
    f[i] = _mm512_shuffle_f32x4(sum, sum, 0xd8);
  }
  for (int i = 0; i < 2; ++i) {  // in each quarter: f[2i] to 2 lanes, f[2i + 1] to 2 lanes
    d[i] = _mm512_add_ps(_mm512_shuffle_ps(f[2 * i], f[2 * i + 1], 0x44),
                         _mm512_shuffle_ps(f[2 * i], f[2 * i + 1], 0xee));
  }
  return {_mm512_add_ps(_mm512_shuffle_ps(d[0], d[1], 0x88), _mm512_shuffle_ps(d[0], d[1], 0xdd))};
}

// int8: unsigned activations (value + 128) times signed weights; 128 times the sum of the weights is
// taken off again. All of it is exact in int32.
struct Q8Dot {
  using Act = uint8_t;
  static constexpr int kRows = 12;
  static constexpr int kActBias = 128;
  static constexpr int kOrder[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

  template <int R, bool kAhead>
  static void dot(const int8_t* w, int quads, const Act* x, size_t ldx, const char* ahead, vf* dots) {
    __m512i acc[R], offset = _mm512_setzero_si512();
    for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_si512();
    const __m512i bias = _mm512_set1_epi8(static_cast<char>(kActBias));
    for (int q = 0; q < quads; ++q, w += 64, x += 4) {
      const __m512i weights = _mm512_loadu_si512(w);
      offset = _mm512_dpbusd_epi32(offset, bias, weights);
      for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, x + r * ldx, 4);
        acc[r] = _mm512_dpbusd_epi32(acc[r], _mm512_set1_epi32(four), weights);
      }
      if constexpr (kAhead) _mm_prefetch(ahead + 64 * q, _MM_HINT_T0);
    }
    for (int r = 0; r < R; ++r) {
      dots[r] = {_mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r], offset))};
    }
  }
};

inline vf vload_bytes(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
}
// The low halves of eight bytes, then their high halves.
inline vf vload_halves(const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  const __m128i both = _mm_unpacklo_epi64(bytes, _mm_srli_epi16(bytes, 4));
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(both, _mm_set1_epi8(15))))};
}

// See four_bits.h. For one row signed activations meet unsigned codes; for more it costs less to take
// off what was added to the activations.
template <int R>
inline void four_bit_dots(const uint8_t* codes, int quads, const Q8Dot::Act* x, size_t ldx,
                          vf* dots) {
  const __m512i mask = _mm512_set1_epi8(15),
                bias = _mm512_set1_epi8(static_cast<char>(Q8Dot::kActBias));
  __m512i acc[R], offset = _mm512_setzero_si512();
  for (int r = 0; r < R; ++r) acc[r] = _mm512_setzero_si512();
  for (int q = 0; q < quads; q += 2, codes += 64, x += 8) {
    const __m512i both = _mm512_loadu_si512(codes);
    const __m512i c[2] = {_mm512_and_si512(both, mask),
                          _mm512_and_si512(_mm512_srli_epi16(both, 4), mask)};
    for (int half = 0; half < 2 && q + half < quads; ++half) {
      if constexpr (R > 1) offset = _mm512_dpbusd_epi32(offset, bias, c[half]);
      for (int r = 0; r < R; ++r) {
        int32_t four;
        __builtin_memcpy(&four, x + r * ldx + 4 * half, 4);
        const __m512i given = _mm512_set1_epi32(four);
        acc[r] = R > 1 ? _mm512_dpbusd_epi32(acc[r], given, c[half])
                       : _mm512_dpbusd_epi32(acc[r], c[half], _mm512_xor_si512(given, bias));
      }
    }
  }
  for (int r = 0; r < R; ++r) dots[r] = {_mm512_cvtepi32_ps(_mm512_sub_epi32(acc[r], offset))};
}

}  // namespace PONDER_ARCH
