// kernels: the table of functions that each instruction set fills, and the layouts they share.
//
// Packed weights are panels of 16 output rows, one after the other, padded with zero rows. In a
// panel the columns ascend; a bf16 panel holds pairs of columns [16 rows][2 columns], padded with
// zeros to 32; an int8 panel holds, for each group of 128 columns, blocks of 4 columns [16 rows][4
// columns] and then the group's 16 fp32 scales: one stream, read once per product. An int4 panel is
// laid out in int4_impl.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ponder {

enum class Format { kFp32 = 0, kBf16 = 1, kInt8 = 2, kInt4 = 3 };

constexpr int kPanelRows = 16;
constexpr int kGroup = 128;        // columns that share a scale
constexpr int kSmallGroup = 32;    // columns of four-bit weights that share whole numbers
constexpr int kAttendChunk = 256;  // slots summed together by attention, by absolute position

inline int num_groups(int columns) { return (columns + kGroup - 1) / kGroup; }
inline int padded_columns(int columns) { return (columns + 3) / 4 * 4; }
inline int bf16_columns(int columns) { return (columns + 31) / 32 * 32; }
// Floats between rows of so many that do not meet in the same lines of a cache.
inline size_t odd_lines(int columns) { return (static_cast<size_t>(columns + 15) / 16 | 1) * 16; }
// Of n <= kGroup columns of four-bit weights in a panel.
inline size_t int4_block_bytes(int n) {
  const auto groups = static_cast<size_t>((n + kSmallGroup - 1) / kSmallGroup);
  return groups * (kSmallGroup / 2 + 1) * kPanelRows + groups * kPanelRows / 2 + kPanelRows * 2;
}
inline size_t panel_bytes(Format format, int columns) {
  const auto k = static_cast<size_t>(columns);
  switch (format) {
    case Format::kFp32: return k * kPanelRows * 4;
    case Format::kBf16:
      return static_cast<size_t>(bf16_columns(columns)) * kPanelRows * 2;
    case Format::kInt4: {
      const int left = columns % kGroup;
      return k / kGroup * int4_block_bytes(kGroup) + (left > 0 ? int4_block_bytes(left) : 0);
    }
    case Format::kInt8: break;
  }
  return static_cast<size_t>(padded_columns(columns)) * kPanelRows +
         static_cast<size_t>(num_groups(columns)) * kPanelRows * 4;
}

// One product y = x · Wᵀ + bias.
struct Product {
  const uint8_t* panels;
  size_t panel_bytes;
  int columns;            // K
  int outputs;            // E
  // fp32: rows as they are; int8: quantised rows of padded_columns() entries; bf16: what
  // round_row() made.
  const void* x;
  const float* x_scales;  // int8 and int4: [rows, num_groups]
  const float* x_sums;    // int4: of quantised inputs, [rows, groups of 32 columns]
  const float* bias;      // null or [outputs], with zeros up to whole panels
  float* y;               // [rows, outputs]
  size_t y_row;           // floats between two of its rows
};

// Keys and values of one sequence and head: the key of slot p is in page pages[p / page_len], which
// begins at pages[p / page_len] * page_stride, and there at (p % page_len) * key_stride. All in
// numbers.
struct Slots {
  const void* keys;
  const void* values;
  const int32_t* pages;
  size_t key_page_stride, value_page_stride;
  size_t key_stride, value_stride;  // fp32 only
  int page_len;                     // bf16: a multiple of 16
};

// Nearest even; subnormal numbers become 0.
inline uint16_t bf16_bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  if ((u & 0x7f800000) == 0) return static_cast<uint16_t>(u >> 16 & 0x8000);
  if (x != x) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

// A page of bf16 numbers is ready to be multiplied: its keys are panels of 16 slots, padded to 32
// channels; its values are panels of 16 channels, whose columns are the page's slots.
inline size_t bf16_key_numbers(int head_dim) { return bf16_columns(head_dim); }  // of one slot
inline size_t bf16_value_numbers(int head_dim) {
  return (static_cast<size_t>(head_dim) + 15) / 16 * 16;
}

