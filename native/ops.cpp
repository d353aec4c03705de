#include "ops.h"

#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <new>

namespace ponder {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr double kWorthSharing = 6000.0;  // ns: below it a hand-over costs more than it saves
constexpr int kAttendRows = 64;           // query rows and heads of one attention task

constexpr size_t kKeptWeights = 1536 << 10;  // bytes that stay in a core's second cache
constexpr int kMlpRows = 32;                 // rows that pass through a small gated MLP together
constexpr int kManyRows = 64;             // from here on a product is arithmetic, not reading

int ceil_div(int a, int b) { return (a + b - 1) / b; }

template <class T>
T* scratch(size_t count) {
  thread_local std::vector<T> memory;
  if (memory.size() < count) memory.resize(count);
  return memory.data();
}

// The next multiple of 64 bytes.
uint8_t* aligned(uint8_t* p) { return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64; }

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

double attend_cost_ns(const Attend& a) {
  double products = 0;
  for (int s = 0; s < a.sequences; ++s) {
    const double rows = a.starts[s + 1] - a.starts[s];
    products += rows * ((a.lengths != nullptr ? a.lengths[s] : 0) + rows / 2);
  }
  return products * a.heads * a.head_dim * 2 / 12.0;
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

namespace {

struct Task {
  int sequence, kv_head, row, rows;
};

// Where a page keeps the keys and values of one head.
struct Page {
  size_t keys, values;  // numbers
};

Page page_of(const Attend& a, int page_len) {
  const auto slots = static_cast<size_t>(page_len), width = static_cast<size_t>(a.head_dim);
  if (!a.bf16) return {slots * width, slots * width};
  return {slots * bf16_key_numbers(a.head_dim), slots * bf16_value_numbers(a.head_dim)};
}

// Row t's key and value of a head to a slot of a page.
void write_slot(const Attend& a, int t, int head, void* keys, void* values, int place,
                int page_len) {
  const float* k = a.k.data + t * a.k.row + head * a.k.head;
  const float* v = a.v.data + t * a.v.row + head * a.v.head;
  if (a.bf16) {
    return write_bf16_slot(k, v, a.head_dim, place, page_len, static_cast<uint16_t*>(keys),
                           static_cast<uint16_t*>(values));
  }
  const auto width = static_cast<size_t>(a.head_dim);
  std::memcpy(static_cast<float*>(keys) + place * width, k, width * sizeof(float));
  std::memcpy(static_cast<float*>(values) + place * width, v, width * sizeof(float));
}

void* at(void* numbers, size_t offset, bool bf16) {
  return static_cast<uint8_t*>(numbers) + offset * (bf16 ? sizeof(uint16_t) : sizeof(float));
}

void write_pool(const Attend& a) {
  const Page page = page_of(a, a.page_len);
  for (int s = 0; s < a.sequences; ++s) {
    const int32_t* pages = a.pages + static_cast<size_t>(s) * a.pages_each;
    for (int t = a.starts[s]; t < a.starts[s + 1]; ++t) {
      const int slot = a.lengths[s] + t - a.starts[s];
      const size_t first = static_cast<size_t>(pages[slot / a.page_len]) * a.kv_heads;
      for (int h = 0; h < a.kv_heads; ++h) {
        write_slot(a, t, h, at(a.pool_keys, (first + h) * page.keys, a.bf16),
                   at(a.pool_values, (first + h) * page.values, a.bf16), slot % a.page_len,
                   a.page_len);
      }
    }
  }
}

// What sequences without a cache see, where it does not lie side by side as it is needed: one page
// each.
struct Gathered {
  std::vector<int> lengths;     // slots of other sequences before the own; [S]
  std::vector<int> page_lens;   // 0: seen where it is
  std::vector<size_t> offsets;  // numbers before a sequence's keys; its values follow
  std::vector<uint16_t> memory;

  void read(const Attend& a) {
    lengths.assign(a.sequences, 0), page_lens.assign(a.sequences, 0);
    offsets.assign(a.sequences + 1, 0);
    for (int s = 0; s < a.sequences; ++s) {
      const int parent = a.parents != nullptr ? a.parents[s] : -1;
      if (parent >= 0) lengths[s] = a.starts[parent + 1] - a.starts[parent];
      const int slots = lengths[s] + a.starts[s + 1] - a.starts[s];
      if (a.bf16 || parent >= 0) page_lens[s] = bf16_columns(slots);
      const Page page = page_of(a, page_lens[s]);
      offsets[s + 1] = offsets[s] + (page.keys + page.values) * a.kv_heads;
    }
    const size_t numbers = offsets.back() * (a.bf16 ? 1 : 2) + 32;
    if (memory.size() < numbers) memory.resize(numbers);
  }
  void* keys(const Attend& a, int s, int head) {
    return at(aligned(reinterpret_cast<uint8_t*>(memory.data())),
              offsets[s] + page_of(a, page_lens[s]).keys * head, a.bf16);
  }
  void* values(const Attend& a, int s, int head) {
    const Page page = page_of(a, page_lens[s]);
    return at(keys(a, s, 0), page.keys * a.kv_heads + page.values * head, a.bf16);
  }
  void write(const Attend& a, int s) {
    const int parent = lengths[s] > 0 ? a.parents[s] : 0;
    for (int h = 0; h < a.kv_heads && page_lens[s] > 0; ++h) {
      void *k = keys(a, s, h), *v = values(a, s, h);
      for (int i = 0; i < lengths[s]; ++i) {
        write_slot(a, a.starts[parent] + i, h, k, v, i, page_lens[s]);
      }
      for (int t = a.starts[s]; t < a.starts[s + 1]; ++t) {
        write_slot(a, t, h, k, v, lengths[s] + t - a.starts[s], page_lens[s]);
      }
    }
  }
};

Slots slots_of(const Attend& a, const Task& task, Gathered* gathered) {
  static const int32_t only_page = 0;
  const int s = task.sequence, head = task.kv_head;
  const auto width = static_cast<size_t>(a.head_dim);
  if (a.lengths != nullptr) {
    const Page page = page_of(a, a.page_len);
    return {at(a.pool_keys, head * page.keys, a.bf16),
            at(a.pool_values, head * page.values, a.bf16),
            a.pages + static_cast<size_t>(s) * a.pages_each,
            page.keys * a.kv_heads,
            page.values * a.kv_heads,
            width,
            width,
            a.page_len};
  }
  if (gathered->page_lens[s] > 0) {
    return {
        gathered->keys(a, s, head), gathered->values(a, s, head), &only_page, 0, 0, width, width,
        gathered->page_lens[s]};
  }
  const size_t first = a.starts[s];
  return {a.k.data + first * a.k.row + head * a.k.head,
          a.v.data + first * a.v.row + head * a.v.head,
          &only_page,
          0,
          0,
          a.k.row,
          a.v.row,
          INT_MAX};
}

AttendBlock block_of(const Attend& a, const Task& task, Gathered* gathered) {
  const int group = a.heads / a.kv_heads, row = a.starts[task.sequence] + task.row;
  const auto width = static_cast<size_t>(a.head_dim);
  const int before =
      a.lengths != nullptr ? a.lengths[task.sequence] : gathered->lengths[task.sequence];
  const int head = task.kv_head * group;
  return {slots_of(a, task, gathered),
          a.q.data + row * a.q.row + head * a.q.head,
          a.out + (static_cast<size_t>(row) * a.heads + head) * width,
          a.q.row,
          a.q.head,
          width * a.heads,
          task.rows,
          group,
          before + task.row,
          a.head_dim,
          a.scale};
}

}  // namespace

void Ops::attend(const Attend& a) {
  thread_local Gathered of_thread;
  Gathered* gathered = &of_thread;  // tasks on other threads read this one's
  const bool shared = attend_cost_ns(a) > kWorthSharing;
  const auto over = [&](int count, const auto& body) {
    if (shared) return pool_.run(count, body);
    for (int i = 0; i < count; ++i) body(i);
  };
  if (a.lengths != nullptr) {
    write_pool(a);
  } else {
    gathered->read(a);
    over(a.sequences, [&](int s) { gathered->write(a, s); });
  }
  const int group = a.heads / a.kv_heads;
  const int step = std::max(1, kAttendRows / group);
  std::vector<Task> tasks;
  for (int s = 0; s < a.sequences; ++s) {
    const int rows = a.starts[s + 1] - a.starts[s];
    // Later rows see more slots: longest tasks first.
    for (int row = (rows - 1) / step * step; rows > 0 && row >= 0; row -= step) {
      for (int h = 0; h < a.kv_heads; ++h) tasks.push_back({s, h, row, std::min(step, rows - row)});
    }
  }
  over(static_cast<int>(tasks.size()), [&](int i) {
    const AttendBlock block = block_of(a, tasks[static_cast<size_t>(i)], gathered);
    const int rows = block.rows * group;
    if (!a.bf16) return kernels_.attend(block, scratch<float>(attend_scratch(rows, a.head_dim)));
    uint8_t* memory = scratch<uint8_t>(attend_bf16_scratch(rows, a.head_dim) * sizeof(float) + 64);
    kernels_.attend_bf16(block, reinterpret_cast<float*>(aligned(memory)));
  });
}

void Ops::attend_gradients(const Attend& a, const Gradients& g) {
  const auto width = static_cast<size_t>(a.head_dim);
  const int group = a.heads / a.kv_heads;
  // One task a head: sequences with one parent add to the same rows, in their order.
  pool_.run(a.kv_heads, [&](int head) {
    std::vector<const float*> keys, values;
    std::vector<float*> d_keys, d_values;
    const auto see = [&](int first, int last) {
      for (int t = first; t < last; ++t) {
        const size_t to = (static_cast<size_t>(t) * a.kv_heads + head) * width;
        keys.push_back(a.k.data + t * a.k.row + head * a.k.head);
        values.push_back(a.v.data + t * a.v.row + head * a.v.head);
        d_keys.push_back(g.d_k + to);
        d_values.push_back(g.d_v + to);
      }
    };
    for (int s = 0; s < a.sequences; ++s) {
      const int first = a.starts[s], rows = a.starts[s + 1] - first;
      const int parent = a.parents != nullptr ? a.parents[s] : -1;
      keys.clear(), values.clear(), d_keys.clear(), d_values.clear();
      if (parent >= 0) see(a.starts[parent], a.starts[parent + 1]);
      const int first_slot = static_cast<int>(keys.size());
      see(first, first + rows);
      const size_t at = (static_cast<size_t>(first) * a.heads + head * group) * width;
      const AttendGradients block{
          keys.data(), values.data(), d_keys.data(), d_values.data(),
          a.q.data + first * a.q.row + head * group * a.q.head, a.q.row, a.q.head, a.out + at,
          g.d_out + at, g.d_q + at, a.heads * width, rows, group, first_slot, a.head_dim, a.scale};
      float* memory = scratch<float>(attend_gradients_scratch(rows, first_slot + rows, a.head_dim));
      memory = reinterpret_cast<float*>(aligned(reinterpret_cast<uint8_t*>(memory)));
      const auto run = a.bf16 && kernels_.attend_gradients_bf16 != nullptr
                           ? kernels_.attend_gradients_bf16
                           : kernels_.attend_gradients;
      run(block, memory);
    }
  });
}

}  // namespace ponder
