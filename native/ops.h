// ops: the verbs of an op set over plain memory: packed weights, and how each verb is split into tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace ponder {

// Memory on huge pages where the system has them: weights are streamed, and small pages cost bandwidth.
class Buffer {
 public:
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* data_;
  size_t bytes_;
};

// A stored matrix [rows, columns], contiguous.
struct Matrix {
  const void* data;
  int rows;
  bool is_bf16;  // else fp32
};

// The packed weights of one linear layer.
struct Linear {
  Linear(const Kernels& kernels, Pool& pool, Format format, const std::vector<Matrix>& parts,
         int columns, std::vector<float> bias);
  Format format;
  const char* layout;  // name of the table that packed it
  int outputs, columns;
  size_t panel_size;
  Buffer panels;
  std::vector<float> bias;  // empty for none
};

// Rows that may be slices of a wider array: head h of row t is at data + t * row + h * head.
struct Heads {
  const float* data;
  size_t row, head;  // in floats
};

struct Attend {
  Heads q, k, v;
  float* out;  // [T, H, C]
  int heads, kv_heads, head_dim;
  float scale;
  int sequences;
  const int32_t* starts;  // [S + 1]
  bool bf16;              // factors are rounded to bf16
  // Without a cache: for each sequence the one it goes on from, or -1; null where none does.
  const int32_t* parents;
  // The cache; `lengths` is null when there is none.
  const int32_t* lengths;
  const int32_t* pages;  // [S, pages_each]
  int pages_each, page_len;
  void* pool_keys;  // of this layer: [num_pages, K, page_len, C] floats, or bf16 pages (kernels.h)
  void* pool_values;
};

// Backward of attention without a cache.
struct Gradients {
  const float* d_out;  // [T, H, C] like attend.out and d_q
  float* d_q;
  float* d_k;  // [T, K, C] like d_v
  float* d_v;
};

class Ops {
 public:
  Ops(const Kernels& kernels, int threads) : kernels_(kernels), pool_(threads) {}
  const Kernels& kernels() const { return kernels_; }
  Pool& pool() { return pool_; }

  void linear(const Linear& w, const float* x, int rows, float* y);
  // y = swiglu(x · gate_upᵀ) · downᵀ, without biases.
  void gated_mlp(const Linear& gate_up, const Linear& down, const float* x, int rows, float* y);
  void gated_mlp_gradients(const Linear& gate_up, const Linear& gate_up_t, const Linear& down_t,
                           const float* x, const float* dy, int rows, float* dx, float* d_gate_up,
                           float* d_down);
  // Rows of n values; `inner` rows (heads) in each outer row, which lie `x_row` floats apart.
  void rms_norm(Heads x, int rows, int inner, const float* weight, int n, float eps, float* y);
  void add_norm(const float* x, const float* delta, int rows, const float* weight, int n,
                float eps, float* sum, float* y);
  void rope(Heads x, int rows, int heads, const float* cos, const float* sin, int half, float* y);
  void swiglu(const float* gate_up, int rows, int n, float* y);
  void log_softmax(const float* x, int rows, int n, float* y);
  void sample(const float* x, int rows, int n, const float* inverse, const double* at,
              int32_t* index, float* logprob);
  void attend(const Attend& a);
  void swiglu_gradients(const float* gate_up, const float* dy, int rows, int n, float* d_gate_up);
  void attend_gradients(const Attend& a, const Gradients& g);
  // x as in rms_norm; dy, `also` (or null) and dx are contiguous. dw is set.
  void norm_gradients(Heads x, int rows, int inner, const float* weight, const float* dy,
                      const float* also, int n, float eps, float* dx, float* dw);
  void pick(const float* logits, int rows, int n, const int32_t* targets, float* logps,
            float* entropies, float* taken);
  void pick_gradients(const float* logits, int rows, int n, const int32_t* targets,
                      const float* taken, const float* dy, float* dx);
  void orthogonalise(const Quintic& q, float* x, int rows, int columns);
  bool has_weight_gradient() const;
  void weight_gradient(const WeightGradient& g);

 private:
  // A product's rows as the kernels take them: bytes they need, the product over such memory, rows
  // put there.
  size_t input_bytes(const Linear& w, int rows) const;
  Product product_of(const Linear& w, const float* x, int rows, uint8_t* memory, float* y) const;
  void convert(const Linear& w, const float* x, int first, int last, const Product& p) const;
  // Calls body(first, last) over ranges of rows, in parallel when the work is worth a hand-over.
  template <class Body>
  void over_rows(int rows, size_t floats_each, const Body& body);

  const Kernels& kernels_;
  Pool pool_;
};

// Nanoseconds one thread would need, roughly: decides what is shared out and what keeps the lock.
double linear_cost_ns(const Linear& w, int rows);
double attend_cost_ns(const Attend& a);

}  // namespace ponder
