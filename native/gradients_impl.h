// gradients_impl: backward passes, over the 16-lane vectors of a vec_*.h header; included by kernels_impl.h.
//
// Sums may fuse: a gradient depends on nothing but its inputs, yet tables need not agree on its bits.
#pragma once

namespace PONDER_ARCH {

using ponder::AttendGradients;
using ponder::kGradientRows;

// A matrix read by broadcast: element (r, i) is at data + r * row + i * column.
struct Spread {
  const float* data;
  size_t row, column;
};

// c[r][0..16) += sum over i < n of a(r, i) * b[i * b_row + 0..16).
template <int R>
inline void multiply_tile(const Spread& a, const float* b, size_t b_row, int n, float* c,
                          size_t c_row) {
  vf sum[R];
  for (int r = 0; r < R; ++r) sum[r] = vload(c + r * c_row);
  for (int i = 0; i < n; ++i) {
    const vf row = vload(b + i * b_row);
    for (int r = 0; r < R; ++r) {
      sum[r] = vfma(row, vset(a.data[r * a.row + i * a.column]), sum[r]);
    }
  }
  for (int r = 0; r < R; ++r) vstore(c + r * c_row, sum[r]);
}

template <int R>
inline void multiply_rows(int rows, const Spread& a, const float* b, size_t b_row, int n, float* c,
                          size_t c_row) {
  if constexpr (R > 1) {
    if (rows < R) return multiply_rows<R - 1>(rows, a, b, b_row, n, c, c_row);
  }
  multiply_tile<R>(a, b, b_row, n, c, c_row);
}

// c [rows, width] += a [rows, n] · b [n, width]; width is a multiple of 16.
inline void multiply(const Spread& a, const float* b, size_t b_row, int rows, int n, size_t width,
                     float* c, size_t c_row) {
  for (size_t col = 0; col < width; col += 16) {
    for (int r = 0; r < rows; r += kFloatRows) {
      multiply_rows<kFloatRows>(rows - r, {a.data + r * a.row, a.row, a.column}, b + col, b_row, n,
                                c + r * c_row + col, c_row);
    }
  }
}

// The first `seen` of `width` scores to their softmax, the rest to 0; then slopes *= weights.
inline void soften_slopes(float* scores, float* slopes, int seen, size_t width) {
  float max, sum;
  soften(scores, seen, &max, &sum);
  const vf share = vset(1.0f / sum);
  const size_t end = whole_lanes(seen);
  for (size_t j = 0; j < end; j += 16) {
    const vf weight = vmul(vload(scores + j), share);
    vstore(scores + j, weight);
    vstore(slopes + j, vmul(vload(slopes + j), weight));
  }
  std::memset(scores + end, 0, sizeof(float) * (width - end));
  std::memset(slopes + end, 0, sizeof(float) * (width - end));
}

// Lanes beyond n become 0.
inline void copy_row(const float* from, int n, float factor, float* to) {
  const vf f = vset(factor);
  for_lanes(n, [&](int c, int m) { vstore(to + c, vmul(vload_upto(from + c, m), f)); });
}

inline void add_row(const float* from, int n, float* to) {
  for_lanes(n, [&](int c, int m) {
    vstore_upto(to + c, vadd(vload_upto(to + c, m), vload_upto(from + c, m)), m);
  });
}

// With P = softmax(scale q kT) and o = P v: dv = PT do, dS = P (do vT - sum of do o), dq = scale dS k, dk = scale dST q.
inline void attend_gradients(const AttendGradients& a, float* scratch) {
  const size_t width = whole_lanes(a.head_dim), slots = a.first_slot + a.rows;
  const size_t lanes = whole_lanes(static_cast<int>(slots)), cells = lanes * width;
  const size_t block = kGradientRows * width;
  float* keys = scratch;  // [slots, width]; the next two are [width, slots]
  float *keys_t = keys + cells, *values_t = keys_t + cells, *dk = values_t + cells, *dv = dk + cells;
  float *q = dv + cells, *d_out = q + block, *dq = d_out + block;
  float *weights = dq + block, *slopes = weights + kGradientRows * lanes;
  std::memset(keys, 0, sizeof(float) * cells * 5);
  for (size_t j = 0; j < slots; ++j) {
    copy_row(a.keys[j], a.head_dim, 1.0f, keys + j * width);
    for (int c = 0; c < a.head_dim; ++c) {
      keys_t[c * lanes + j] = a.keys[j][c];
      values_t[c * lanes + j] = a.values[j][c];
    }
  }
  for (int h = 0; h < a.group; ++h) {
    for (int first = 0; first < a.rows; first += kGradientRows) {
      const int n = least(kGradientRows, a.rows - first), seen = a.first_slot + first + n;
      const size_t seen_lanes = whole_lanes(seen);
      std::memset(weights, 0, sizeof(float) * kGradientRows * lanes);
      std::memset(dq, 0, sizeof(float) * block);
      for (int r = 0; r < n; ++r) {
        const size_t at = (first + r) * a.row + h * static_cast<size_t>(a.head_dim);
        copy_row(a.q + (first + r) * a.q_row + h * a.q_head, a.head_dim, a.scale,
                 q + r * width);
        copy_row(a.d_out + at, a.head_dim, 1.0f, d_out + r * width);
        vf products = vset(0.0f);
        for_lanes(a.head_dim, [&](int c, int m) {
          const vf o = vload_upto(a.out + at + c, m);
          products = vadd(products, vmul(o, vload_upto(a.d_out + at + c, m)));
        });
        const vf minus = vset(-vsum(products));
        for (size_t j = 0; j < seen_lanes; j += 16) vstore(slopes + r * lanes + j, minus);
      }
      multiply({q, width, 1}, keys_t, lanes, n, a.head_dim, seen_lanes, weights, lanes);
      multiply({d_out, width, 1}, values_t, lanes, n, a.head_dim, seen_lanes, slopes, lanes);
      for (int r = 0; r < n; ++r) {
        soften_slopes(weights + r * lanes, slopes + r * lanes, a.first_slot + first + r + 1,
                      seen_lanes);
      }
      multiply({weights, 1, lanes}, d_out, width, seen, n, width, dv, width);
      multiply({slopes, 1, lanes}, q, width, seen, n, width, dk, width);
      multiply({slopes, lanes, 1}, keys, width, n, seen, width, dq, width);
      for (int r = 0; r < n; ++r) {
        float* to = a.d_q + (first + r) * a.row + h * static_cast<size_t>(a.head_dim);
        const vf scale = vset(a.scale);
        for_lanes(a.head_dim, [&](int c, int m) {
          vstore_upto(to + c, vmul(vload(dq + r * width + c), scale), m);
        });
      }
    }
  }
  for (size_t j = 0; j < slots; ++j) {
    add_row(dk + j * width, a.head_dim, a.d_keys[j]);
    add_row(dv + j * width, a.head_dim, a.d_values[j]);
  }
}

// y = x r w with r = 1 / sqrt(mean of squares + eps): dx = r (dy w - x r mean(dy w x r)) + also, dw
// += dy x r.
inline void norm_gradients(const float* x, const float* weight, const float* dy, const float* also,
                           int n, float eps, float* dx, float* dw) {
  vf squares = vset(0.0f), products = vset(0.0f);
  for_lanes(n, [&](int i, int m) {
    const vf v = vload_upto(x + i, m);
    squares = vfma(v, v, squares);
    products = vfma(v, vmul(vload_upto(dy + i, m), vload_upto(weight + i, m)), products);
  });
  const auto size = static_cast<float>(n);
  const float r = 1.0f / std::sqrt(vsum(squares) / size + eps);
  const vf scale = vset(r), slope = vset(-r * r * r * vsum(products) / size);
  for_lanes(n, [&](int i, int m) {
    const vf v = vload_upto(x + i, m), d = vload_upto(dy + i, m);
    vstore_upto(dw + i, vfma(d, vmul(v, scale), vload_upto(dw + i, m)), m);
    vf found = vfma(v, slope, vmul(vmul(d, vload_upto(weight + i, m)), scale));
    if (also != nullptr) found = vadd(found, vload_upto(also + i, m));
    vstore_upto(dx + i, found, m);
  });
}

// Of one row of logits: (log-probability of `target`, with the bits of log_softmax; entropy; what
// was taken off each logit).
inline ponder::Pick pick(const float* x, int n, int target) {
  const float top = max_of(x, n);
  const vf tops = vset(top);
  vf total = vset(0.0f), products = vset(0.0f);
  for_lanes(n, [&](int i, int m) {
    const vf shifted = vsub(vload_upto(x + i, m), tops);
    float share[16] = {};
    vstore_upto(share, vexp(shifted), m);
    const vf shares = vload(share);
    total = vadd(total, shares);
    products = vfma(shares, vmax(shifted, vset(-200.0f)), products);  // 0 · -inf is no number
  });
  const float sum = vsum(total), log_sum = static_cast<float>(std::log(static_cast<double>(sum)));
  return {x[target] - top - log_sum, log_sum - vsum(products) / sum, top + log_sum};
}

// d logits = dy (onehot - softmax).
inline void pick_gradients(const float* x, int n, int target, float taken, float dy, float* dx) {
  const vf off = vset(taken), slope = vset(-dy);
  for_lanes(n, [&](int i, int m) {
    vstore_upto(dx + i, vmul(vexp(vsub(vload_upto(x + i, m), off)), slope), m);
  });
  dx[target] += dy;
}

// y = silu(gate) up: d up = dy silu(gate), d gate = dy up s (1 + gate (1 - s)) with s the logistic function.
inline void swiglu_slopes(const float* gate, const float* up, const float* dy, int n, float* y,
                          float* d_gate, float* d_up) {
  const vf one = vset(1.0f), minus = vset(-0.0f);
  for_lanes(n, [&](int i, int m) {
    const vf g = vload_upto(gate + i, m), u = vload_upto(up + i, m), d = vload_upto(dy + i, m);
    const vf s = vdiv(one, vadd(one, vexp(vsub(minus, g)))), silu = vmul(g, s);
    if (y != nullptr) vstore_upto(y + i, vmul(silu, u), m);
    vstore_upto(d_up + i, vmul(d, silu), m);
    vstore_upto(d_gate + i, vmul(vmul(d, u), vmul(s, vfma(g, vsub(one, s), one))), m);
  });
}

inline void swiglu_gradients(const float* gate, const float* up, const float* dy, int n,
                             float* d_gate, float* d_up) {
  swiglu_slopes(gate, up, dy, n, nullptr, d_gate, d_up);
}

}  // namespace PONDER_ARCH
