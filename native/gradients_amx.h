// gradients_amx: backward passes whose products run on tiles; factors are rounded to bf16. Included
// by kernels_amx.cpp.
#pragma once

#include <algorithm>

namespace PONDER_ARCH {

using ponder::AttendGradients;
using ponder::GatedMlpGradients;
using ponder::Quintic;
using ponder::WeightGradient;

// Columns k.. of two rows side by side: [16 columns][2]; a null row is zeros.
inline __m512i pairs16(const float* first, const float* second, int k, int columns) {
  const auto numbers = [&](const float* row) {
    return row == nullptr ? _mm512_setzero_si512()
                          : _mm512_cvtepu16_epi32(round16(vload_upto(row + k, columns).a));
  };
  return _mm512_or_si512(numbers(first), _mm512_slli_epi32(numbers(second), 16));
}

// A matrix of fp32 rows, `row` floats apart.
struct Rows {
  const float* data;
  int count, columns;
  size_t row;
  const float* operator[](int t) const { return t < count ? data + t * row : nullptr; }
};

// Rows x [., K], padded to 32, as rows from t on of a matrix B with K outputs, whose panels lie
// `panel` numbers apart.
inline void pack_columns(const Rows& x, int t, uint16_t* panels, size_t panel) {
  for (int i = 0; i < bf16_columns(x.count); i += 2) {
    for (int k = 0; k < x.columns; k += 16) {
      _mm512_store_si512(panels + k / 16 * panel + static_cast<size_t>(t + i) * 16,
                         pairs16(x[i], x[i + 1], k, least(16, x.columns - k)));
    }
  }
}

// Up to 32 rows x [., E] as columns t to t + 31 of a matrix A, whose rows of tiles lie `row`
// numbers apart.
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

// A product over `rows` tokens: dw [outputs, columns] = A · B, with A's rows in tiles and B's
// columns in panels.
inline void tokens_product(const uint16_t* tiles, const uint16_t* panels, int rows, int outputs,
                           int columns, float* dw) {
  const Tiles config;
  const size_t row = tile_row(rows), width = static_cast<size_t>(columns);
  for (int e = 0; e < outputs; e += 32) {
    for (int k = 0; k < columns; k += 32) {
      const Out out{dw + e * width + k, width, least(32, outputs - e), least(32, columns - k)};
      tile_block_of(tiles + e / 16 * row, row, panels + k / 16 * row, row * 2, rows, nullptr, out);
    }
  }
}

inline void weight_gradient(const WeightGradient& g, uint16_t* scratch) {
  uint16_t* panels = scratch + static_cast<size_t>(bf16_columns(g.outputs)) * bf16_columns(g.rows);
  for (int t = 0; t < g.rows; t += 32) {
    const float* dy = g.dy + static_cast<size_t>(t) * g.outputs;
    pack_transposed({dy, g.rows - t, g.outputs, static_cast<size_t>(g.outputs)}, t, scratch,
                    tile_row(g.rows));
  }
  pack_columns({g.x, g.rows, g.columns, static_cast<size_t>(g.columns)}, 0, panels,
               tile_row(g.rows));
  tokens_product(scratch, panels, g.rows, g.outputs, g.columns, g.dw);
}

// One step a x + b x G + c x G G with G = xT x, for a quintic polynomial of x's singular values.
inline void quintic_step(const Quintic& q, float* x, int rows, int columns, float* scratch) {
  const auto width = static_cast<size_t>(columns), r = static_cast<size_t>(bf16_columns(rows)),
             c = static_cast<size_t>(bf16_columns(columns));
  Scratch from{scratch};
  auto *gram = from.take<float>(width * width), *square = from.take<float>((width + 16) * width);
  auto* y = from.take<float>(rows * width);
  auto *tiles = from.take<uint16_t>(r * c), *panels = from.take<uint16_t>(r * c);
  const auto inner = [&](const float* of, int count, float* found) {
    for (int t = 0; t < count; t += 32) {
      pack_transposed({of + t * width, count - t, columns, width}, t, tiles, tile_row(count));
    }
    pack_columns({of, count, columns, width}, 0, panels, tile_row(count));
    tokens_product(tiles, panels, count, columns, columns, found);
  };
  inner(x, rows, gram);
  inner(gram, columns, square);
  for (size_t i = 0; i < width * width; ++i) square[i] = q.b * gram[i] + q.c * square[i];
  // Symmetric, so its rows are its columns; they end with zeros up to whole panels.
  std::memset(square + width * width, 0, sizeof(float) * 16 * width);
  for (int e = 0; e < columns; e += 16) {
    pack_rows(square + e * width, columns, panels + e / 16 * tile_row(columns));
  }
  for (int t = 0; t < rows; ++t) round_row_amx(x + t * width, columns, t, tiles);
  const Product p{reinterpret_cast<const uint8_t*>(panels),
                  tile_row(columns) * 2,
                  columns,
                  columns,
                  tiles,
                  nullptr,
                  nullptr,
                  nullptr,
                  y,
                  width};
  product_bf16(p, 0, (columns + 15) / 16, 0, rows);
  for (size_t i = 0; i < rows * width; ++i) x[i] = q.a * x[i] + y[i];
}

// x [rows, columns] with its singular values brought near 1, rows >= columns.
inline void orthogonalise(const Quintic& q, float* x, int rows, int columns, float* scratch) {
  vf squares = vset(0.0f);
  const int n = rows * columns;
  for_lanes(n, [&](int i, int m) {
    const vf v = vload_upto(x + i, m);
    squares = vfma(v, v, squares);
  });
  const vf scale = vset(1.0f / (std::sqrt(vsum(squares)) + 1e-7f));
  for_lanes(n, [&](int i, int m) { vstore_upto(x + i, vmul(vload_upto(x + i, m), scale), m); });
  for (int i = 0; i < q.iterations; ++i) quintic_step(q, x, rows, columns, scratch);
}

// gate_up, then SwiGLU, then down, once more and backwards: 32 tokens at a time stay in the inner
// caches.
inline void gated_mlp_gradients(const GatedMlpGradients& g, float* scratch) {
  const int width = g.gate_up.columns, inner = g.gate_up.outputs / 2;
  const size_t row = tile_row(g.rows), d = bf16_columns(width), f = bf16_columns(inner), w = width;
  Scratch from{scratch};
  const size_t wide = ponder::odd_lines(2 * inner), narrow = ponder::odd_lines(inner);
  auto *both = from.take<float>(32 * wide), *d_both = from.take<float>(32 * wide);
  auto *act = from.take<float>(32 * narrow), *d_act = from.take<float>(32 * narrow);
  auto* rounded = from.take<uint16_t>(32 * std::max(d, 2 * f));
  auto *d_both_t = from.take<uint16_t>(row / 16 * 2 * f),
       *act_columns = from.take<uint16_t>(row / 16 * f);
  auto *dy_t = from.take<uint16_t>(row / 16 * d), *x_columns = from.take<uint16_t>(row / 16 * d);
  const auto multiply = [&](Product p, const float* x, size_t x_row, int rows, float* y,
                            size_t y_row) {
    for (int r = 0; r < rows; ++r) round_row_amx(x + r * x_row, p.columns, r, rounded);
    p.x = rounded, p.y = y, p.y_row = y_row;
    product_bf16(p, 0, (p.outputs + kPanelRows - 1) / kPanelRows, 0, rows);
  };
  for (int t = 0; t < g.rows; t += 32) {
    const int rows = least(32, g.rows - t);
    const size_t at = static_cast<size_t>(t) * width;
    multiply(g.gate_up, g.x + at, width, rows, both, wide);
    multiply(g.down_t, g.dy + at, width, rows, d_act, narrow);
    for (int r = 0; r < rows; ++r) {
      const float *gate = both + r * wide, *up = gate + inner;
      float* d_gate = d_both + r * wide;
      swiglu_slopes(gate, up, d_act + r * narrow, inner, act + r * narrow, d_gate, d_gate + inner);
    }
    multiply(g.gate_up_t, d_both, wide, rows, g.dx + at, width);
    pack_transposed({d_both, rows, 2 * inner, wide}, t, d_both_t, row);
    pack_columns({act, rows, inner, narrow}, t, act_columns, row);
    pack_transposed({g.dy + at, rows, width, w}, t, dy_t, row);
    pack_columns({g.x + at, rows, width, w}, t, x_columns, row);
  }
  tokens_product(d_both_t, x_columns, g.rows, 2 * inner, width, g.d_gate_up);
  tokens_product(dy_t, act_columns, g.rows, width, inner, g.d_down);
}

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
      : a(given),
        slots(bf16_columns(a.first_slot + a.rows)),
        rows(bf16_columns(a.rows)),
        width(bf16_columns(a.head_dim)) {
    Scratch from{scratch};
    const size_t w = width, s = slots, r = rows;
    for (float** each : {&keys, &values}) *each = from.take<float>(s * w);
    for (float** each : {&q, &d_out}) *each = from.take<float>(r * w);
    for (float** each : {&weights, &slopes})
      *each = from.take<float>(32 * ponder::odd_lines(slots));
    for (uint16_t** each : {&key_rows, &value_rows, &key_columns})
      *each = from.take<uint16_t>(s * w);
    for (uint16_t** each : {&q_tiles, &d_out_tiles, &q_columns, &d_out_columns}) {
      *each = from.take<uint16_t>(r * w);
    }
    for (uint16_t** each : {&weights_t, &slopes_t}) *each = from.take<uint16_t>(s * r);
    slope_tiles = from.take<uint16_t>(32 * s);
  }

