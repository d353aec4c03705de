// check: compares one table of kernels with the portable one, bit by bit, on random data.
//
// For instruction sets the machine at hand lacks: built against SIMDe (-DPONDER_SIMDE
// -DSIMDE_ENABLE_NATIVE_ALIASES, release 0.8 or later) or for another processor under an emulator.
// Products of fp32 are left out: they may fuse. Prints "ok" or the first verb that differs.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels.h"

namespace ponder {
extern const Kernels kernels_portable;
extern const Kernels PONDER_CHECK;
}  // namespace ponder

using ponder::Kernels;
using Floats = std::vector<float>;

namespace {

uint64_t state = 88172645463325252ull;
float uniform() {  // in [-1, 1)
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return static_cast<float>(state >> 40) / 8388608.0f - 1.0f;
}
Floats random(size_t n, float scale) {
  Floats x(n);
  for (float& v : x) v = uniform() * scale;
  return x;
}

Floats product(const Kernels& k, ponder::Format format, const Floats& w, const Floats& x, int rows,
               int columns) {
  const size_t bytes = ponder::panel_bytes(format, columns);
  std::vector<uint8_t> panels(2 * bytes + 8192);
  const size_t panel = static_cast<size_t>(16) * columns;
  for (int i = 0; i < 2; ++i) {
    k.pack_panel(format, w.data() + i * panel, columns, panels.data() + i * bytes);
  }
  const int groups = ponder::num_groups(columns), padded = ponder::padded_columns(columns);
  std::vector<uint8_t> q(static_cast<size_t>(rows) * padded * k.act_bytes);
  const int small = (columns + ponder::kSmallGroup - 1) / ponder::kSmallGroup;
  Floats scales(static_cast<size_t>(rows) * groups), y(static_cast<size_t>(rows) * 29);
  Floats sums(static_cast<size_t>(rows) * small);
  for (int r = 0; r < rows; ++r) {
    k.quantise_row(x.data() + static_cast<size_t>(r) * columns, columns,
                   q.data() + static_cast<size_t>(r) * padded * k.act_bytes,
                   scales.data() + static_cast<size_t>(r) * groups,
                   sums.data() + static_cast<size_t>(r) * small);
  }
  const ponder::Product p{panels.data(), bytes,       columns, 29,       q.data(),
                          scales.data(), sums.data(), nullptr, y.data(), 29};
  k.product(format, p, 0, 2, 0, rows);
  return y;
}

Floats bf16_product(const Kernels& k, const Floats& w, const Floats& x, int rows, int columns) {
  const size_t bytes = ponder::panel_bytes(ponder::Format::kBf16, columns);
  std::vector<uint8_t> panels(2 * bytes + 8192);
  for (int i = 0; i < 2; ++i) {
    k.pack_panel(ponder::Format::kBf16, w.data() + static_cast<size_t>(i) * 16 * columns, columns,
                 panels.data() + i * bytes);
  }
  const int padded = ponder::bf16_columns(columns);
  std::vector<uint8_t> rounded(static_cast<size_t>((rows + 31) / 32 * 32) * padded * k.bf16_bytes);
  for (int r = 0; r < rows; ++r) {
    k.round_row(x.data() + static_cast<size_t>(r) * columns, columns, r, rounded.data());
  }
  Floats y(static_cast<size_t>(rows) * 29);
  const ponder::Product p{panels.data(), bytes,   columns,  29,       rounded.data(),
                          nullptr,       nullptr, nullptr,  y.data(), 29};
  k.product(ponder::Format::kBf16, p, 0, 2, 0, rows);
  return y;
}

Floats norm(const Kernels& k, const Floats& x, const Floats& w) {
  const int n = static_cast<int>(w.size());
  Floats y(w.size()), sum(w.size());
  k.rms_norm(x.data(), x.data() + n, w.data(), n, 1e-6f, sum.data(), y.data());
  return y;
}

Floats attend(const Kernels& k, const Floats& kv, const Floats& q, int rows, int head_dim,
              bool bf16) {
  const int slots = static_cast<int>(kv.size()) / (2 * head_dim), group = 3;
  Floats out(q.size()), scratch(ponder::attend_bf16_scratch(rows * group, head_dim) + 16);
  const int32_t page = 0;
  const auto width = static_cast<size_t>(head_dim);
  const int whole = ponder::bf16_columns(slots);
  std::vector<uint16_t> keys(whole * ponder::bf16_key_numbers(head_dim)),
      values(whole * ponder::bf16_value_numbers(head_dim), 0xffff);
  for (int i = 0; bf16 && i < slots; ++i) {
    ponder::write_bf16_slot(&kv[i * width], &kv[(slots + i) * width], head_dim, i, whole,
                            keys.data(), values.data());
  }
  ponder::AttendBlock b{};
  b.slots = {kv.data(), kv.data() + slots * width, &page, 0, 0, width, width, slots + 1};
  if (bf16) b.slots = {keys.data(), values.data(), &page, 0, 0, 0, 0, whole};
  b.q = q.data();
  b.out = out.data();
  b.q_row = b.out_row = width * group;
  b.q_head = width;
  b.rows = rows, b.group = group, b.first_slot = slots - rows;
  b.head_dim = head_dim, b.scale = 0.125f;
  float* memory = scratch.data();
  while (reinterpret_cast<uintptr_t>(memory) % 64 != 0) ++memory;
  (bf16 ? k.attend_bf16 : k.attend)(b, memory);
  return out;
}

template <class F>
bool same(const char* verb, const F& f) {
  const Floats a = f(ponder::kernels_portable), b = f(ponder::PONDER_CHECK);
  if (std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0) return true;
  std::printf("%s differs\n", verb);
  return false;
}

}  // namespace

