#include "ops.h"

#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>

#include "scratch.h"

namespace ponder {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

constexpr size_t kKeptWeights = 1536 << 10;  // bytes that stay in a core's second cache
constexpr int kMlpRows = 32;                 // rows that pass through a small gated MLP together
constexpr int kManyRows = 64;             // from here on a product is arithmetic, not reading

int ceil_div(int a, int b) { return (a + b - 1) / b; }

}  // namespace

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  const size_t align = bytes >= kHugePage ? kHugePage : 64;
  // Slack at the end: kernels prefetch, never read, beyond it.
  const size_t rounded = (bytes + align) / align * align;
  data_ = static_cast<uint8_t*>(std::aligned_alloc(align, rounded));
  if (data_ == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (align == kHugePage) madvise(data_, rounded, MADV_HUGEPAGE);
#endif
}

Buffer::~Buffer() { std::free(data_); }

Linear::Linear(const Kernels& kernels, Pool& pool, Format f, const std::vector<Matrix>& parts,
               int k, std::vector<float> b)
    : format(f), layout(kernels.name), outputs(0), columns(k), panel_size(panel_bytes(f, k)),
      panels([&] {
        for (const Matrix& part : parts) outputs += part.rows;
        return static_cast<size_t>(ceil_div(outputs, kPanelRows)) * panel_size;
      }()),
      bias(std::move(b)) {
  if (!bias.empty()) bias.resize(static_cast<size_t>(ceil_div(outputs, kPanelRows)) * kPanelRows);
  const auto width = static_cast<size_t>(k);
  pool.run(ceil_div(outputs, kPanelRows), [&](int panel) {
    float* rows = scratch<float>(width * kPanelRows);
    std::memset(rows, 0, width * kPanelRows * sizeof(float));
    int first = panel * kPanelRows, filled = 0;
    for (const Matrix& part : parts) {
      for (; first < part.rows && filled < kPanelRows; ++first, ++filled) {
        float* row = rows + width * filled;
        if (!part.is_bf16) {
          const auto* source = static_cast<const float*>(part.data) + width * first;
          std::memcpy(row, source, width * sizeof(float));
          continue;
        }
        const auto* source = static_cast<const uint16_t*>(part.data) + width * first;
        for (size_t i = 0; i < width; ++i) {
          const uint32_t bits = static_cast<uint32_t>(source[i]) << 16;
          std::memcpy(row + i, &bits, 4);
        }
      }
      first -= part.rows;
      if (filled == kPanelRows) break;
    }
    kernels.pack_panel(format, rows, columns, panels.data() + panel_size * panel);
  });
}

double linear_cost_ns(const Linear& w, int rows) {
  const double stream = static_cast<double>(w.panels.bytes()) / 20.0;
  const double speed = w.format >= Format::kInt8 ? 80.0 : 30.0;  // products in a nanosecond
  return std::max(stream, static_cast<double>(w.outputs) * w.columns * rows / speed);
}

static int small_groups(const Linear& w) { return ceil_div(w.columns, kSmallGroup); }

size_t Ops::input_bytes(const Linear& w, int rows) const {
  if (w.format == Format::kInt8 || w.format == Format::kInt4) {
    const size_t row = static_cast<size_t>(padded_columns(w.columns)) * kernels_.act_bytes;
    const int floats = num_groups(w.columns) + small_groups(w);
    return (row * rows + 63) / 64 * 64 + sizeof(float) * floats * rows;
  }
  if (w.format == Format::kFp32) return 0;
  return static_cast<size_t>(bf16_columns(w.columns)) * kernels_.bf16_bytes * ceil_div(rows, 32) *
         32;
}

Product Ops::product_of(const Linear& w, const float* x, int rows, uint8_t* memory,
                        float* y) const {
  Product p{w.panels.data(),
            w.panel_size,
            w.columns,
            w.outputs,
            x,
            nullptr,
            nullptr,
            w.bias.empty() ? nullptr : w.bias.data(),
            y,
            static_cast<size_t>(w.outputs)};
  if (w.format == Format::kFp32) return p;
  p.x = memory;
  if (w.format != Format::kBf16) {
    const size_t row = static_cast<size_t>(padded_columns(w.columns)) * kernels_.act_bytes;
    p.x_scales = reinterpret_cast<const float*>(memory + (row * rows + 63) / 64 * 64);
    p.x_sums = p.x_scales + static_cast<size_t>(rows) * num_groups(w.columns);
  }
  return p;
}

void Ops::convert(const Linear& w, const float* x, int first, int last, const Product& p) const {
  auto* to = static_cast<uint8_t*>(const_cast<void*>(p.x));
  const size_t row = static_cast<size_t>(padded_columns(w.columns)) * kernels_.act_bytes;
  for (int r = first; r < last; ++r) {
    const float* from = x + static_cast<size_t>(r) * w.columns;
    if (w.format == Format::kBf16) kernels_.round_row(from, w.columns, r, to);
    if (w.format == Format::kInt8 || w.format == Format::kInt4) {
      const auto at = static_cast<size_t>(r);
      float* scales = const_cast<float*>(p.x_scales) + at * num_groups(w.columns);
      float* sums = const_cast<float*>(p.x_sums) + at * small_groups(w);
      kernels_.quantise_row(from, w.columns, to + row * r, scales,
                            w.format == Format::kInt4 ? sums : nullptr);
    }
  }
}

