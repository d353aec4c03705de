// integers_amx: products of quantised rows and int8 or int4 weights on tiles, for many rows;
// included by kernels_amx.cpp. Dot products are whole numbers, so their bits are those of every
// other kernel.
#pragma once

namespace PONDER_ARCH {

using ponder::kSmallGroup;

constexpr int kTileColumns = 64;  // of 8-bit numbers
constexpr int kFewestRows = 12;   // below, reading the weights costs more than multiplying

// Bytes [quads][16 outputs][4 columns] of a block of up to 128 columns, and what is taken off its
// dot products: 128 times the sums of the bytes, for inputs are stored with 128 added.
struct IntegerPanel {
  alignas(64) uint8_t own[kGroup * kPanelRows];
  const uint8_t* bytes;
  __m512i off;
  __m512 scale;
  __m512 offsets[kGroup / kSmallGroup];  // int4: m of each group
};

inline void open_int8(const uint8_t* chunk, int n, IntegerPanel* p) {
  const __m512i bias = _mm512_set1_epi8(static_cast<char>(Q8Dot::kActBias));
  p->bytes = chunk;
  p->off = _mm512_setzero_si512();
  for (int q = 0; q < n / 4; ++q) {
    p->off = _mm512_dpbusd_epi32(p->off, bias, _mm512_loadu_si512(chunk + 64 * q));
  }
  p->scale = _mm512_loadu_ps(chunk + 16 * n);
}

// Codes become s · c, unsigned bytes up to 225.
inline void open_int4(const uint8_t* chunk, int n, IntegerPanel* p) {
  const int groups = n / kSmallGroup;
  const uint8_t *m = chunk + groups * Int4::kCodes, *s = m + groups * kPanelRows;
  const __m512i ones = _mm512_set1_epi8(1), low = _mm512_set1_epi16(0x00ff),
                four = _mm512_set1_epi8(15);
  __m512i sum = _mm512_setzero_si512();
  for (int g = 0; g < groups; ++g, s += 8) {
    const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(s));
    const __m128i both = _mm_unpacklo_epi64(packed, _mm_srli_epi16(packed, 4));
    const __m512i lanes = _mm512_cvtepu8_epi32(_mm_and_si128(both, _mm_set1_epi8(15)));
    const __m512i factor = _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 16));
    for (int v = 0; v < 4; ++v) {
      const __m512i codes = _mm512_loadu_si512(chunk + g * Int4::kCodes + 64 * v);
      for (int half = 0; half < 2; ++half) {
        const __m512i c = _mm512_and_si512(half ? _mm512_srli_epi16(codes, 4) : codes, four);
        const __m512i even = _mm512_mullo_epi16(_mm512_and_si512(c, low), factor);
        const __m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(c, 8), factor);
        const __m512i bytes = _mm512_or_si512(even, _mm512_slli_epi16(odd, 8));
        sum = _mm512_dpbusd_epi32(sum, bytes, ones);
        _mm512_store_si512(p->own + (g * 8 + v * 2 + half) * 64, bytes);
      }
    }
    p->offsets[g] = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(m + g * kPanelRows))));
  }
  p->bytes = p->own;
  p->off = _mm512_slli_epi32(sum, 7);
  const __m256i scales = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(s));
  p->scale = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(scales), 16));
}

// C [32 or fewer rows, 32 outputs] of one block of columns.
template <bool kUnsigned>
inline void integer_tiles(const uint8_t* x, size_t ldx, int rows, const IntegerPanel* panels, int n,
                          int32_t (*c)[256]) {
  asm volatile("" ::: "memory");  // see tile_block
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int k = 0; k < n; k += kTileColumns) {
    _tile_loadd(4, x + k, ldx);
    _tile_loadd(6, panels[0].bytes + k * 16, 64);
    _tile_loadd(7, panels[1].bytes + k * 16, 64);
    if constexpr (kUnsigned) {
      _tile_dpbuud(0, 4, 6);
      _tile_dpbuud(1, 4, 7);
    } else {
      _tile_dpbusd(0, 4, 6);
      _tile_dpbusd(1, 4, 7);
    }
    if (rows <= 16) continue;
    _tile_loadd(5, x + 16 * ldx + k, ldx);
    if constexpr (kUnsigned) {
      _tile_dpbuud(2, 5, 6);
      _tile_dpbuud(3, 5, 7);
    } else {
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }
  _tile_stored(0, c[0], 64);
  _tile_stored(1, c[1], 64);
  if (rows > 16) {
    _tile_stored(2, c[2], 64);
    _tile_stored(3, c[3], 64);
  }
  asm volatile("" ::: "memory");
}

