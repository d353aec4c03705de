// kernels_amx: the AVX-512 table with its products of bf16 matrices on the tiles of AMX.
//
// A tile is 16 rows of 64 bytes. TDPBF16PS adds to C [16, 16] the product of A [16 rows, 32 columns] and B [16 pairs of
// columns, 16 outputs, 2]; each row of C depends on its own row of A alone. Matrices A lie tile by tile, those of the
// same rows one after the other: rows that are far apart would meet in the same few lines of a cache. Rows of A beyond
// the last one hold anything: their part of C is dropped.
#define PONDER_ARCH ponder_amx
#include "vec_avx512.h"

#include <initializer_list>

#include "kernels_impl.h"

namespace PONDER_ARCH {

using ponder::AttendGradients;
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
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// 16 numbers to bf16, nearest even; subnormal ones to 0, which is what tiles take them for.
inline __m256i round16(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
// The first n > 0 of 32 numbers, zeros behind.
inline __m512i round32(const float* x, int n) {
  const vf low = vload_upto(x, least(16, n)), high = n > 16 ? vload_upto(x + 16, least(16, n - 16)) : vset(0.0f);
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

// C [32 or 16 rows, 32 or 16 outputs] = bias + A · B, where A's rows of tiles lie `a_row` numbers apart and B's panels
// `b_panel` bytes.
template <bool kTwoRows, bool kTwoPanels>
inline void tile_block(const uint16_t* a, size_t a_row, const uint8_t* b, size_t b_panel, int columns,
                       const float* bias, const Out& out) {
  asm volatile("" ::: "memory");  // GCC 12 does not know that loads of tiles read what was stored before
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

inline void tile_block_of(const uint16_t* a, size_t a_row, const void* b, size_t b_panel, int columns,
                          const float* bias, const Out& out) {
  const bool two_rows = out.rows > 16, two_panels = out.columns > 16;
  const auto run = two_rows ? (two_panels ? tile_block<true, true> : tile_block<true, false>)
                            : (two_panels ? tile_block<false, true> : tile_block<false, false>);
  run(a, a_row, static_cast<const uint8_t*>(b), b_panel, columns, bias, out);
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
        tile_block_of(x + r / 16 * tile_row(p.columns), tile_row(p.columns),
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

// A matrix of fp32 rows, contiguous.
struct Rows {
  const float* data;
  int count, columns;
  const float* operator[](int t) const {
    return t < count ? data + static_cast<size_t>(t) * columns : nullptr;
  }
};

// x [T, K] as a matrix B with its columns as outputs: panels [T / 2][16][2].
inline void pack_columns(const Rows& x, uint16_t* panels) {
  for (int t = 0; t < bf16_columns(x.count); t += 2) {
    for (int k = 0; k < x.columns; k += 16) {
      _mm512_store_si512(panels + k / 16 * tile_row(x.count) + static_cast<size_t>(t) * 16,
                         pairs16(x[t], x[t + 1], k, least(16, x.columns - k)));
    }
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

// Up to 32 rows x [., E] as columns t to t + 31 of a matrix A, whose rows of tiles lie `row` numbers apart.
inline void pack_transposed(const Rows& x, int t, uint16_t* tiles, size_t row) {
  for (int e = 0; e < x.columns; e += 16) {
    __m512i block[16];
    for (int i = 0; i < 16; ++i) {
      block[i] = pairs16(x[2 * i], x[2 * i + 1], e, least(16, x.columns - e));
    }
    transpose16(block);
    uint16_t* to = tiles + e / 16 * row + static_cast<size_t>(t) * 16;
    for (int i = 0; i < 16; ++i) _mm512_store_si512(to + 32 * i, block[i]);
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

inline void weight_gradient(const WeightGradient& g, uint16_t* scratch) {
  uint16_t* panels = scratch + static_cast<size_t>(bf16_columns(g.outputs)) * bf16_columns(g.rows);
  for (int t = 0; t < g.rows; t += 32) {
    const float* dy = g.dy + static_cast<size_t>(t) * g.outputs;
    pack_transposed({dy, g.rows - t, g.outputs}, t, scratch, tile_row(g.rows));
  }
  pack_columns({g.x, g.rows, g.columns}, panels);
  const Tiles tiles;
  const auto width = static_cast<size_t>(g.columns);
  for (int e = 0; e < g.outputs; e += 32) {
    for (int k = 0; k < g.columns; k += 32) {
      const Out out{g.dw + e * width + k, width, least(32, g.outputs - e), least(32, g.columns - k)};
      const size_t row = tile_row(g.rows);
      tile_block_of(scratch + e / 16 * row, row, panels + k / 16 * row, row * 2, g.rows, nullptr, out);
    }
  }
}

// Scratch of one sequence and head, handed out in pieces.
struct Scratch {
  float* next;
  template <class T>
  T* take(size_t count) {
    auto* found = reinterpret_cast<T*>(next);
    next += (count * sizeof(T) + 63) / 64 * 16;
    return found;
  }
};

// attend_gradients with every product on tiles. Sizes are rounded up to 32; what fills up is zero.
struct AttentionTiles {
  const AttendGradients& a;
  int slots, rows, width;
  float *keys, *values, *q, *d_out;  // [slots or rows, width]
  float *weights, *slopes;           // [32, slots]
  uint16_t *key_rows, *value_rows, *key_columns;
  uint16_t *q_tiles, *d_out_tiles, *q_columns, *d_out_columns;
  uint16_t *weights_t, *slopes_t;  // [slots, rows]
  uint16_t* slope_tiles;           // [32, slots]

  AttentionTiles(const AttendGradients& given, float* scratch)
      : a(given), slots(bf16_columns(a.first_slot + a.rows)), rows(bf16_columns(a.rows)),
        width(bf16_columns(a.head_dim)) {
    Scratch from{scratch};
    const size_t w = width, s = slots, r = rows;
    for (float** each : {&keys, &values}) *each = from.take<float>(s * w);
    for (float** each : {&q, &d_out}) *each = from.take<float>(r * w);
    for (float** each : {&weights, &slopes}) *each = from.take<float>(32 * s);
    for (uint16_t** each : {&key_rows, &value_rows, &key_columns}) *each = from.take<uint16_t>(s * w);
    for (uint16_t** each : {&q_tiles, &d_out_tiles, &q_columns, &d_out_columns}) {
      *each = from.take<uint16_t>(r * w);
    }
    for (uint16_t** each : {&weights_t, &slopes_t}) *each = from.take<uint16_t>(s * r);
    slope_tiles = from.take<uint16_t>(32 * s);
  }

  void pack_slots() {
    for (int j = 0; j < slots; ++j) {
      float *k = keys + static_cast<size_t>(j) * width, *v = values + static_cast<size_t>(j) * width;
      std::memset(k, 0, sizeof(float) * width), std::memset(v, 0, sizeof(float) * width);
      if (j >= a.first_slot + a.rows) continue;
      std::memcpy(k, a.keys[j], sizeof(float) * a.head_dim);
      std::memcpy(v, a.values[j], sizeof(float) * a.head_dim);
    }
    for (int s = 0; s < slots; s += 16) {
      const size_t from = static_cast<size_t>(s) * width, to = s / 16 * tile_row(width);
      pack_rows(keys + from, width, key_rows + to);
      pack_rows(values + from, width, value_rows + to);
    }
    pack_columns({keys, slots, width}, key_columns);
  }

  size_t row_of(int t, int head) const {
    return static_cast<size_t>(t) * a.row + static_cast<size_t>(head) * a.head_dim;
  }

  void pack_head(int head) {
    std::memset(q, 0, sizeof(float) * rows * width), std::memset(d_out, 0, sizeof(float) * rows * width);
    for (int t = 0; t < a.rows; ++t) {
      float *to_q = q + static_cast<size_t>(t) * width, *to_d = d_out + static_cast<size_t>(t) * width;
      const float* from = a.q + t * a.q_row + head * a.q_head;
      for (int c = 0; c < a.head_dim; ++c) to_q[c] = from[c] * a.scale;
      std::memcpy(to_d, a.d_out + row_of(t, head), sizeof(float) * a.head_dim);
      round_row_amx(to_q, width, t, q_tiles);
      round_row_amx(to_d, width, t, d_out_tiles);
    }
    pack_columns({q, rows, width}, q_columns);
    pack_columns({d_out, rows, width}, d_out_columns);
  }

  // Weights and slopes of rows t to t + 31, and their queries' gradients.
  void block(int head, int t) {
    const int count = least(32, a.rows - t), seen = bf16_columns(a.first_slot + t + count);
    const size_t row = tile_row(width);
    for (int s = 0; s < seen; s += 32) {
      const Out scores{weights + s, static_cast<size_t>(seen), 32, 32};
      const Out products{slopes + s, static_cast<size_t>(seen), 32, 32};
      tile_block_of(q_tiles + t / 16 * row, row, key_rows + s / 16 * row, row * 2, width, nullptr, scores);
      tile_block_of(d_out_tiles + t / 16 * row, row, value_rows + s / 16 * row, row * 2, width, nullptr,
                    products);
    }
    for (int r = 0; r < 32; ++r) {
      float *of_weights = weights + static_cast<size_t>(r) * seen, *of_slopes = slopes + static_cast<size_t>(r) * seen;
      if (r < count) {
        const float *o = a.out + row_of(t + r, head), *d = a.d_out + row_of(t + r, head);
        vf sum = vset(0.0f);
        for_lanes(a.head_dim, [&](int c, int m) { sum = vfma(vload_upto(o + c, m), vload_upto(d + c, m), sum); });
        const vf off = vset(vsum(sum));
        for (int j = 0; j < seen; j += 16) vstore(of_slopes + j, vsub(vload(of_slopes + j), off));
        soften_slopes(of_weights, of_slopes, a.first_slot + t + r + 1, static_cast<size_t>(seen));
      } else {
        std::memset(of_weights, 0, sizeof(float) * seen), std::memset(of_slopes, 0, sizeof(float) * seen);
      }
      round_row_amx(of_slopes, seen, r, slope_tiles);
    }
    pack_transposed({weights, 32, seen}, t, weights_t, tile_row(rows));
    pack_transposed({slopes, 32, seen}, t, slopes_t, tile_row(rows));
    alignas(64) float found[32 * 32];
    for (int c = 0; c < a.head_dim; c += 32) {
      tile_block_of(slope_tiles, tile_row(seen), key_columns + c / 16 * tile_row(slots), tile_row(slots) * 2,
                    seen, nullptr, {found, 32, 32, 32});
      for (int r = 0; r < count; ++r) {
        float* to = a.d_q + row_of(t + r, head) + c;
        for (int i = 0; i < least(32, a.head_dim - c); ++i) to[i] = found[32 * r + i] * a.scale;
      }
    }
  }

  // Adds what the rows that see it give to every slot: weights_t · d_out, or slopes_t · q.
  void add_slots(const uint16_t* tiles, const uint16_t* columns, float* const* to) {
    alignas(64) float found[32 * 32];
    for (int s = 0; s < slots; s += 32) {
      const int before = s - a.first_slot - 32, t = before < 0 ? 0 : (before / 32 + 1) * 32;
      for (int c = 0; c < a.head_dim; c += 32) {
        tile_block_of(tiles + s / 16 * tile_row(rows) + static_cast<size_t>(t) * 16, tile_row(rows),
                      columns + c / 16 * tile_row(rows) + static_cast<size_t>(t) * 16, tile_row(rows) * 2,
                      rows - t, nullptr, {found, 32, 32, 32});
        for (int j = 0; j < least(32, a.first_slot + a.rows - s); ++j) {
          add_row(found + 32 * j, least(32, a.head_dim - c), to[s + j] + c);
        }
      }
    }
  }
};

inline void attend_gradients_amx(const AttendGradients& a, float* scratch) {
  AttentionTiles work(a, scratch);
  work.pack_slots();
  for (int head = 0; head < a.group; ++head) {
    work.pack_head(head);
    const Tiles tiles;
    for (int t = 0; t < a.rows; t += 32) work.block(head, t);
    work.add_slots(work.weights_t, work.d_out_columns, a.d_values);
    work.add_slots(work.slopes_t, work.q_columns, a.d_keys);
  }
}

constexpr ponder::Kernels amx_table() {
  ponder::Kernels t = table("amx");
  t.bf16_bytes = sizeof(uint16_t);
  t.round_row = round_row_amx;
  t.pack_panel = pack_panel_amx;
  t.product = product_amx;
  t.weight_gradient = weight_gradient;
  t.attend_gradients_bf16 = attend_gradients_amx;
  return t;
}

}  // namespace PONDER_ARCH

namespace ponder {
extern const Kernels kernels_amx;
const Kernels kernels_amx = ponder_amx::amx_table();
}  // namespace ponder