void Ops::linear(const Linear& w, const float* x, int rows, float* y) {
  const int panels = ceil_div(w.outputs, kPanelRows);
  const double cost = linear_cost_ns(w, rows);
  const bool shared = pool_.threads() > 1 && cost > kWorthSharing;
  uint8_t* memory = aligned(scratch<uint8_t>(input_bytes(w, rows) + 64));
  const Product p = product_of(w, x, rows, memory, y);
  if (w.format != Format::kFp32) {
    over_rows(rows, static_cast<size_t>(w.columns),
              [&](int first, int last) { convert(w, x, first, last, p); });
  }
  if (!shared) return kernels_.product(w.format, p, 0, panels, 0, rows);
  // Eight ranges of panels a thread: long enough to stream, short enough to end together.
  const int wanted = pool_.threads() * 8;
  int panel_step = std::max(1, panels / wanted);
  if (rows > kManyRows) panel_step = ceil_div(panel_step, 4) * 4;
  const int ranges = ceil_div(panels, panel_step);
  // Few panels and many rows: the rows are split too.
  const int row_step = rows > kManyRows && ranges < wanted ? 96 : rows;
  pool_.run(ranges * ceil_div(rows, row_step), [&](int task) {
    const int panel = task % ranges * panel_step, row = task / ranges * row_step;
    kernels_.product(w.format, p, panel, std::min(panels, panel + panel_step), row,
                     std::min(rows, row + row_step));
  });
}

void Ops::gated_mlp(const Linear& gate_up, const Linear& down, const float* x, int rows, float* y) {
  const int inner = down.columns;
  const size_t weights = gate_up.panels.bytes() + down.panels.bytes();
  if (weights > kKeptWeights || rows < kMlpRows) {
    thread_local std::vector<float> both, act;  // this thread's own: linear() has the scratch
    both.resize(std::max(both.size(), static_cast<size_t>(rows) * 2 * inner));
    act.resize(std::max(act.size(), static_cast<size_t>(rows) * inner));
    linear(gate_up, x, rows, both.data());
    swiglu(both.data(), rows, inner, act.data());
    return linear(down, act.data(), rows, y);
  }
  // Weights stay in the second cache, and so does what is between two of a few rows' products.
  pool_.run(ceil_div(rows, kMlpRows), [&](int task) {
    const int first = task * kMlpRows, n = std::min(kMlpRows, rows - first);
    const size_t bytes = std::max(input_bytes(gate_up, n), input_bytes(down, n)) + 128;
    const size_t row = odd_lines(2 * inner);
    const auto floats = static_cast<size_t>(n) * (row + inner);
    uint8_t* memory = aligned(scratch<uint8_t>(bytes + floats * sizeof(float)));
    auto* both = reinterpret_cast<float*>(memory + (bytes - 64) / 64 * 64);
    float* act = both + static_cast<size_t>(n) * row;
    const auto multiply = [&](const Linear& w, const float* in, float* out, size_t out_row) {
      Product p = product_of(w, in, n, memory, out);
      p.y_row = out_row;
      convert(w, in, 0, n, p);
      kernels_.product(w.format, p, 0, ceil_div(w.outputs, kPanelRows), 0, n);
    };
    multiply(gate_up, x + static_cast<size_t>(first) * gate_up.columns, both, row);
    for (int r = 0; r < n; ++r) {
      const float* gate = both + static_cast<size_t>(r) * row;
      kernels_.swiglu(gate, gate + inner, inner, act + static_cast<size_t>(r) * inner);
    }
    multiply(down, act, y + static_cast<size_t>(first) * down.outputs, down.outputs);
  });
}

void Ops::gated_mlp_gradients(const Linear& gate_up, const Linear& gate_up_t, const Linear& down_t,
                              const float* x, const float* dy, int rows, float* dx,
                              float* d_gate_up, float* d_down) {
  const size_t floats = gated_mlp_gradients_scratch(rows, gate_up.columns, gate_up.outputs / 2);
  uint8_t* memory = aligned(scratch<uint8_t>(floats * sizeof(float) + 64));
  const auto product = [&](const Linear& w) { return product_of(w, nullptr, 0, nullptr, nullptr); };
  kernels_.gated_mlp_gradients(
      {product(gate_up), product(gate_up_t), product(down_t), x, dy, dx, d_gate_up, d_down, rows},
      reinterpret_cast<float*>(memory));
}

template <class Body>
void Ops::over_rows(int rows, size_t floats_each, const Body& body) {
  const double cost = static_cast<double>(rows) * static_cast<double>(floats_each);
  if (rows == 1 || cost < kWorthSharing * 2) return body(0, rows);
  const int step = std::max(1, rows / (pool_.threads() * 4));
  pool_.run(ceil_div(rows, step),
            [&](int task) { body(task * step, std::min(rows, (task + 1) * step)); });
}