  void pack_slots() {
    const auto w = static_cast<size_t>(width);
    for (int j = 0; j < slots; ++j) {
      float *k = keys + static_cast<size_t>(j) * width,
            *v = values + static_cast<size_t>(j) * width;
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
    pack_columns({keys, slots, width, w}, 0, key_columns, tile_row(slots));
  }

  size_t row_of(int t, int head) const {
    return static_cast<size_t>(t) * a.row + static_cast<size_t>(head) * a.head_dim;
  }

  void pack_head(int head) {
    const auto w = static_cast<size_t>(width);
    std::memset(q, 0, sizeof(float) * rows * width),
        std::memset(d_out, 0, sizeof(float) * rows * width);
    for (int t = 0; t < a.rows; ++t) {
      float *to_q = q + static_cast<size_t>(t) * width,
            *to_d = d_out + static_cast<size_t>(t) * width;
      const float* from = a.q + t * a.q_row + head * a.q_head;
      for (int c = 0; c < a.head_dim; ++c) to_q[c] = from[c] * a.scale;
      std::memcpy(to_d, a.d_out + row_of(t, head), sizeof(float) * a.head_dim);
      round_row_amx(to_q, width, t, q_tiles);
      round_row_amx(to_d, width, t, d_out_tiles);
    }
    pack_columns({q, rows, width, w}, 0, q_columns, tile_row(rows));
    pack_columns({d_out, rows, width, w}, 0, d_out_columns, tile_row(rows));
  }

  // Weights and slopes of rows t to t + 31, and their queries' gradients.
  void block(int head, int t) {
    const int count = least(32, a.rows - t), seen = bf16_columns(a.first_slot + t + count);
    const size_t row = tile_row(width), wide = ponder::odd_lines(seen);
    for (int s = 0; s < seen; s += 32) {
      const Out scores{weights + s, wide, 32, 32};
      const Out products{slopes + s, wide, 32, 32};
      tile_block_of(q_tiles + t / 16 * row, row, key_rows + s / 16 * row, row * 2, width, nullptr,
                    scores);
      tile_block_of(d_out_tiles + t / 16 * row, row, value_rows + s / 16 * row, row * 2, width,
                    nullptr, products);
    }
    for (int r = 0; r < 32; ++r) {
      float *of_weights = weights + r * wide, *of_slopes = slopes + r * wide;
      if (r < count) {
        const float *o = a.out + row_of(t + r, head), *d = a.d_out + row_of(t + r, head);
        vf sum = vset(0.0f);
        for_lanes(a.head_dim, [&](int c, int m) {
          sum = vfma(vload_upto(o + c, m), vload_upto(d + c, m), sum);
        });
        const vf off = vset(vsum(sum));
        for (int j = 0; j < seen; j += 16) vstore(of_slopes + j, vsub(vload(of_slopes + j), off));
        soften_slopes(of_weights, of_slopes, a.first_slot + t + r + 1, static_cast<size_t>(seen));
      } else {
        std::memset(of_weights, 0, sizeof(float) * seen),
            std::memset(of_slopes, 0, sizeof(float) * seen);
      }
      round_row_amx(of_slopes, seen, r, slope_tiles);
    }
    pack_transposed({weights, 32, seen, wide}, t, weights_t, tile_row(rows));
    pack_transposed({slopes, 32, seen, wide}, t, slopes_t, tile_row(rows));
    alignas(64) float found[32 * 32];
    for (int c = 0; c < a.head_dim; c += 32) {
      tile_block_of(slope_tiles, tile_row(seen), key_columns + c / 16 * tile_row(slots),
                    tile_row(slots) * 2, seen, nullptr, {found, 32, 32, 32});
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
                      columns + c / 16 * tile_row(rows) + static_cast<size_t>(t) * 16,
                      tile_row(rows) * 2, rows - t, nullptr, {found, 32, 32, 32});
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

}  // namespace PONDER_ARCH
