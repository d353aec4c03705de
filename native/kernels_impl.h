// kernels_impl: the one algorithm behind every table, over the 16-lane vectors of a vec_*.h header.
//
// Included once by each kernels_*.cpp, which sets PONDER_ARCH. All arithmetic is the definition in
// ponder/model/ops/scalar.py and int8.py: every operation rounded on its own, fixed orders of sums.
// Only fp32 products are free to fuse; they sum their columns in ascending order.
#pragma once

#include <cmath>
#include <cstring>

#include "kernels.h"

namespace PONDER_ARCH {

using ponder::AttendBlock;
using ponder::bf16_bits;
using ponder::Format;
using ponder::kAttendChunk;
using ponder::kGroup;
using ponder::kPanelRows;
using ponder::Product;

inline int least(int a, int b) { return a < b ? a : b; }
inline size_t whole_lanes(int n) { return static_cast<size_t>(n + 15) / 16 * 16; }

// Scratch, handed out in pieces.
struct Scratch {
  float* next;
  template <class T>
  T* take(size_t count) {
    auto* found = reinterpret_cast<T*>(next);
    next += (count * sizeof(T) + 63) / 64 * 16;
    return found;
  }
};

inline vf vload_n(const float* p, int n) {
  float padded[16] = {};
  std::memcpy(padded, p, sizeof(float) * static_cast<size_t>(n));
  return vload(padded);
}
inline void vstore_n(float* p, vf x, int n) {
  float whole[16];
  vstore(whole, x);
  std::memcpy(p, whole, sizeof(float) * static_cast<size_t>(n));
}
// Calls f(offset, lanes) for blocks of 16, then for the ragged end.
template <class F>
inline void for_lanes(int n, const F& f) {
  int i = 0;
  for (; i + 16 <= n; i += 16) f(i, 16);
  if (i < n) f(i, n - i);
}
inline vf vload_upto(const float* p, int n) { return n == 16 ? vload(p) : vload_n(p, n); }
inline void vstore_upto(float* p, vf x, int n) { n == 16 ? vstore(p, x) : vstore_n(p, x, n); }

inline vf vexp(vf x) {
  const vf low = vset(-87.0f), high = vset(88.0f), one = vset(1.0f);
  const vf c = vmin(high, vmax(low, x));
  const vf n = vrint(vmul(c, vset(1.4426950408889634f)));
  const vf r = vsub(vsub(c, vmul(n, vset(0.693359375f))), vmul(n, vset(-2.12194440e-4f)));
  vf p = vadd(vmul(vset(0.001381455222144723f), r), vset(0.00836874544620514f));
  p = vadd(vmul(p, r), vset(0.04166838899254799f));
  p = vadd(vmul(p, r), vset(0.1666652113199234f));
  p = vmul(vadd(vmul(p, r), vset(0.4999999403953552f)), r);
  p = vadd(vmul(vadd(p, one), r), one);
  const vf y = vselect_lt(x, low, vset(0.0f), vmul(p, vpow2(n)));
  return vselect_lt(high, x, vset(HUGE_VALF), y);
}

// ---- int8 -------------------------------------------------------------------------------------

// Values of one group to integers in [-127, 127], then zeros to a multiple of 16; returns the scale.
inline float quantise_group(const float* x, int n, int32_t* q) {
  vf top = vset(0.0f);
  for_lanes(n, [&](int i, int m) { top = vmax(top, vabs(vload_upto(x + i, m))); });
  const float scale = vmax_lane(top) / 127.0f;
  if (scale == 0.0f) {
    std::memset(q, 0, sizeof(int32_t) * kGroup);
    return scale;
  }
  const vf limit = vset(127.0f), divisor = vset(scale);
  for_lanes(n, [&](int i, int m) {
    const vf whole = vrint(vdiv(vload_upto(x + i, m), divisor));
    vstore_int(q + i, vmax(vset(-127.0f), vmin(limit, whole)));
  });
  return scale;
}

inline void quantise_row(const float* x, int columns, void* row, float* scales, float* sums) {
  auto* out = static_cast<Q8Dot::Act*>(row);
  for (int k = 0; k < columns; k += kGroup, x += kGroup, out += kGroup) {
    const int n = least(kGroup, columns - k);
    alignas(64) int32_t q[kGroup];
    *scales++ = quantise_group(x, n, q);
    const int padded = ponder::padded_columns(n);
    for (int i = 0; i < padded; ++i) out[i] = static_cast<Q8Dot::Act>(q[i] + Q8Dot::kActBias);
    for (int i = 0; sums != nullptr && i < n; i += ponder::kSmallGroup) {
      int32_t sum = 0;
      for (int j = i; j < least(n, i + ponder::kSmallGroup); ++j) sum += q[j];
      *sums++ = static_cast<float>(sum);
    }
  }
}

inline void pack_int8(const float* w, int columns, uint8_t* panel) {
  for (int k = 0; k < columns; k += kGroup) {
    const int n = least(kGroup, columns - k), quads = ponder::padded_columns(n) / 4;
    float scales[kPanelRows];
    for (int place = 0; place < kPanelRows; ++place) {
      const int row = Q8Dot::kOrder[place];
      alignas(64) int32_t q[kGroup];
      int8_t narrow[kGroup];
      scales[row] = quantise_group(w + static_cast<size_t>(row) * columns + k, n, q);
      for (int i = 0; i < 4 * quads; ++i) narrow[i] = static_cast<int8_t>(q[i]);
      for (int i = 0; i < quads; ++i) std::memcpy(panel + i * 64 + place * 4, narrow + i * 4, 4);
    }
    panel += quads * 64;
    std::memcpy(panel, scales, sizeof scales);
    panel += sizeof scales;
  }
}

// ---- products: a format says how one chunk of columns of a panel meets a few rows ---------------

struct Int8 {
  using Act = Q8Dot::Act;
  static constexpr int kChunk = kGroup;
  static constexpr int kRows = Q8Dot::kRows;
  static constexpr bool kBiasFirst = false;
  static size_t stride(int columns) {
    return static_cast<size_t>(ponder::padded_columns(columns));
  }
  static size_t chunk_bytes(int n) {
    return static_cast<size_t>(ponder::padded_columns(n)) * kPanelRows + kPanelRows * 4;
  }
  // y[r] += the chunk's part. Memory from `ahead` on is prefetched when it is not null.
  template <int R>
  static void tile(const uint8_t* chunk, int n, const Product& p, int row, int k,
                   const char* ahead, float* y) {
    const int quads = (n + 3) / 4;
    const size_t ldx = stride(p.columns);
    const Act* x = static_cast<const Act*>(p.x) + static_cast<size_t>(row) * ldx + k;
    vf dots[R];
    const auto* w = reinterpret_cast<const int8_t*>(chunk);
    if (ahead != nullptr) {
      Q8Dot::dot<R, true>(w, quads, x, ldx, ahead, dots);
    } else {
      Q8Dot::dot<R, false>(w, quads, x, ldx, ahead, dots);
    }
    const vf w_scale = vload(reinterpret_cast<const float*>(chunk + quads * 64));
    const int groups = ponder::num_groups(p.columns);
    const float* x_scale = p.x_scales + static_cast<size_t>(row) * groups + k / kGroup;
    for (int r = 0; r < R; ++r) {
      const vf scale = vmul(w_scale, vset(x_scale[static_cast<size_t>(r) * groups]));
      vstore(y + 16 * r, vadd(vload(y + 16 * r), vmul(dots[r], scale)));
    }
  }
};

}  // namespace PONDER_ARCH