// Puts a slot at its place in a page.
inline void write_bf16_slot(const float* key, const float* value, int head_dim, int place,
                            int page_len, uint16_t* keys, uint16_t* values) {
  uint16_t* k = keys + place / 16 * 16 * bf16_key_numbers(head_dim) + place % 16 * 2;
  uint16_t* v = values + place / 2 * 32 + place % 2;
  for (int c = 0; c < bf16_columns(head_dim); c += 16, v += static_cast<size_t>(page_len) * 16) {
    uint16_t of_key[16] = {}, of_value[16];
    const int n = head_dim - c < 16 ? head_dim - c : 16;
    for (int i = 0; i < n; ++i) of_key[i] = bf16_bits(key[c + i]);
    for (int i = 0; i < 16; i += 2, k += 32) std::memcpy(k, of_key + i, 4);
    for (int i = 0; i < n; ++i) of_value[i] = bf16_bits(value[c + i]);
    for (int i = 0; i < n; ++i) v[2 * i] = of_value[i];
  }
}

// Query rows t0 <= t < t1 of one sequence against one key/value head.
struct AttendBlock {
  Slots slots;
  const float* q;  // of row t0, first query head of the group
  float* out;
  size_t q_row, q_head, out_row;  // strides in floats; heads of `out` are head_dim apart
  int rows;
  int group;       // query heads that share this key/value head
  int first_slot;  // slot of row t0; row t sees slots up to its own
  int head_dim;
  float scale;
};

// Backward of one sequence against one key/value head. Rows of `out`, `d_out` and `d_q` are `row` floats apart, their
// heads head_dim. A sequence sees `first_slot` slots of another before its own.
struct AttendGradients {
  const float* const* keys;  // by slot
  const float* const* values;
  float* const* d_keys;  // added to
  float* const* d_values;
  const float* q;  // of row 0, first query head of the group
  size_t q_row, q_head;
  const float* out;
  const float* d_out;
  float* d_q;
  size_t row;
  int rows, group, first_slot, head_dim;
  float scale;
};

constexpr int kGradientRows = 48;  // query rows whose weights are held at a time

// In floats; enough for factors rounded to bf16 too.
inline size_t attend_gradients_scratch(int rows, int slots, int head_dim) {
  const size_t width = bf16_columns(head_dim), lanes = bf16_columns(slots),
               own = bf16_columns(rows);
  const size_t fp32 = 5 * lanes * width + kGradientRows * (3 * width + 2 * lanes);
  const size_t bf16 = width * (4 * lanes + 4 * own) + lanes * (80 + own) + 64 * 16;
  return (fp32 > bf16 ? fp32 : bf16) + 32 * 16;
}

// dw [outputs, columns] = the sum over `rows` of dy [rows, outputs] times x [rows, columns], both
// rounded to bf16.
struct WeightGradient {
  const float* dy;
  const float* x;
  float* dw;
  int rows, outputs, columns;
};

// Backward of y = swiglu(x · gate_upᵀ) · downᵀ with bf16 weights. Of the products panels, columns
// and outputs are read;
// `_t` are of the transposed weights.
struct GatedMlpGradients {
  Product gate_up, gate_up_t, down_t;
  const float* x;  // [rows, D] like dy and dx
  const float* dy;
  float* dx;
  float* d_gate_up;  // [2 F, D]
  float* d_down;     // [D, F]
  int rows;
};

// In floats.
inline size_t gated_mlp_gradients_scratch(int rows, int width, int inner) {
  const size_t d = bf16_columns(width), f = bf16_columns(inner), t = bf16_columns(rows);
  return 32 * (6 * f + 64) + 16 * (d + 2 * f) + t * (3 * f + 2 * d) / 2 + 16 * 16;
}

// x -> a x + b x (xT x) + c x (xT x)(xT x), so many times.
struct Quintic {
  float a, b, c;
  int iterations;
};

// In floats.
inline size_t orthogonalise_scratch(int rows, int columns) {
  const size_t w = columns, c = bf16_columns(columns), r = bf16_columns(rows);
  return (2 * w + 16) * w + rows * w + r * c + 16 * 8;
}

// What training wants of one row of logits.
struct Pick {
  float logp;  // of the target
  float entropy;
  float taken;  // logarithm of the sum of the logits' exponentials
};

