// kernels_amx: the AVX-512 table with its products of bf16 matrices on the tiles of AMX.
//
// A tile is 16 rows of 64 bytes. TDPBF16PS adds to C [16, 16] the product of A [16 rows, 32
// columns] and B [16 pairs of columns, 16 outputs, 2]; each row of C depends on its own row of A
// alone. Matrices A lie tile by tile, those of the same rows one after the other: rows that are far
// apart would meet in the same few lines of a cache. Rows of A beyond the last one hold anything:
// their part of C is dropped.
#define PONDER_ARCH ponder_amx
#include "vec_avx512.h"

#include <initializer_list>

#include "kernels_impl.h"

namespace PONDER_ARCH {

using ponder::bf16_columns;

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
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// 16 numbers to bf16, nearest even; subnormal ones to 0, which is what tiles take them for.
inline __m256i round16(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
// The first n > 0 of 32 numbers, zeros behind.
inline __m512i round32(const float* x, int n) {
  const vf low = vload_upto(x, least(16, n)),
           high = n > 16 ? vload_upto(x + 16, least(16, n - 16)) : vset(0.0f);
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.a, low.a));
}

constexpr int kTile = 512;  // numbers of a tile

// Tiles of sixteen rows of a matrix A of so many columns.
inline size_t tile_row(int columns) { return static_cast<size_t>(bf16_columns(columns)) * 16; }

inline void round_row_amx(const float* x, int columns, int row, void* rounded) {
  auto* out = static_cast<uint16_t*>(rounded) + row / 16 * tile_row(columns) + row % 16 * 32;
  for (int k = 0; k < columns; k += 32, out += kTile) {
    _mm512_store_si512(out, round32(x + k, columns - k));
  }
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

// Sixteen rows [columns] as outputs of a matrix B: one panel, [columns / 2][16 rows][2].
inline void pack_rows(const float* rows, int columns, uint16_t* panel) {
  for (int k = 0; k < columns; k += 32, panel += kTile) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) {
      block[i] = round32(rows + static_cast<size_t>(i) * columns + k, columns - k);
    }
    transpose16(block);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(panel + 32 * i, block[i]);
  }
}

