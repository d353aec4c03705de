// attend_impl: attention over slots, in chunks of absolute positions; included by kernels_impl.h.
#pragma once

namespace PONDER_ARCH {

constexpr int kQueryRows = 4;  // query rows that share each load of a key or value

struct Chunk {
  const float* keys[kAttendChunk];
  const float* values[kAttendChunk];
};

inline void locate(const ponder::Slots& s, int first, int n, Chunk* chunk) {
  for (int j = 0; j < n;) {
    const int page = (first + j) / s.page_len, place = (first + j) % s.page_len;
    const auto number = static_cast<size_t>(s.pages[page]), at = static_cast<size_t>(place);
    const float* key =
        static_cast<const float*>(s.keys) + number * s.key_page_stride + at * s.key_stride;
    const float* value =
        static_cast<const float*>(s.values) + number * s.value_page_stride + at * s.value_stride;
    const int end = j + least(n - j, s.page_len - place);
    for (; j < end; ++j, key += s.key_stride, value += s.value_stride) {
      chunk->keys[j] = key;
      chunk->values[j] = value;
    }
  }
}

inline void prefetch_row(const float* row, int head_dim) {
  for (int c = 0; c < head_dim; c += 16) __builtin_prefetch(row + c);
}

// Calls f(offset, lanes, Index<vectors>) for strips of 64 channels, then for what is left.
template <class F>
inline void for_strips(int n, const F& f) {
  int c = 0;
  for (; c + 64 <= n; c += 64) f(c, 16, Index<4>{});
  for_lanes(n - c, [&](int i, int m) { f(c + i, m, Index<1>{}); });
}

// scores[r][j] = dot(q[r], keys[j]) * scale for j < n; what lies beyond n is unspecified. The first
// tile to meet a chunk fetches ahead: pages lie anywhere, and hardware does not look across them.
template <int R>
inline void score(const float* const* q, const Chunk& chunk, int n, int head_dim, float scale,
                  bool fetch, float (*scores)[kAttendChunk]) {
  for (int j0 = 0; j0 < n; j0 += 16) {
    vf sums[R][16];
    for (int j = 0; j < 16; ++j) {
      const float* key = chunk.keys[least(j0 + j, n - 1)];
      if (fetch) {
        prefetch_row(chunk.keys[least(j0 + j + 16, n - 1)], head_dim);
        prefetch_row(chunk.values[least(j0 + j, n - 1)], head_dim);
      }
      vf sum[R];
      for (int r = 0; r < R; ++r) sum[r] = vset(0.0f);
      for_strips(head_dim, [&](int c, int m, auto vectors) {
        repeat<vectors>([&](auto i) {
          const vf k = vload_upto(key + c + 16 * i, m);
          repeat<R>(
              [&](auto r) { sum[r] = vadd(sum[r], vmul(vload_upto(q[r] + c + 16 * i, m), k)); });
        });
      });
      for (int r = 0; r < R; ++r) sums[r][j] = sum[r];
    }
    for (int r = 0; r < R; ++r) vstore(scores[r] + j0, vmul(vsums(sums[r]), vset(scale)));
  }
}

// The first n scores to weights exp(score - max); returns the max and the sum of the weights.
inline void soften(float* scores, int n, float* max, float* sum) {
  static constexpr float kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int end = (n + 15) / 16 * 16, last = end - 16;
  vstore(scores + last, vselect_lt(vload(kLanes), vset(static_cast<float>(n - last)),
                                   vload(scores + last), vset(-HUGE_VALF)));
  vf tops = vload(scores);
  for (int j = 16; j < end; j += 16) tops = vmax(tops, vload(scores + j));
  *max = vmax_lane(tops);
  const vf top = vset(*max);
  vf total = vset(0.0f);
  for (int j = 0; j < end; j += 16) {
    const vf w = vexp(vsub(vload(scores + j), top));
    vstore(scores + j, w);
    total = vadd(total, w);
  }
  *sum = vsum(total);
}

// Folds weighted values j0..j1 of N vectors of channels from c on into sum[r]; weights[r] is row r
// of the scores.
template <int R, int N>
inline void weigh(const float (*weights)[kAttendChunk], const Chunk& chunk, int j0, int j1, int c,
                  int m, vf (*sum)[N]) {
  vf local[R][N];
  repeat<R>([&](auto r) { repeat<N>([&](auto i) { local[r][i] = sum[r][i]; }); });
  for (int j = j0; j < j1; ++j) {
    const float* value = chunk.values[j] + c;
    vf v[N];
    repeat<N>([&](auto i) { v[i] = vload_upto(value + 16 * i, m); });
    repeat<R>([&](auto r) {
      const vf weight = vset(weights[r][j]);
      repeat<N>([&](auto i) { local[r][i] = vadd(local[r][i], vmul(weight, v[i])); });
    });
  }
  repeat<R>([&](auto r) { repeat<N>([&](auto i) { sum[r][i] = local[r][i]; }); });
}

// State of the query rows between chunks: running max, sum of weights, weighted values.
struct Running {
  float* max;
  float* sum;
  float* out;
  int stride;
};

// How much of a row's weighted values is kept, and of a chunk's taken.
struct Shares {
  float keep, take;
};

// Folds a chunk's max and sum into a row's.
inline Shares fold(float max, float sum, bool is_first, float* row_max, float* row_sum) {
  Shares shares{0.0f, 1.0f};
  if (!is_first) {
    const float merged = *row_max > max ? *row_max : max;
    float pair[16] = {*row_max - merged, max - merged};
    vstore(pair, vexp(vload(pair)));
    shares = {pair[0], pair[1]};
    sum = *row_sum * shares.keep + sum * shares.take;
    max = merged;
  }
  *row_max = max;
  *row_sum = sum;
  return shares;
}

// The rows' results: weighted values by the sum of weights.
inline void divide(const AttendBlock& b, const Running& all) {
  for (int row = 0; row < b.rows * b.group; ++row) {
    float* out = b.out + static_cast<size_t>(row / b.group) * b.out_row +
                 static_cast<size_t>(row % b.group) * b.head_dim;
    const vf total = vset(all.sum[row]);
    for_lanes(b.head_dim, [&](int c, int m) {
      vstore_upto(out + c, vdiv(vload(all.out + static_cast<size_t>(row) * all.stride + c), total),
                  m);
    });
  }
}

// One chunk for R query rows, the r-th of which sees seen[r] > 0 of its slots.
template <int R>
inline void attend_tile(const AttendBlock& b, const Chunk& chunk, const float* const* q,
                        const int* seen, bool is_first, bool fetch, const Running& state) {
  alignas(64) float scores[R][kAttendChunk];
  int most = 0, fewest = kAttendChunk;
  for (int r = 0; r < R; ++r) {
    most = seen[r] > most ? seen[r] : most;
    fewest = least(fewest, seen[r]);
  }
  score<R>(q, chunk, most, b.head_dim, b.scale, fetch, scores);
  Shares shares[R];
  for (int r = 0; r < R; ++r) {
    float max, sum;
    soften(scores[r], seen[r], &max, &sum);
    shares[r] = fold(max, sum, is_first, state.max + r, state.sum + r);
  }
  for_strips(b.head_dim, [&](int c, int m, auto vectors) {
    constexpr int N = vectors;
    vf sum[R][N];
    for (int r = 0; r < R; ++r) repeat<N>([&](auto i) { sum[r][i] = vset(0.0f); });
    weigh<R, N>(scores, chunk, 0, fewest, c, m, sum);
    for (int r = 0; r < R; ++r) {
      if (seen[r] > fewest) weigh<1, N>(scores + r, chunk, fewest, seen[r], c, m, sum + r);
      float* out = state.out + static_cast<size_t>(r) * state.stride + c;
      repeat<N>([&](auto i) {
        vf all = sum[r][i];
        if (!is_first) {
          all = vadd(vmul(vload(out + 16 * i), vset(shares[r].keep)),
                     vmul(all, vset(shares[r].take)));
        }
        vstore(out + 16 * i, all);
      });
    }
  });
}

template <int R>
inline void attend_tile_of(int rows, const AttendBlock& b, const Chunk& chunk,
                           const float* const* q, const int* seen, bool is_first, bool fetch,
                           const Running& state) {
  if constexpr (R > 1) {
    if (rows < R) return attend_tile_of<R - 1>(rows, b, chunk, q, seen, is_first, fetch, state);
  }
  attend_tile<R>(b, chunk, q, seen, is_first, fetch, state);
}

inline void attend(const AttendBlock& b, float* scratch) {
  const int rows = b.rows * b.group, stride = (b.head_dim + 15) / 16 * 16;
  Running all{scratch, scratch + rows, scratch + 2 * static_cast<size_t>(rows), stride};
  const int slots = b.first_slot + b.rows;
  Chunk chunk;
  for (int first = 0; first < slots; first += kAttendChunk) {
    locate(b.slots, first, least(kAttendChunk, slots - first), &chunk);
    // Rows before `row` end before this chunk begins.
    const int begin = first > b.first_slot ? (first - b.first_slot) * b.group : 0;
    for (int row = begin; row < rows; row += kQueryRows) {
      const float* q[kQueryRows];
      int seen[kQueryRows];
      const int n = least(kQueryRows, rows - row);
      for (int i = 0; i < n; ++i) {
        const int t = (row + i) / b.group, h = (row + i) % b.group;
        q[i] = b.q + static_cast<size_t>(t) * b.q_row + static_cast<size_t>(h) * b.q_head;
        seen[i] = least(kAttendChunk, b.first_slot + t + 1 - first);
      }
      const Running state{all.max + row, all.sum + row, all.out + static_cast<size_t>(row) * stride,
                          stride};
      attend_tile_of<kQueryRows>(n, b, chunk, q, seen, first == 0, row == begin, state);
    }
  }
  divide(b, all);
}

}  // namespace PONDER_ARCH
