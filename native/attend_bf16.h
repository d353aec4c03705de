// attend_bf16: attention whose factors are bf16 numbers, in chunks of absolute positions; included
// by kernels_impl.h. Its products sum as those of bf16 matrices do (Bf16): of queries and keys over
// channels, of weights and values over a chunk's slots.
#pragma once

#include "attend_impl.h"

namespace PONDER_ARCH {

constexpr int kBlock = 512;  // numbers of 32 columns of a panel

// How a table without tiles multiplies.
struct Lanes {
  struct Guard {};
  static constexpr size_t kBytes = sizeof(float);  // of a number that was rounded
  static void round(const float* x, int columns, int row, void* to) {
    round_row(x, columns, row, to);
  }
  // y [rows from `first` on, 16 · panels] = x [rows, columns] · panels, of which columns k to k +
  // 31 of the p-th are at block(k, p). `first` is a multiple of 32; rows of y up to the next
  // multiple may be written too.
  template <class F>
  static void multiply(const void* x, int columns, int first, int rows, int panels, const F& block,
                       float* y, size_t y_row) {
    constexpr int R = Bf16::kRows;
    Product product{};
    product.x = x, product.columns = columns;
    const char* const ahead = nullptr;
    for (int p = 0; p < panels; ++p, y += 16) {
      for (int row = first; row < rows; row += R) {
        const int n = least(R, rows - row);
        alignas(64) float sums[R * 16] = {};
        for (int k = 0; k < columns; k += 32) {
          const auto* numbers = reinterpret_cast<const uint8_t*>(block(k, p));
          tile_of<Bf16, R>(n, numbers, 32, product, row, k, ahead, static_cast<float*>(sums));
        }
        for (int r = 0; r < n; ++r) vstore(y + (row + r) * y_row, vload(sums + 16 * r));
      }
    }
  }
};

// A chunk's slots as panels, in sixteens that lie anywhere.
struct Panels {
  static constexpr int kMost = kAttendChunk / 16;
  const uint16_t *keys[kMost], *values[kMost];
  size_t channels;  // numbers from the values of 16 channels to those of the next
  int n;
  bool is_whole;    // two sixteens are side by side
  uint16_t* spare;  // a block