#include "int4_impl.h"

namespace PONDER_ARCH {

struct Fp32 {
  static constexpr int kChunk = 512;
  static constexpr int kRows = kFloatRows;
  static constexpr bool kBiasFirst = false;
  static size_t chunk_bytes(int n) { return sizeof(float) * kPanelRows * static_cast<size_t>(n); }
  template <int R>
  static void tile(const uint8_t* chunk, int n, const Product& p, int row, int k, const char*,
                   float* y) {
    const auto ldx = static_cast<size_t>(p.columns);
    const float* x = static_cast<const float*>(p.x) + static_cast<size_t>(row) * ldx + k;
    const auto* w = reinterpret_cast<const float*>(chunk);
    vf sum[R];
    for (int r = 0; r < R; ++r) sum[r] = vload(y + 16 * r);
    for (int i = 0; i < n; ++i, w += 16) {
      const vf column = vload(w);
      for (int r = 0; r < R; ++r) sum[r] = vfma(column, vset(x[r * ldx + i]), sum[r]);
    }
    for (int r = 0; r < R; ++r) vstore(y + 16 * r, sum[r]);
  }
};

// As tiles do it: of each 32 columns the even ones and the odd ones are summed apart, ascending,
// and their sum is added. Products of two bf16 numbers are exact, so a table that fuses them with
// their addition has the bits of one that does not. Activations are bf16 numbers held as fp32.
struct Bf16 {
  static constexpr int kChunk = 512;
  static constexpr int kRows = kFloatRows / 2;
  static constexpr bool kBiasFirst = true;
  static size_t chunk_bytes(int n) {
    return sizeof(uint16_t) * kPanelRows * static_cast<size_t>(ponder::bf16_columns(n));
  }
  template <int R>
  static void tile(const uint8_t* chunk, int n, const Product& p, int row, int k, const char*,
                   float* y) {
    const auto ldx = static_cast<size_t>(ponder::bf16_columns(p.columns));
    const float* x = static_cast<const float*>(p.x) + static_cast<size_t>(row) * ldx + k;
    const auto* w = reinterpret_cast<const uint16_t*>(chunk);
    for (int k0 = 0; k0 < n; k0 += 32, x += 32) {
      vf even[R], odd[R];
      repeat<R>([&](auto r) { even[r] = odd[r] = vset(0.0f); });
      for (int i = 0; i < 32; i += 2, w += 32) {
        vf first, second;
        vload_pairs(w, &first, &second);
        repeat<R>([&](auto r) {
          even[r] = vfma(first, vset(x[r * ldx + i]), even[r]);
          odd[r] = vfma(second, vset(x[r * ldx + i + 1]), odd[r]);
        });
      }
      repeat<R>(
          [&](auto r) { vstore(y + 16 * r, vadd(vload(y + 16 * r), vadd(even[r], odd[r]))); });
    }
  }
};

// Runs the tile for a number of rows known only here.
template <class F, int R, class... Args>
inline void tile_of(int rows, Args... args) {
  if constexpr (R > 1) {
    if (rows < R) return tile_of<F, R - 1>(rows, args...);
  }
  F::template tile<R>(args...);
}

constexpr int kRowBlock = 96;   // rows whose partial sums stay in the inner caches
constexpr int kPanelBlock = 4;  // panels that share one reading of the activations
constexpr int kFewRows = 64;    // up to here the weights are read as one plain stream

// Panels [p0, p0 + panels) of rows [r0, r0 + rows), sums kept in y.
template <class F>
inline void product_block(const Product& p, int p0, int panels, int r0, int rows) {
  alignas(64) float y[kPanelBlock][kRowBlock * 16];
  for (int i = 0; i < panels; ++i) {
    const bool has_start = F::kBiasFirst && p.bias != nullptr;
    const vf start = has_start ? vload(p.bias + (p0 + i) * kPanelRows) : vset(0.0f);
    for (int r = 0; r < rows; ++r) vstore(y[i] + 16 * r, start);
  }
  size_t offset = 0;
  for (int k = 0; k < p.columns; k += F::kChunk) {
    const int n = least(F::kChunk, p.columns - k);
    const uint8_t* first = p.panels + static_cast<size_t>(p0) * p.panel_bytes + offset;
    for (int r = 0; r < rows; r += F::kRows) {
      for (int i = 0; i < panels; ++i) {
        const uint8_t* chunk = first + i * p.panel_bytes;
        const char* ahead = nullptr;
        if (rows <= F::kRows) {
          ahead = reinterpret_cast<const char*>(chunk) + 2048;
        } else if (const int tile = r / F::kRows; tile < 4 && rows <= kFewRows) {
          ahead = reinterpret_cast<const char*>(chunk) + F::chunk_bytes(n) + 2048 * tile;
        }
        tile_of<F, F::kRows>(rows - r, chunk, n, p, r0 + r, k, ahead, y[i] + 16 * r);
      }
    }
    offset += F::chunk_bytes(n);
  }
  for (int i = 0; i < panels; ++i) {
    const int e = (p0 + i) * kPanelRows, m = least(kPanelRows, p.outputs - e);
    for (int r = 0; r < rows; ++r) {
      vf sum = vload(y[i] + 16 * r);
      if (!F::kBiasFirst && p.bias != nullptr) sum = vadd(sum, vload(p.bias + e));
      vstore_upto(p.y + static_cast<size_t>(r0 + r) * p.y_row + e, sum, m);
    }
  }
}

template <class F>
inline void product_of(const Product& p, int p0, int p1, int r0, int r1) {
  const int block = r1 - r0 <= kFewRows ? 1 : kPanelBlock;
  for (int i = p0; i < p1; i += block) {
    for (int r = r0; r < r1; r += kRowBlock) {
      product_block<F>(p, i, least(block, p1 - i), r, least(kRowBlock, r1 - r));
    }
  }
}

inline void product(Format format, const Product& p, int p0, int p1, int r0, int r1) {
  switch (format) {
    case Format::kFp32:
      return product_of<Fp32>(p, p0, p1, r0, r1);
    case Format::kBf16:
      return product_of<Bf16>(p, p0, p1, r0, r1);
    case Format::kInt8: return product_of<Int8>(p, p0, p1, r0, r1);
    case Format::kInt4: return product_of<Int4>(p, p0, p1, r0, r1);
  }
}

// Rounded to bf16, held as fp32.
inline void round_row(const float* x, int columns, int row, void* rounded) {
  auto* out =
      static_cast<float*>(rounded) + static_cast<size_t>(row) * ponder::bf16_columns(columns);
  for (int i = 0; i < columns; ++i) {
    const uint32_t bits = static_cast<uint32_t>(bf16_bits(x[i])) << 16;
    std::memcpy(out + i, &bits, 4);
  }
  std::memset(out + columns, 0, sizeof(float) * (ponder::bf16_columns(columns) - columns));
}

inline void pack_bf16(const float* w, int columns, uint8_t* panel) {
  auto* out = reinterpret_cast<uint16_t*>(panel);
  std::memset(panel, 0, ponder::panel_bytes(Format::kBf16, columns));
  for (int row = 0; row < kPanelRows; ++row) {
    for (int k = 0; k < columns; ++k) {
      out[(k / 2 * kPanelRows + row) * 2 + k % 2] =
          bf16_bits(w[static_cast<size_t>(row) * columns + k]);
    }
  }
}

inline void pack_panel(Format format, const float* w, int columns, uint8_t* panel) {
  if (format == Format::kInt8) return pack_int8(w, columns, panel);
  if (format == Format::kInt4) return pack_int4(w, columns, panel);
  if (format == Format::kBf16) return pack_bf16(w, columns, panel);
  for (int k = 0; k < columns; ++k) {
    for (int row = 0; row < kPanelRows; ++row) {
      const float x = w[static_cast<size_t>(row) * columns + k];
      reinterpret_cast<float*>(panel)[static_cast<size_t>(k) * kPanelRows + row] = x;
    }
  }
}

// ---- rows ---------------------------------------------------------------------------------------

inline void rms_norm(const float* x, const float* delta, const float* weight, int n, float eps,
                     float* sum, float* y) {
  vf squares = vset(0.0f);
  for_lanes(n, [&](int i, int m) {
    vf v = vload_upto(x + i, m);
    if (delta != nullptr) {
      v = vadd(v, vload_upto(delta + i, m));
      vstore_upto(sum + i, v, m);
    }
    squares = vadd(squares, vmul(v, v));
  });
  const float* normed = delta != nullptr ? sum : x;
  const float mean = vsum(squares) / static_cast<float>(n);
  const vf r = vset(1.0f / std::sqrt(mean + eps));
  for_lanes(n, [&](int i, int m) {
    vstore_upto(y + i, vmul(vmul(vload_upto(normed + i, m), r), vload_upto(weight + i, m)), m);
  });
}

inline void rope(const float* x, const float* cos, const float* sin, int half, float* y) {
  for_lanes(half, [&](int i, int m) {
    const vf a = vload_upto(x + i, m), b = vload_upto(x + half + i, m);
    const vf c = vload_upto(cos + i, m), s = vload_upto(sin + i, m);
    vstore_upto(y + i, vsub(vmul(a, c), vmul(b, s)), m);
    vstore_upto(y + half + i, vadd(vmul(b, c), vmul(a, s)), m);
  });
}

inline void swiglu(const float* gate, const float* up, int n, float* y) {
  const vf one = vset(1.0f), minus = vset(-0.0f);
  for_lanes(n, [&](int i, int m) {
    const vf g = vload_upto(gate + i, m);
    const vf silu = vdiv(g, vadd(one, vexp(vsub(minus, g))));
    vstore_upto(y + i, vmul(silu, vload_upto(up + i, m)), m);
  });
}

inline float max_of(const float* x, int n) {
  vf tops = vset(x[0]);
  for_lanes(n, [&](int i, int m) {
    tops = vmax(tops, m == 16 ? vload(x + i) : vset(x[i]));
    for (int j = 1; m < 16 && j < m; ++j) tops = vmax(tops, vset(x[i + j]));
  });
  return vmax_lane(tops);
}

inline float log_of(vf lanes_sum) {
  return static_cast<float>(std::log(static_cast<double>(vsum(lanes_sum))));
}

inline void log_softmax(const float* x, int n, float* y) {
  const vf top = vset(max_of(x, n));
  vf lanes_sum = vset(0.0f);
  for_lanes(n, [&](int i, int m) {
    const vf shifted = vsub(vload_upto(x + i, m), top);
    vstore_upto(y + i, shifted, m);
    if (m == 16) {
      lanes_sum = vadd(lanes_sum, vexp(shifted));
    } else {
      float last[16] = {};
      vstore_n(last, vexp(shifted), m);
      lanes_sum = vadd(lanes_sum, vload(last));
    }
  });
  const vf log_sum = vset(log_of(lanes_sum));
  for_lanes(n, [&](int i, int m) { vstore_upto(y + i, vsub(vload_upto(y + i, m), log_sum), m); });
}

// The first index whose share of the total, summed in order, ends beyond `at`, and where in that
// share `at` lies.
struct Cover {
  int index;
  double at;
};

inline Cover cover(const float* weights, int n, double at) {
  double total = 0;
  for (int i = 0; i < n; ++i) total += static_cast<double>(weights[i]);
  const double target = std::fmin(at * total, std::nextafter(total, 0.0));
  double start = 0, end = static_cast<double>(weights[0]);
  int i = 0;
  while (i < n - 1 && !(end > target)) {
    start = end;
    end += static_cast<double>(weights[++i]);
  }
  return {i, (target - start) / (end - start)};
}

inline void sample(const float* x, int n, float inverse, double at, float* scratch, int32_t* index,
                   float* logprob) {
  constexpr int kBlock = ponder::kDrawBlock;
  const int blocks = (n + kBlock - 1) / kBlock;
  float* sums = scratch + static_cast<size_t>(blocks) * kBlock;
  const float highest = max_of(x, n);
  const vf top = vset(highest), scale = vset(inverse);
  const bool is_scaled = inverse != 1.0f;
  vf all = vset(0.0f);
  for (int b = 0; b < blocks; ++b) {
    vf lanes = vset(0.0f);
    for_lanes(least(kBlock, n - b * kBlock), [&](int i, int m) {
      const int place = b * kBlock + i;
      const vf shifted = vsub(vload_upto(x + place, m), top);
      const auto counted = [&](vf w) {
        if (m == 16) return w;
        float last[16] = {};
        vstore_n(last, w, m);
        return vload(last);
      };
      const vf w = counted(vexp(vmul(shifted, scale)));
      vstore(scratch + place, w);
      lanes = vadd(lanes, w);
      all = vadd(all, is_scaled ? counted(vexp(shifted)) : w);
    });
    sums[b] = vsum(lanes);
  }
  const Cover block = cover(sums, blocks, at);
  const int first = block.index * kBlock;
  *index = first + cover(scratch + first, least(kBlock, n - first), block.at).index;
  *logprob = (x[*index] - highest) - log_of(all);
}

}  // namespace PONDER_ARCH

#include "attend_impl.h"
#include "attend_bf16.h"
#include "gradients_impl.h"

namespace PONDER_ARCH {

constexpr ponder::Kernels table(const char* name) {
  return {name,
          sizeof(Q8Dot::Act),
          sizeof(float),
          quantise_row,
          round_row,
          pack_panel,
          product,
          rms_norm,
          rope,
          swiglu,
          log_softmax,
          sample,
          attend,
          attend_bf16<Lanes>,
          swiglu_gradients,
          attend_gradients,
          norm_gradients,
          pick,
          pick_gradients,
          nullptr,
          nullptr,
          nullptr,
          nullptr};
}

}  // namespace PONDER_ARCH
