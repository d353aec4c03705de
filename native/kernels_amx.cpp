// kernels_amx: the AVX-512 table with its products of bf16 matrices on the tiles of AMX.
//
// A tile is 16 rows of 64 bytes. TDPBF16PS adds to C [16, 16] the product of A [16 rows, 32 columns] and B [16 pairs of
// columns, 16 outputs, 2]; each row of C depends on its own row of A alone. Matrices A lie tile by tile, those of the
// same rows one after the other: rows that are far apart would meet in the same few lines of a cache. Rows of A beyond
// the last one hold anything: their part of C is dropped.
#define PONDER_ARCH ponder_amx
#include "vec_avx512.h"

#include "kernels_impl.h"

namespace PONDER_ARCH {

using ponder::bf16_columns;
using ponder::WeightGradient;

constexpr size_t kKept = 768 << 10;  // bytes of weights kept in the second cache

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Tiles of this thread while it lives: 0 to 3 are C, 4 and 5 A, 6 and 7 B.
class Tiles {
 public:
  Tiles() {
    static const TileConfig config;
    _tile_loadconfig(&config);
    asm volatile("" ::: "memory");  // GCC 12 does not know that loads of tiles read what was stored before
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// 16 numbers to bf16, nearest even, NaN kept.
inline __m256i round16(__m512 x) {
  const __m512i u = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(is_nan, up, quiet), 16));
}

constexpr int kTile = 512;  // numbers of a tile

// Tiles of sixteen rows of a matrix A of so many columns.
inline size_t tile_row(int columns) { return static_cast<size_t>(bf16_columns(columns)) * 16; }

inline void round_row_amx(const float* x, int columns, int row, void* rounded) {
  auto* out = static_cast<uint16_t*>(rounded) + row / 16 * tile_row(columns) + row % 16 * 32;
  for (int k = 0; k < columns; k += 32, out += kTile) {
    const int low = least(16, columns - k), high = least(16, columns - k - 16);
    const __m256i first = round16(vload_upto(x + k, low).a);
    const __m256i second = high > 0 ? round16(vload_upto(x + k + 16, high).a) : _mm256_setzero_si256();
    _mm512_store_si512(out, _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1));
  }
}

// Where a block of C lies, and how much of it is wanted.
struct Out {
  float* y;
  size_t row;  // floats between rows
  int rows, columns;
};

// The tile at this place, by `store(to, bytes between rows)`: tiles are named by literals alone.
template <class F>
inline void store_tile(const Out& out, int row, int column, const F& store) {
  const int rows = least(16, out.rows - row), columns = least(16, out.columns - column);
  if (rows <= 0 || columns <= 0) return;
  float* y = out.y + static_cast<size_t>(row) * out.row + column;
  if (rows == 16 && columns == 16) return store(y, out.row * 4);
  alignas(64) float whole[256];
  store(whole, size_t{64});
  for (int r = 0; r < rows; ++r) {
    std::memcpy(y + r * out.row, whole + 16 * r, sizeof(float) * static_cast<size_t>(columns));
  }
}

// C [32 or 16 rows, 32 or 16 outputs] = bias + A · B, where B's panels lie `b_panel` bytes apart.
template <bool kTwoRows, bool kTwoPanels>
inline void tile_block(const uint16_t* a, const uint8_t* b, size_t b_panel, int columns,
                       const float* bias, const Out& out) {
  if (bias != nullptr) {  // the same 64 bytes for each row
    _tile_loadd(0, bias, 0);
    if constexpr (kTwoPanels) _tile_loadd(1, bias + 16, 0);
    if constexpr (kTwoRows) _tile_loadd(2, bias, 0);
    if constexpr (kTwoRows && kTwoPanels) _tile_loadd(3, bias + 16, 0);
  } else {
    _tile_zero(0);
    if constexpr (kTwoPanels) _tile_zero(1);
    if constexpr (kTwoRows) _tile_zero(2);
    if constexpr (kTwoRows && kTwoPanels) _tile_zero(3);
  }
  const uint16_t* a_next = a + tile_row(columns);
  for (int k = 0; k < columns; k += 32, a += kTile, a_next += kTile, b += 1024) {
    _tile_loadd(6, b, 64);
    _tile_loadd(4, a, 64);
    if constexpr (!kTwoRows) {  // few rows: the weights come from memory
      _mm_prefetch(reinterpret_cast<const char*>(b) + 4096, _MM_HINT_T0);
    }
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoPanels) {
      _tile_loadd(7, b + b_panel, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, a_next, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoPanels) _tile_dpbf16ps(3, 5, 7);
    }
  }
  store_tile(out, 0, 0, [](float* y, size_t row) { _tile_stored(0, y, row); });
  if constexpr (kTwoPanels) {
    store_tile(out, 0, 16, [](float* y, size_t row) { _tile_stored(1, y, row); });
  }
  if constexpr (kTwoRows) {
    store_tile(out, 16, 0, [](float* y, size_t row) { _tile_stored(2, y, row); });
  }
  if constexpr (kTwoRows && kTwoPanels) {
    store_tile(out, 16, 16, [](float* y, size_t row) { _tile_stored(3, y, row); });
  }
}

inline void tile_block_of(const uint16_t* a, const uint8_t* b, size_t b_panel, int columns,
                          const float* bias, const Out& out) {
  const bool two_rows = out.rows > 16, two_panels = out.columns > 16;
  const auto run = two_rows ? (two_panels ? tile_block<true, true> : tile_block<true, false>)
                            : (two_panels ? tile_block<false, true> : tile_block<false, false>);
  run(a, b, b_panel, columns, bias, out);
}