int main() {
  bool ok = true;
  for (int columns : {1, 5, 64, 100, 128, 130, 384, 896}) {
    for (int rows : {1, 2, 3, 4, 5, 13, 17, 40}) {
      const Floats w = random(static_cast<size_t>(32) * columns, 1.0f);
      const Floats x = random(static_cast<size_t>(rows) * columns, 3.0f);
      for (const auto format : {ponder::Format::kInt8, ponder::Format::kInt4}) {
        ok &= same(format == ponder::Format::kInt8 ? "int8" : "int4", [&](const Kernels& k) {
          return product(k, format, w, x, rows, columns);
        });
      }
      ok &= same("bf16", [&](const Kernels& k) { return bf16_product(k, w, x, rows, columns); });
    }
    const Floats x = random(static_cast<size_t>(columns) * 2, 40.0f);
    const Floats w = random(static_cast<size_t>(columns), 1.0f);
    ok &= same("rms_norm", [&](const Kernels& k) { return norm(k, x, w); });
    ok &= same("swiglu", [&](const Kernels& k) {
      Floats y(w.size());
      k.swiglu(x.data(), w.data(), columns, y.data());
      return y;
    });
    ok &= same("rope", [&](const Kernels& k) {
      Floats y(x.size());
      k.rope(x.data(), w.data(), w.data(), columns, y.data());
      return y;
    });
    ok &= same("log_softmax", [&](const Kernels& k) {
      Floats y(w.size());
      k.log_softmax(x.data(), columns, y.data());
      return y;
    });
    ok &= same("sample", [&](const Kernels& k) {
      Floats found(20), scratch(ponder::sample_scratch(columns));
      for (int i = 0; i < 20; i += 2) {
        int32_t index;
        k.sample(x.data(), columns, i % 4 ? 1.0f : 0.1f, i / 20.0, scratch.data(), &index,
                 &found[i]);
        found[i + 1] = static_cast<float>(index);
      }
      return found;
    });
  }
  for (int head_dim : {8, 16, 40, 64}) {
    for (int slots : {1, 7, 16, 255, 256, 300, 600}) {
      const int rows = slots < 9 ? slots : 9;
      const Floats kv = random(static_cast<size_t>(slots) * 2 * head_dim, 2.0f);
      const Floats q = random(static_cast<size_t>(rows) * 3 * head_dim, 4.0f);
      for (bool bf16 : {false, true}) {
        ok &= same(bf16 ? "attend_bf16" : "attend",
                   [&](const Kernels& k) { return attend(k, kv, q, rows, head_dim, bf16); });
      }
    }
  }
  if (ok) std::printf("ok\n");
  return ok ? 0 : 1;
}
