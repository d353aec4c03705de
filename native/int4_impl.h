// int4_impl: four-bit weights (model/ops/int4.py), over the vectors and dot products of a vec_*.h
// header; included by kernels_impl.h.
//
// In a panel a block of 128 columns, or what is left of one, is for each group of 32 columns 256
// bytes of codes: byte b of the v-th 64 holds byte b of the quads of columns 2 v (low half) and
// 2 v + 1 of an int8 panel. Then m of every group [16 rows], s [16 rows, two in a byte], and the
// scales [16 rows] as bf16 numbers.
#pragma once

#include <initializer_list>

namespace PONDER_ARCH {

using ponder::kSmallGroup;

inline vf held(vf x, float high) { return vmax(vset(0.0f), vmin(vset(high), vrint(x))); }
inline float held(float x, float high) {
  const float whole = std::nearbyint(x);
  return whole > 0.0f ? (whole < high ? whole : high) : 0.0f;
}

// A group of a row: 32 codes and what they stand for.
struct FourBits {
  float s, m;
  vf c[2];
};

// The s and m of least squared error, as int4.py searches them; u is the group by the scale.
inline FourBits search(const vf* u, float middle, float first) {
  constexpr float third = 1.0f / 3.0f;
  FourBits best{};
  float least_error = 0.0f;
  bool is_first = true;
  for (float step : {-3.0f, -2.0f, -1.0f, 0.0f, 1.0f}) {
    const float wanted = first + step, s = wanted > 1.0f ? (wanted < 15.0f ? wanted : 15.0f) : 1.0f;
    const vf by = vset(s);
    for (float start : {-third, 0.0f, third}) {
      FourBits found{s, held((7.5f * s - middle) + start * s, 255.0f), {}};
      const auto encode = [&] {
        const vf off = vset(found.m);
        for (int i = 0; i < 2; ++i) found.c[i] = held(vdiv(vadd(u[i], off), by), 15.0f);
      };
      encode();
      for (int i = 0; i < 2; ++i) {
        const vf sum = vadd(vsub(vmul(by, found.c[0]), u[0]), vsub(vmul(by, found.c[1]), u[1]));
        found.m = held(vsum(sum) * (1.0f / kSmallGroup), 255.0f);
        encode();
      }
      vf errors[2];
      for (int i = 0; i < 2; ++i) {
        const vf away = vsub(u[i], vsub(vmul(by, found.c[i]), vset(found.m)));
        errors[i] = vmul(away, away);
      }
      const float error = vsum(vadd(errors[0], errors[1]));
      if (is_first || error < least_error) best = found, least_error = error;
      is_first = false;
    }
  }
  return best;
}

// One row's block of n columns: codes [128], s and m of its groups, and the scale.
struct FourBitBlock {
  uint8_t codes[kGroup], s[kGroup / kSmallGroup], m[kGroup / kSmallGroup];
  uint16_t scale;
};

inline FourBitBlock quantise_block(const float* w, int n) {
  const int groups = (n + kSmallGroup - 1) / kSmallGroup;
  alignas(64) float padded[kGroup] = {};
  std::memcpy(padded, w, sizeof(float) * static_cast<size_t>(n));
  float low[4], high[4], d[4], widest = 0.0f;
  for (int g = 0; g < groups; ++g) {
    const vf a = vload(padded + 32 * g), b = vload(padded + 32 * g + 16), zero = vset(0.0f);
    low[g] = -vmax_lane(vsub(zero, vmin(zero, vmin(a, b))));
    high[g] = vmax_lane(vmax(zero, vmax(a, b)));
    d[g] = (high[g] - low[g]) / 15.0f;
    widest = d[g] > widest ? d[g] : widest;
  }
  FourBitBlock block{};
  block.scale = bf16_bits(widest / 15.0f);
  const uint32_t bits = static_cast<uint32_t>(block.scale) << 16;
  float scale;
  std::memcpy(&scale, &bits, 4);
  for (int g = 0; g < groups && scale != 0.0f; ++g) {
    const vf by = vset(scale);
    const vf u[2] = {vdiv(vload(padded + 32 * g), by), vdiv(vload(padded + 32 * g + 16), by)};
    const float middle = (low[g] / scale + high[g] / scale) * 0.5f;
    const FourBits found = search(u, middle, std::nearbyint(d[g] / scale));
    block.s[g] = static_cast<uint8_t>(found.s), block.m[g] = static_cast<uint8_t>(found.m);
    for (int i = 0; i < 2; ++i) {
      int32_t codes[16];
      vstore_int(codes, found.c[i]);
      for (int j = 0; j < 16; ++j) {
        block.codes[32 * g + 16 * i + j] = static_cast<uint8_t>(codes[j]);
      }
    }
  }
  return block;
}

struct Int4 {
  using Act = Q8Dot::Act;
  static constexpr int kChunk = kGroup;
  static constexpr int kRows = Q8Dot::kRows;
  static constexpr bool kBiasFirst = false;
  static constexpr int kCodes = kSmallGroup / 2 * kPanelRows;  // bytes of a group's codes
  static size_t chunk_bytes(int n) { return ponder::int4_block_bytes(n); }
  template <int R>
  static void tile(const uint8_t* chunk, int n, const Product& p, int row, int k, const char* ahead,
                   float* y) {
    const int groups = (n + kSmallGroup - 1) / kSmallGroup;
    const size_t ldx = Int8::stride(p.columns);
    const auto all = static_cast<size_t>((p.columns + kSmallGroup - 1) / kSmallGroup);
    const Act* x = static_cast<const Act*>(p.x) + static_cast<size_t>(row) * ldx + k;
    const float* sums = p.x_sums + static_cast<size_t>(row) * all + k / kSmallGroup;
    const uint8_t *m = chunk + groups * kCodes, *s = m + groups * kPanelRows;
    vf total[R];
    for (int r = 0; r < R; ++r) total[r] = vset(0.0f);
    for (int g = 0; g < groups; ++g, chunk += kCodes, m += 16, s += 8, x += kSmallGroup) {
      for (int v = 0; ahead != nullptr && v < 4; ++v) {
        __builtin_prefetch(ahead + g * kCodes + 64 * v);
      }
      // The last group's columns may end before its codes do.
      const int quads = (least(kSmallGroup, n - g * kSmallGroup) + 3) / 4;
      vf dots[R];
      four_bit_dots<R>(chunk, quads, x, ldx, dots);
      const vf factor = vload_halves(s), offset = vload_bytes(m);
      for (int r = 0; r < R; ++r) {  // whole numbers below 2^24: exact
        const vf off = vmul(offset, vset(sums[static_cast<size_t>(r) * all + g]));
        total[r] = vadd(total[r], vsub(vmul(dots[r], factor), off));
      }
    }
    alignas(64) uint32_t bits[16];
    for (int i = 0; i < 16; ++i)
      bits[i] = static_cast<uint32_t>(s[2 * i] | s[2 * i + 1] << 8) << 16;
    float scales[16];
    std::memcpy(scales, bits, sizeof scales);
    const vf w_scale = vload(scales);
    const int blocks = ponder::num_groups(p.columns);
    const float* x_scale = p.x_scales + static_cast<size_t>(row) * blocks + k / kGroup;
    for (int r = 0; r < R; ++r) {
      const vf scale = vmul(w_scale, vset(x_scale[static_cast<size_t>(r) * blocks]));
      vstore(y + 16 * r, vadd(vload(y + 16 * r), vmul(total[r], scale)));
    }
  }
};

inline void pack_int4(const float* w, int columns, uint8_t* panel) {
  for (int k = 0; k < columns; k += kGroup) {
    const int n = least(kGroup, columns - k), groups = (n + kSmallGroup - 1) / kSmallGroup;
    uint8_t *m = panel + groups * Int4::kCodes, *s = m + groups * kPanelRows,
            *scales = s + groups * 8;
    std::memset(panel, 0, ponder::int4_block_bytes(n));
    for (int place = 0; place < kPanelRows; ++place) {
      const int row = Q8Dot::kOrder[place];
      const FourBitBlock block = quantise_block(w + static_cast<size_t>(row) * columns + k, n);
      for (int i = 0; i < groups * kSmallGroup; ++i) {
        const int quad = i / 4;
        panel[quad / 2 * 64 + place * 4 + i % 4] |= block.codes[i] << (quad % 2 * 4);
      }
      for (int g = 0; g < groups; ++g) {
        m[g * kPanelRows + row] = block.m[g];
        s[g * 8 + row % 8] |= block.s[g] << (row / 8 * 4);
      }
      std::memcpy(scales + 2 * row, &block.scale, 2);
    }
    panel += ponder::int4_block_bytes(n);
  }
}

}  // namespace PONDER_ARCH