inline void product_bf16(const Product& p, int p0, int p1, int r0, int r1) {
  const Tiles tiles;
  const auto outputs = static_cast<size_t>(p.outputs);
  const auto* x = static_cast<const uint16_t*>(p.x);
  // Panels that stay in the second cache meet all rows; a block of rows is written whole, from left to right.
  const int step = p.panel_bytes > kKept / 2 ? 2 : static_cast<int>(kKept / p.panel_bytes) & ~1;
  for (int first = p0; first < p1; first += step) {
    const int last = least(p1, first + step);
    for (int r = r0; r < r1; r += 32) {
      for (int panel = first; panel < last; panel += 2) {
        const int e = panel * kPanelRows, wide = least((last - panel) * kPanelRows, p.outputs - e);
        const Out out{p.y + static_cast<size_t>(r) * outputs + e, outputs, least(32, r1 - r), least(32, wide)};
        tile_block_of(x + r / 16 * tile_row(p.columns),
                      p.panels + static_cast<size_t>(panel) * p.panel_bytes, p.panel_bytes, p.columns,
                      p.bias != nullptr ? p.bias + e : nullptr, out);
      }
    }
  }
}

inline void product_amx(Format format, const Product& p, int p0, int p1, int r0, int r1) {
  if (format == Format::kBf16) return product_bf16(p, p0, p1, r0, r1);
  product(format, p, p0, p1, r0, r1);
}

// Columns k.. of two rows side by side: [16 columns][2]; a null row is zeros.
inline __m512i pairs16(const float* first, const float* second, int k, int columns) {
  const auto numbers = [&](const float* row) {
    return row == nullptr ? _mm512_setzero_si512()
                          : _mm512_cvtepu16_epi32(round16(vload_upto(row + k, columns).a));
  };
  return _mm512_or_si512(numbers(first), _mm512_slli_epi32(numbers(second), 16));
}

// Calls f(t, row t, row t + 1 or null) for every pair of rows, and with nulls up to a multiple of 32.
template <class F>
inline void for_pairs(const float* x, int width, int rows, const F& f) {
  for (int t = 0; t < bf16_columns(rows); t += 2) {
    const float* row = x + static_cast<size_t>(t) * width;
    f(t, t < rows ? row : nullptr, t + 1 < rows ? row + width : nullptr);
  }
}

// x [T, K] as panels of 16 of its columns: [T / 2][16][2].
inline void pack_gradient_x(const WeightGradient& g, uint16_t* panels) {
  const size_t panel = tile_row(g.rows);
  for_pairs(g.x, g.columns, g.rows, [&](int t, const float* first, const float* second) {
    for (int k = 0; k < g.columns; k += 16) {
      const int m = least(16, g.columns - k);
      _mm512_store_si512(panels + k / 16 * panel + static_cast<size_t>(t) * 16,
                         pairs16(first, second, k, m));
    }
  });
}

// Sixteen rows of sixteen 32-bit numbers, transposed.
inline void transpose16(__m512i* r) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// The columns of dy [T, E] as the rows of a matrix A.
inline void pack_gradient_dy(const WeightGradient& g, uint16_t* tiles) {
  for (int t = 0; t < g.rows; t += 32) {
    const float* rows[32];
    for (int i = 0; i < 32; ++i) {
      rows[i] = t + i < g.rows ? g.dy + static_cast<size_t>(t + i) * g.outputs : nullptr;
    }
    for (int e = 0; e < g.outputs; e += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; ++i) {
        block[i] = pairs16(rows[2 * i], rows[2 * i + 1], e, least(16, g.outputs - e));
      }
      transpose16(block);
      uint16_t* to = tiles + e / 16 * tile_row(g.rows) + static_cast<size_t>(t) * 16;
      for (int i = 0; i < 16; ++i) _mm512_store_si512(to + 32 * i, block[i]);
    }
  }
}

inline void weight_gradient(const WeightGradient& g, uint16_t* scratch) {
  uint16_t* panels = scratch + static_cast<size_t>(bf16_columns(g.outputs)) * bf16_columns(g.rows);
  pack_gradient_dy(g, scratch);
  pack_gradient_x(g, panels);
  const Tiles tiles;
  const auto width = static_cast<size_t>(g.columns);
  for (int e = 0; e < g.outputs; e += 32) {
    for (int k = 0; k < g.columns; k += 32) {
      const Out out{g.dw + e * width + k, width, least(32, g.outputs - e), least(32, g.columns - k)};
      const auto* b = reinterpret_cast<const uint8_t*>(panels + k / 16 * tile_row(g.rows));
      tile_block_of(scratch + e / 16 * tile_row(g.rows), b, tile_row(g.rows) * 2, g.rows, nullptr, out);
    }
  }
}

constexpr ponder::Kernels amx_table() {
  ponder::Kernels t = table("amx");
  t.bf16_bytes = sizeof(uint16_t);
  t.round_row = round_row_amx;
  t.product = product_amx;
  t.weight_gradient = weight_gradient;
  return t;
}

}  // namespace PONDER_ARCH

namespace ponder {
extern const Kernels kernels_amx;
const Kernels kernels_amx = ponder_amx::amx_table();
}  // namespace ponder