  void locate(const ponder::Slots& s, int head_dim, int first, int slots) {
    n = slots, is_whole = s.page_len % 32 == 0;
    channels = static_cast<size_t>(s.page_len) * 16;
    const size_t key = ponder::bf16_key_numbers(head_dim);
    for (int i = 0; 16 * i < n; ++i) {
      const int page = (first + 16 * i) / s.page_len, place = first + 16 * i - page * s.page_len;
      const auto number = static_cast<size_t>(s.pages[page]);
      keys[i] = static_cast<const uint16_t*>(s.keys) + number * s.key_page_stride + place * key;
      values[i] = static_cast<const uint16_t*>(s.values) + number * s.value_page_stride +
                  static_cast<size_t>(place) * 16;
    }
  }
  // Values of slots j to j + 31 and 16 channels. What lies beyond the last slot counts as 0: memory
  // may hold anything there.
  const uint16_t* block(int j, int channel) const {
    const size_t offset = channel / 16 * channels;
    if (is_whole && j + 32 <= n) return values[j / 16] + offset;
    if (j + 32 <= n) {
      copy(values[j / 16] + offset, spare);
      copy(values[j / 16 + 1] + offset, spare + kBlock / 2);
      return spare;
    }
    for (int i = 0; i < 32; i += 2) {
      uint16_t* to = spare + 16 * i;
      if (j + i >= n) {
        std::memset(to, 0, 64);
        continue;
      }
      std::memcpy(to, values[(j + i) / 16] + offset + i % 16 * 16, 64);
      for (int c = 1; j + i + 1 == n && c < 32; c += 2) to[c] = 0;
    }
    return spare;
  }
  static void copy(const uint16_t* half, uint16_t* to) {
    vf rows[8];
    for (int i = 0; i < 8; ++i) rows[i] = vload(reinterpret_cast<const float*>(half + 32 * i));
    for (int i = 0; i < 8; ++i) vstore(reinterpret_cast<float*>(to + 32 * i), rows[i]);
  }
  void prefetch(int i, int head_dim) const {
    if (16 * i >= n) return;
    const auto* key = reinterpret_cast<const char*>(keys[i]);
    for (int c = 0; c < head_dim; c += 2) __builtin_prefetch(key + 32 * c);
    for (int c = 0; c < head_dim; c += 16) {
      const auto* value = reinterpret_cast<const char*>(values[i] + c / 16 * channels);
      for (int at = 0; at < 512; at += 64) __builtin_prefetch(value + at);
    }
  }
};

template <class T>
inline void attend_bf16(const AttendBlock& b, float* scratch) {
  const int rows = b.rows * b.group, slots = b.first_slot + b.rows;
  const auto whole = static_cast<size_t>(ponder::bf16_columns(rows));
  const size_t width = whole_lanes(b.head_dim);
  constexpr size_t kScores = kAttendChunk + 16;  // floats of a row, apart in the caches
  constexpr int kAhead = 4;                      // sixteens of slots fetched before they are used
  Scratch from{scratch};
  auto* parts = from.take<float>(whole * width);
  auto* scores = from.take<float>(whole * kScores);
  auto* q = from.take<uint8_t>(whole * ponder::bf16_columns(b.head_dim) * T::kBytes);
  auto* weights = from.take<uint8_t>(whole * kAttendChunk * T::kBytes);
  Panels panels;
  panels.spare = from.take<uint16_t>(kBlock);
  const Running all{from.take<float>(rows), from.take<float>(rows), from.take<float>(rows * width),
                    static_cast<int>(width)};
  auto* shares = from.take<Shares>(rows);
  [[maybe_unused]] const typename T::Guard guard;
  for (int row = 0; row < rows; ++row) {
    T::round(b.q + row / b.group * b.q_row + row % b.group * b.q_head, b.head_dim, row, q);
  }
  for (int first = 0; first < slots; first += kAttendChunk) {
    const int n = least(kAttendChunk, slots - first), wide = ponder::bf16_columns(n);
    // Rows before `begin` end before this chunk begins.
    const int begin = first > b.first_slot ? (first - b.first_slot) * b.group : 0;
    const int start = begin / 32 * 32;
    panels.locate(b.slots, b.head_dim, first, n);
    for (int i = 0; i < (n + 15) / 16; i += kAhead) {
      for (int next = i; next < i + kAhead; ++next) panels.prefetch(next + kAhead, b.head_dim);
      const auto block = [&](int k, int p) { return panels.keys[i + p] + k * 16; };
      T::multiply(q, b.head_dim, start, rows, least(kAhead, (n + 15) / 16 - i), block,
                  scores + 16 * i, kScores);
    }
    for (int row = begin; row < rows; ++row) {
      float *of = scores + row * kScores, max, sum;
      const int seen = least(n, b.first_slot + row / b.group + 1 - first);
      for (int j = 0; j < seen; j += 16) vstore(of + j, vmul(vload(of + j), vset(b.scale)));
      soften(of, seen, &max, &sum);
      for (int j = (seen + 15) / 16 * 16; j < wide; j += 16) vstore(of + j, vset(0.0f));
      T::round(of, wide, row, weights);
      shares[row] = fold(max, sum, first == 0, all.max + row, all.sum + row);
    }
    const auto block = [&](int k, int p) { return panels.block(k, 16 * p); };
    T::multiply(weights, wide, start, rows, static_cast<int>(width / 16), block, parts, width);
    for (int row = begin; row < rows; ++row) {
      float* out = all.out + row * width;
      const Shares s = shares[row];
      for (size_t c = 0; c < width; c += 16) {
        vf part = vload(parts + row * width + c);
        if (first != 0) {
          part = vadd(vmul(vload(out + c), vset(s.keep)), vmul(part, vset(s.take)));
        }
        vstore(out + c, part);
      }
    }
  }
  divide(b, all);
}

}  // namespace PONDER_ARCH