inline void pack_panel_amx(Format format, const float* w, int columns, uint8_t* panel) {
  if (format != Format::kBf16) return pack_panel(format, w, columns, panel);
  pack_rows(w, columns, reinterpret_cast<uint16_t*>(panel));
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

// C [32 or 16 rows, 32 or 16 outputs] = bias + A · B, where A's rows of tiles lie `a_row` numbers
// apart and B's panels `b_panel` bytes.
template <bool kTwoRows, bool kTwoPanels>
inline void tile_block(const uint16_t* a, size_t a_row, const uint8_t* b, size_t b_panel,
                       int columns, const float* bias, const Out& out) {
  asm volatile(
      "" ::
          : "memory");    // GCC 12 does not know that loads of tiles read what was stored before
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
  const uint16_t* a_next = a + a_row;
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

inline void tile_block_of(const uint16_t* a, size_t a_row, const void* b, size_t b_panel,
                          int columns, const float* bias, const Out& out) {
  const bool two_rows = out.rows > 16, two_panels = out.columns > 16;
  const auto run = two_rows ? (two_panels ? tile_block<true, true> : tile_block<true, false>)
                            : (two_panels ? tile_block<false, true> : tile_block<false, false>);
  run(a, a_row, static_cast<const uint8_t*>(b), b_panel, columns, bias, out);
}

inline void product_bf16(const Product& p, int p0, int p1, int r0, int r1) {
  const Tiles tiles;
  const auto* x = static_cast<const uint16_t*>(p.x);
  // Panels that stay in the second cache meet all rows; a block of rows is written whole, from left
  // to right.
  const int step = p.panel_bytes > kKept / 2 ? 2 : static_cast<int>(kKept / p.panel_bytes) & ~1;
  for (int first = p0; first < p1; first += step) {
    const int last = least(p1, first + step);
    for (int r = r0; r < r1; r += 32) {
      for (int panel = first; panel < last; panel += 2) {
        const int e = panel * kPanelRows, wide = least((last - panel) * kPanelRows, p.outputs - e);
        const Out out{p.y + static_cast<size_t>(r) * p.y_row + e, p.y_row, least(32, r1 - r),
                      least(32, wide)};
        tile_block_of(x + r / 16 * tile_row(p.columns), tile_row(p.columns),
                      p.panels + static_cast<size_t>(panel) * p.panel_bytes, p.panel_bytes,
                      p.columns, p.bias != nullptr ? p.bias + e : nullptr, out);
      }
    }
  }
}

// How attention multiplies, in two rows of tiles; see Lanes.
struct OnTiles {
  using Guard = Tiles;
  static constexpr size_t kBytes = sizeof(uint16_t);
  static void round(const float* x, int columns, int row, void* to) {
    round_row_amx(x, columns, row, to);
  }
  // A row of tiles meets four panels at once, or two rows meet two: sums that wait for each other
  // are slow.
  template <class F>
  static void multiply(const void* x, int columns, int first, int rows, int panels, const F& block,
                       float* y, size_t y_row) {
    const size_t apart = tile_row(columns);
    for (int row = first; row < rows; row += 32) {
      const uint16_t* a = static_cast<const uint16_t*>(x) + row / 16 * apart;
      const bool two = rows - row > 16;
      for (int p = 0, count; p < panels; p += count) {
        count = !two && panels - p >= 4 ? 4 : least(2, panels - p);
        const auto here = [&](int k, int i) { return block(k, p + i); };
        using G = decltype(here);
        const auto run = two ? (count == 2 ? sums<true, 2, G> : sums<true, 1, G>)
                             : (count == 4   ? sums<false, 4, G>
                                : count == 2 ? sums<false, 2, G>
                                             : sums<false, 1, G>);
        run(a, apart, columns, here, y + row * y_row + 16 * p, y_row);
      }
    }
  }

 private:
  template <bool kTwo, int kPanels, class F>
  static void sums(const uint16_t* a, size_t apart, int columns, const F& block, float* y,
                   size_t y_row) {
    const auto numbers = [&](int k, int i) {
      const uint16_t* found = block(k, i);
      asm volatile("" ::: "memory");  // see tile_block
      return found;
    };
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int k = 0; k < columns; k += 32, a += kTile) {
      _tile_loadd(4, a, 64);
      if constexpr (kTwo) _tile_loadd(5, a + apart, 64);
      _tile_loadd(6, numbers(k, 0), 64);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTwo) _tile_dpbf16ps(2, 5, 6);
      if constexpr (kPanels > 1) {
        _tile_loadd(7, numbers(k, 1), 64);
        _tile_dpbf16ps(1, 4, 7);
        if constexpr (kTwo) _tile_dpbf16ps(3, 5, 7);
      }
      if constexpr (kPanels > 2) {
        _tile_loadd(5, numbers(k, 2), 64);
        _tile_dpbf16ps(2, 4, 5);
        _tile_loadd(6, numbers(k, 3), 64);
        _tile_dpbf16ps(3, 4, 6);
      }
    }
    _tile_stored(0, y, y_row * 4);
    if constexpr (kPanels > 1) _tile_stored(1, y + 16, y_row * 4);
    if constexpr (kTwo) _tile_stored(2, y + 16 * y_row, y_row * 4);
    if constexpr (kTwo && kPanels > 1) _tile_stored(3, y + 16 * y_row + 16, y_row * 4);
    if constexpr (kPanels > 2) {
      _tile_stored(2, y + 32, y_row * 4);
      _tile_stored(3, y + 48, y_row * 4);
    }
    asm volatile("" ::: "memory");
  }
};

}  // namespace PONDER_ARCH

#include "integers_amx.h"

namespace PONDER_ARCH {

inline void product_amx(Format format, const Product& p, int p0, int p1, int r0, int r1) {
  if (format == Format::kBf16) return product_bf16(p, p0, p1, r0, r1);
  const bool many = r1 - r0 >= kFewestRows && p.columns % kTileColumns == 0;
  if (many && format == Format::kInt8) return integer_product<false>(p, p0, p1, r0, r1);
  if (many && format == Format::kInt4) return integer_product<true>(p, p0, p1, r0, r1);
  product(format, p, p0, p1, r0, r1);
}

}  // namespace PONDER_ARCH

#include "gradients_amx.h"

namespace PONDER_ARCH {

constexpr ponder::Kernels amx_table() {
  ponder::Kernels t = table("amx");
  t.bf16_bytes = sizeof(uint16_t);
  t.round_row = round_row_amx;
  t.pack_panel = pack_panel_amx;
  t.product = product_amx;
  t.attend_bf16 = attend_bf16<OnTiles>;
  t.weight_gradient = weight_gradient;
  t.gated_mlp_gradients = gated_mlp_gradients;
  t.orthogonalise = orthogonalise;
  t.attend_gradients_bf16 = attend_gradients_amx;
  return t;
}

}  // namespace PONDER_ARCH

namespace ponder {
extern const Kernels kernels_amx;
const Kernels kernels_amx = ponder_amx::amx_table();
}  // namespace ponder
