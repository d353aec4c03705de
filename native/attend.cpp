// attend: attention of many sequences: where keys and values lie, and how it is split into tasks.
#include <algorithm>
#include <climits>
#include <cstring>
#include <vector>

#include "ops.h"
#include "scratch.h"

namespace ponder {

double attend_cost_ns(const Attend& a) {
  double products = 0;
  for (int s = 0; s < a.sequences; ++s) {
    const double rows = a.starts[s + 1] - a.starts[s];
    products += rows * ((a.lengths != nullptr ? a.lengths[s] : 0) + rows / 2);
  }
  return products * a.heads * a.head_dim * 2 / 12.0;
}

namespace {

constexpr int kAttendRows = 64;  // query rows and heads of one attention task

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