void Ops::rms_norm(Heads x, int rows, int inner, const float* weight, int n, float eps, float* y) {
  over_rows(rows, static_cast<size_t>(n) * inner, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      for (int h = 0; h < inner; ++h) {
        kernels_.rms_norm(x.data + r * x.row + h * x.head, nullptr, weight, n, eps, nullptr,
                          y + (static_cast<size_t>(r) * inner + h) * n);
      }
    }
  });
}

void Ops::add_norm(const float* x, const float* delta, int rows, const float* weight, int n,
                   float eps, float* sum, float* y) {
  over_rows(rows, static_cast<size_t>(n) * 2, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const size_t at = static_cast<size_t>(r) * n;
      kernels_.rms_norm(x + at, delta + at, weight, n, eps, sum + at, y + at);
    }
  });
}

void Ops::rope(Heads x, int rows, int heads, const float* cos, const float* sin, int half,
               float* y) {
  over_rows(rows, static_cast<size_t>(half) * 2 * heads, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const size_t angle = static_cast<size_t>(r) * half;
      for (int h = 0; h < heads; ++h) {
        kernels_.rope(x.data + r * x.row + h * x.head, cos + angle, sin + angle, half,
                      y + (static_cast<size_t>(r) * heads + h) * half * 2);
      }
    }
  });
}

void Ops::swiglu(const float* gate_up, int rows, int n, float* y) {
  over_rows(rows, static_cast<size_t>(n) * 4, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* gate = gate_up + static_cast<size_t>(r) * n * 2;
      kernels_.swiglu(gate, gate + n, n, y + static_cast<size_t>(r) * n);
    }
  });
}

void Ops::swiglu_gradients(const float* gate_up, const float* dy, int rows, int n,
                           float* d_gate_up) {
  over_rows(rows, static_cast<size_t>(n) * 6, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const float* gate = gate_up + static_cast<size_t>(r) * n * 2;
      float* d_gate = d_gate_up + static_cast<size_t>(r) * n * 2;
      kernels_.swiglu_gradients(gate, gate + n, dy + static_cast<size_t>(r) * n, n, d_gate,
                                d_gate + n);
    }
  });
}

void Ops::norm_gradients(Heads x, int rows, int inner, const float* weight, const float* dy,
                         const float* also, int n, float eps, float* dx, float* dw) {
  std::memset(dw, 0, sizeof(float) * static_cast<size_t>(n));
  for (int r = 0; r < rows; ++r) {  // one after the other: all add to dw
    for (int h = 0; h < inner; ++h) {
      const size_t at = (static_cast<size_t>(r) * inner + h) * n;
      kernels_.norm_gradients(x.data + r * x.row + h * x.head, weight, dy + at,
                              also != nullptr ? also + at : nullptr, n, eps, dx + at, dw);
    }
  }
}

void Ops::pick(const float* logits, int rows, int n, const int32_t* targets, float* logps,
               float* entropies, float* taken) {
  over_rows(rows, static_cast<size_t>(n) * 4, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const Pick found = kernels_.pick(logits + static_cast<size_t>(r) * n, n, targets[r]);
      logps[r] = found.logp, entropies[r] = found.entropy, taken[r] = found.taken;
    }
  });
}

void Ops::pick_gradients(const float* logits, int rows, int n, const int32_t* targets,
                         const float* taken, const float* dy, float* dx) {
  over_rows(rows, static_cast<size_t>(n) * 4, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      const size_t at = static_cast<size_t>(r) * n;
      kernels_.pick_gradients(logits + at, n, targets[r], taken[r], dy[r], dx + at);
    }
  });
}

void Ops::orthogonalise(const Quintic& q, float* x, int rows, int columns) {
  uint8_t* memory =
      aligned(scratch<uint8_t>(orthogonalise_scratch(rows, columns) * sizeof(float) + 64));
  kernels_.orthogonalise(q, x, rows, columns, reinterpret_cast<float*>(memory));
}

bool Ops::has_weight_gradient() const { return kernels_.weight_gradient != nullptr; }

void Ops::weight_gradient(const WeightGradient& g) {
  uint8_t* memory = scratch<uint8_t>(weight_gradient_scratch(g) * sizeof(uint16_t) + 64);
  kernels_.weight_gradient(g, reinterpret_cast<uint16_t*>(aligned(memory)));
}

void Ops::log_softmax(const float* x, int rows, int n, float* y) {
  over_rows(rows, static_cast<size_t>(n) * 4, [&](int first, int last) {
    for (int r = first; r < last; ++r) {
      kernels_.log_softmax(x + static_cast<size_t>(r) * n, n, y + static_cast<size_t>(r) * n);
    }
  });
}

void Ops::sample(const float* x, int rows, int n, const float* inverse, const double* at,
                 int32_t* index, float* logprob) {
  over_rows(rows, static_cast<size_t>(n) * 4, [&](int first, int last) {
    float* memory = scratch<float>(sample_scratch(n));
    for (int r = first; r < last; ++r) {
      kernels_.sample(x + static_cast<size_t>(r) * n, n, inverse[r], at[r], memory, index + r,
                      logprob + r);
    }
  });
}

}  // namespace ponder