// Rows of the last tiles, when they are not whole: nothing beyond the inputs is read.
inline TileConfig integer_config(int rows) {
  TileConfig config;
  const auto first = static_cast<uint8_t>(least(16, rows)),
             second = static_cast<uint8_t>(rows > 16 ? rows - 16 : 16);
  for (int tile : {0, 1, 4}) config.rows[tile] = first;
  for (int tile : {2, 3, 5}) config.rows[tile] = second;
  return config;
}

template <bool kFourBits>
inline void integer_product(const Product& p, int p0, int p1, int r0, int r1) {
  const size_t ldx = Int8::stride(p.columns);
  const auto* x = static_cast<const uint8_t*>(p.x);
  const int blocks = ponder::num_groups(p.columns), small = p.columns / kSmallGroup;
  IntegerPanel panels[2];
  alignas(64) int32_t c[4][256];
  const TileConfig whole = integer_config(32), rest = integer_config((r1 - r0 - 1) % 32 + 1);
  for (int panel = p0; panel < p1; panel += 2) {
    const int count = least(2, p1 - panel);
    const uint8_t* chunks = p.panels + static_cast<size_t>(panel) * p.panel_bytes;
    for (int k = 0, n; k < p.columns; k += kGroup) {
      n = least(kGroup, p.columns - k);
      for (int i = 0; i < 2; ++i) {
        const uint8_t* chunk = chunks + least(i, count - 1) * p.panel_bytes;
        kFourBits ? open_int4(chunk, n, panels + i) : open_int8(chunk, n, panels + i);
      }
      chunks += kFourBits ? Int4::chunk_bytes(n) : Int8::chunk_bytes(n);
      _tile_loadconfig(&whole);
      for (int r = r0; r < r1; r += 32) {
        const int rows = least(32, r1 - r);
        if (rows < 32) _tile_loadconfig(&rest);
        integer_tiles<kFourBits>(x + static_cast<size_t>(r) * ldx + k, ldx, rows, panels, n, c);
        for (int i = 0; i < count; ++i) {
          const int e = (panel + i) * kPanelRows, m = least(kPanelRows, p.outputs - e);
          const auto mask = static_cast<__mmask16>((1u << m) - 1);
          const IntegerPanel& w = panels[i];
          for (int row = 0; row < rows; ++row) {
            const auto at = static_cast<size_t>(r + row);
            const __m512i found = _mm512_load_si512(c[row / 16 * 2 + i] + row % 16 * 16);
            __m512 dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(found, w.off));
            for (int g = 0; kFourBits && g < n / kSmallGroup; ++g) {
              const __m512 sum = _mm512_set1_ps(p.x_sums[at * small + k / kSmallGroup + g]);
              dot = _mm512_sub_ps(dot, _mm512_mul_ps(w.offsets[g], sum));
            }
            const __m512 scale =
                _mm512_mul_ps(w.scale, _mm512_set1_ps(p.x_scales[at * blocks + k / kGroup]));
            float* y = p.y + at * p.y_row + e;
            const __m512 before = k == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, y);
            __m512 sum = _mm512_add_ps(before, _mm512_mul_ps(dot, scale));
            if (k + n == p.columns && p.bias != nullptr) {
              sum = _mm512_add_ps(sum, _mm512_loadu_ps(p.bias + e));
            }
            _mm512_mask_storeu_ps(y, mask, sum);
          }
        }
      }
    }
  }
  _tile_release();
}

}  // namespace PONDER_ARCH