struct Kernels {
  const char* name;
  int act_bytes;   // bytes of one quantised activation
  int bf16_bytes;  // bytes of one activation that was rounded to bf16
  // x [columns] -> q [padded_columns], scales [num_groups], sums of q [groups of 32] or null.
  void (*quantise_row)(const float* x, int columns, void* q, float* scales, float* sums);
  // x [columns], row `row` of a product -> bf16 numbers, zeros behind. All rows together take
  // bf16_columns() numbers for each of their number rounded up to 32; where they stand is the
  // table's own.
  void (*round_row)(const float* x, int columns, int row, void* rounded);
  // w [16, columns] fp32 -> one panel.
  void (*pack_panel)(Format format, const float* w, int columns, uint8_t* panel);
  // Panels p0..p1 of rows r0..r1.
  void (*product)(Format format, const Product& p, int p0, int p1, int r0, int r1);
  // sum = x + delta (when delta is not null), y = norm of that.
  void (*rms_norm)(const float* x, const float* delta, const float* weight, int n, float eps,
                   float* sum, float* y);
  void (*rope)(const float* x, const float* cos, const float* sin, int half, float* y);
  void (*swiglu)(const float* gate, const float* up, int n, float* y);
  void (*log_softmax)(const float* x, int n, float* y);
  // The index that `at` in [0, 1) falls on among shares exp((x - max) * inverse), and its
  // log-softmax. `scratch` holds sample_scratch() floats.
  void (*sample)(const float* x, int n, float inverse, double at, float* scratch, int32_t* index,
                 float* logprob);
  // `scratch` holds attend_scratch() floats.
  void (*attend)(const AttendBlock& block, float* scratch);
  // Slots hold bf16 numbers; `scratch` holds attend_bf16_scratch() floats, aligned to 64 bytes.
  void (*attend_bf16)(const AttendBlock& block, float* scratch);
  void (*swiglu_gradients)(const float* gate, const float* up, const float* dy, int n,
                           float* d_gate, float* d_up);
  // `scratch` holds attend_gradients_scratch() floats.
  void (*attend_gradients)(const AttendGradients& a, float* scratch);
  // dx = the norm's gradient + `also` (when not null); added to dw.
  void (*norm_gradients)(const float* x, const float* weight, const float* dy, const float* also,
                         int n, float eps, float* dx, float* dw);
  Pick (*pick)(const float* logits, int n, int target);
  void (*pick_gradients)(const float* logits, int n, int target, float taken, float dy, float* dx);
  // Null where the processor does not multiply bf16 matrices. `scratch` holds
  // weight_gradient_scratch() numbers and is aligned to 64 bytes.
  void (*weight_gradient)(const WeightGradient& g, uint16_t* scratch);
  void (*gated_mlp_gradients)(const GatedMlpGradients& g, float* scratch);
  void (*orthogonalise)(const Quintic& q, float* x, int rows, int columns, float* scratch);
  // attend_gradients with factors rounded to bf16; `scratch` is aligned to 64 bytes.
  void (*attend_gradients_bf16)(const AttendGradients& a, float* scratch);
};

inline size_t weight_gradient_scratch(const WeightGradient& g) {
  return static_cast<size_t>(bf16_columns(g.rows)) *
         (bf16_columns(g.outputs) + bf16_columns(g.columns));
}

constexpr int kDrawBlock = 64;  // weights that a draw sums before it sums the sums

inline size_t sample_scratch(int n) {
  const int blocks = (n + kDrawBlock - 1) / kDrawBlock;
  return static_cast<size_t>(blocks) * (kDrawBlock + 1);
}

inline size_t attend_scratch(int rows, int head_dim) {
  const size_t padded = static_cast<size_t>(head_dim + 15) / 16 * 16;
  return static_cast<size_t>(rows) * (padded + 2);
}

// In floats.
inline size_t attend_bf16_scratch(int rows, int head_dim) {
  const size_t whole = bf16_columns(rows), width = bf16_columns(head_dim);
  return attend_scratch(rows, head_dim) + whole * (2 * width + 2 * kAttendChunk + 18) + 256 +
         10 * 16;
}

// The best table this processor can run; every table gives the same bits.
const Kernels& best_kernels();
// By name, or null when it is not compiled in or cannot run here.
const Kernels* find_kernels(const char* name);

}  // namespace ponder
