// module: ponder.model.ops._native. Checks every array, then calls the verbs of ops.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "arrays.h"
#include "ops.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ponder {
namespace {

void require(bool holds, const char* problem) {
  if (!holds) throw nb::value_error(problem);
}

double rows_cost_ns(int rows, int width) { return static_cast<double>(rows) * width; }

std::unique_ptr<Ops> new_ops(int threads, const std::string& kernels) {
  require(threads >= 1 && threads <= 1024, "threads must be from 1 to 1024");
  const Kernels* table = kernels.empty() ? &best_kernels() : find_kernels(kernels.c_str());
  require(table != nullptr, "no such kernels here");
  return std::make_unique<Ops>(*table, threads);
}

bool is_bf16(nb::handle array) {
  return nb::cast<std::string>(array.attr("dtype").attr("char")) == "H";
}

std::unique_ptr<Linear> pack(Ops& ops, nb::sequence parts, nb::object bias, int format) {
  require(format >= 0 && format <= 3, "format must be 0 (fp32), 1 (bf16), 2 (int8) or 3 (int4)");
  std::vector<std::unique_ptr<Array>> held;
  std::vector<Matrix> matrices;
  int64_t outputs = 0;
  for (nb::handle part : parts) {
    const bool half = is_bf16(part);
    held.push_back(std::make_unique<Array>(part, "weight", 2, half ? 'H' : 'f'));
    held.back()->expect(1, held.front()->dim(1), "columns of the first part");
    matrices.push_back({held.back()->data<void>(), held.back()->dim(0), half});
    outputs += held.back()->dim(0);
  }
  require(!held.empty() && outputs > 0 && held.front()->dim(1) > 0, "a weight must not be empty");
  require(outputs < INT_MAX - 64, "a weight has too many rows");
  const int columns = held.front()->dim(1);
  std::vector<float> values;
  if (!bias.is_none()) {
    const Array b(bias, "bias", 1, 'f');
    b.expect(0, outputs, "rows of the weight");
    values.assign(b.data<float>(), b.data<float>() + outputs);
  }
  const Unlocked unlocked(1e9);
  return std::make_unique<Linear>(ops.kernels(), ops.pool(), static_cast<Format>(format),
                                  matrices, columns, std::move(values));
}

void linear(Ops& ops, const Linear& w, nb::handle x, nb::handle y) {
  const Array in(x, "x", 2, 'f'), out(y, "y", 2, 'f', true);
  in.expect(1, w.columns, "columns of the weight");
  out.expect(0, in.dim(0), "rows of x");
  out.expect(1, w.outputs, "outputs of the weight");
  require(w.layout == ops.kernels().name, "the weight was packed for other kernels");
  const Unlocked unlocked(linear_cost_ns(w, in.dim(0)));
  ops.linear(w, in.data<float>(), in.dim(0), out.data<float>());
}

void check_gated_mlp(const Ops& ops, const Linear& gate_up, const Linear& down, const Array& x) {
  x.expect(1, gate_up.columns, "columns of gate_up");
  require(
      gate_up.outputs == 2 * static_cast<int64_t>(down.columns) && gate_up.columns == down.outputs,
      "gate_up and down do not fit each other");
  require(gate_up.bias.empty() && down.bias.empty(), "a gated MLP has no biases");
  require(gate_up.format == down.format, "gate_up and down must have one format");
  for (const Linear* w : {&gate_up, &down}) {
    require(w->layout == ops.kernels().name, "the weight was packed for other kernels");
  }
}

void gated_mlp(Ops& ops, const Linear& gate_up, const Linear& down, nb::handle x, nb::handle y) {
  const Array in(x, "x", 2, 'f'), out(y, "y", 2, 'f', true);
  check_gated_mlp(ops, gate_up, down, in);
  for (int axis = 0; axis < 2; ++axis) out.expect(axis, in.dim(axis), "shape of x");
  const Unlocked unlocked(linear_cost_ns(gate_up, in.dim(0)));
  ops.gated_mlp(gate_up, down, in.data<float>(), in.dim(0), out.data<float>());
}

void gated_mlp_gradients(Ops& ops, const Linear& gate_up, const Linear& gate_up_t,
                         const Linear& down, const Linear& down_t, nb::handle x, nb::handle dy,
                         nb::handle dx, nb::handle d_gate_up, nb::handle d_down) {
  const Array in(x, "x", 2, 'f'), slope(dy, "dy", 2, 'f'), out(dx, "dx", 2, 'f', true);
  const Array dg(d_gate_up, "d_gate_up", 2, 'f', true), dd(d_down, "d_down", 2, 'f', true);
  require(ops.has_weight_gradient(), "these kernels do not multiply bf16 matrices");
  check_gated_mlp(ops, gate_up, down, in);
  const auto turns = [&](const Linear& t, const Linear& w) {
    require(t.outputs == w.columns && t.columns == w.outputs && t.layout == w.layout,
            "a transposed weight does not fit its own");
    require(w.format == Format::kBf16 && t.format == Format::kBf16, "the weights must be bf16");
  };
  turns(gate_up_t, gate_up), turns(down_t, down);
  for (const Array* a : {&slope, &out}) {
    for (int axis = 0; axis < 2; ++axis) a->expect(axis, in.dim(axis), "shape of x");
  }
  dg.expect(0, gate_up.outputs, "outputs of gate_up"),
      dg.expect(1, gate_up.columns, "columns of gate_up");
  dd.expect(0, down.outputs, "outputs of down"), dd.expect(1, down.columns, "columns of down");
  const Unlocked unlocked(1e9);
  ops.gated_mlp_gradients(gate_up, gate_up_t, down_t, in.data<float>(), slope.data<float>(),
                          in.dim(0), out.data<float>(), dg.data<float>(), dd.data<float>());
}

// x is [T, D] or [T, H, C].
void rms_norm(Ops& ops, nb::handle x, nb::handle weight, float eps, nb::handle y, int dims) {
  require(dims == 2 || dims == 3, "x must have 2 or 3 axes");
  const Array in(x, "x", dims, 'f', false, dims - 1), w(weight, "weight", 1, 'f');
  const Array out(y, "y", dims, 'f', true);
  const int last = dims - 1, n = in.dim(last), inner = dims == 3 ? in.dim(1) : 1;
  w.expect(0, n, "last axis of x");
  for (int axis = 0; axis < dims; ++axis) out.expect(axis, in.dim(axis), "shape of x");
  const Heads rows{in.data<float>(), in.stride(0), dims == 3 ? in.stride(1) : 0};
  const Unlocked unlocked(rows_cost_ns(in.dim(0), n * inner));
  ops.rms_norm(rows, in.dim(0), inner, w.data<float>(), n, eps, out.data<float>());
}

void add_norm(Ops& ops, nb::handle x, nb::handle delta, nb::handle weight, float eps,
              nb::handle sum, nb::handle y) {
  const Array in(x, "x", 2, 'f'), add(delta, "delta", 2, 'f'), w(weight, "weight", 1, 'f');
  const Array total(sum, "sum", 2, 'f', true), out(y, "y", 2, 'f', true);
  w.expect(0, in.dim(1), "last axis of x");
  for (const Array* a : {&add, &total, &out}) {
    a->expect(0, in.dim(0), "rows of x");
    a->expect(1, in.dim(1), "columns of x");
  }
  const Unlocked unlocked(rows_cost_ns(in.dim(0), in.dim(1)));
  ops.add_norm(in.data<float>(), add.data<float>(), in.dim(0), w.data<float>(), in.dim(1), eps,
               total.data<float>(), out.data<float>());
}

void rope(Ops& ops, nb::handle x, nb::handle cos, nb::handle sin, nb::handle y) {
  const Array in(x, "x", 3, 'f', false, 2), out(y, "y", 3, 'f', true);
  const Array c(cos, "cos", 2, 'f'), s(sin, "sin", 2, 'f');
  for (int axis = 0; axis < 3; ++axis) out.expect(axis, in.dim(axis), "shape of x");
  require(in.dim(2) % 2 == 0, "the last axis of x must be even");
  for (const Array* a : {&c, &s}) {
    a->expect(0, in.dim(0), "rows of x");
    a->expect(1, in.dim(2) / 2, "half the last axis of x");
  }
  const Unlocked unlocked(rows_cost_ns(in.dim(0), in.dim(1) * in.dim(2)));
  ops.rope({in.data<float>(), in.stride(0), in.stride(1)}, in.dim(0), in.dim(1), c.data<float>(),
           s.data<float>(), in.dim(2) / 2, out.data<float>());
}

void swiglu(Ops& ops, nb::handle gate_up, nb::handle y) {
  const Array in(gate_up, "gate_up", 2, 'f'), out(y, "y", 2, 'f', true);
  out.expect(0, in.dim(0), "rows of gate_up");
  require(in.dim(1) == 2 * static_cast<int64_t>(out.dim(1)), "gate_up must be twice as wide as y");
  const Unlocked unlocked(rows_cost_ns(in.dim(0), in.dim(1)));
  ops.swiglu(in.data<float>(), in.dim(0), out.dim(1), out.data<float>());
}

void swiglu_gradients(Ops& ops, nb::handle gate_up, nb::handle dy, nb::handle d_gate_up) {
  const Array in(gate_up, "gate_up", 2, 'f'), slope(dy, "dy", 2, 'f');
  const Array out(d_gate_up, "d_gate_up", 2, 'f', true);
  for (const Array* a : {&slope, &out}) a->expect(0, in.dim(0), "rows of gate_up");
  out.expect(1, in.dim(1), "columns of gate_up");
  require(in.dim(1) == 2 * static_cast<int64_t>(slope.dim(1)), "gate_up must be twice as wide as dy");
  const Unlocked unlocked(rows_cost_ns(in.dim(0), in.dim(1)));
  ops.swiglu_gradients(in.data<float>(), slope.data<float>(), in.dim(0), slope.dim(1),
                       out.data<float>());
}

// x as in rms_norm; `also` may be None.
void norm_gradients(Ops& ops, nb::handle x, nb::handle weight, float eps, nb::handle dy,
                    nb::object also, nb::handle dx, nb::handle dw, int dims) {
  require(dims == 2 || dims == 3, "x must have 2 or 3 axes");
  const Array in(x, "x", dims, 'f', false, dims - 1), w(weight, "weight", 1, 'f');
  const Array slope(dy, "dy", dims, 'f'), out(dx, "dx", dims, 'f', true),
      found(dw, "dw", 1, 'f', true);
  std::unique_ptr<Array> more;
  if (!also.is_none()) more = std::make_unique<Array>(also, "also", dims, 'f');
  const int last = dims - 1, n = in.dim(last), inner = dims == 3 ? in.dim(1) : 1;
  for (const Array* a : {&w, &found}) a->expect(0, n, "last axis of x");
  for (int axis = 0; axis < dims; ++axis) {
    for (const Array* a : {&slope, static_cast<const Array*>(more.get()), &out}) {
      if (a != nullptr) a->expect(axis, in.dim(axis), "shape of x");
    }
  }
  const Heads rows{in.data<float>(), in.stride(0), dims == 3 ? in.stride(1) : 0};
  const Unlocked unlocked(2 * rows_cost_ns(in.dim(0), n * inner));
  ops.norm_gradients(rows, in.dim(0), inner, w.data<float>(), slope.data<float>(),
                     more ? more->data<float>() : nullptr, n, eps, out.data<float>(),
                     found.data<float>());
}

// Targets [N] of logits [N, V], each an id.
void check_targets(const Array& logits, const Array& targets) {
  targets.expect(0, logits.dim(0), "rows of logits");
  for (int r = 0; r < targets.dim(0); ++r) {
    const int32_t target = targets.data<int32_t>()[r];
    require(target >= 0 && target < logits.dim(1), "a target is no column of logits");
  }
}

void pick(Ops& ops, nb::handle logits, nb::handle targets, nb::handle logps, nb::handle entropies,
          nb::handle taken) {
  const Array in(logits, "logits", 2, 'f'), to(targets, "targets", 1, 'i');
  const Array p(logps, "logps", 1, 'f', true), h(entropies, "entropies", 1, 'f', true);
  const Array off(taken, "taken", 1, 'f', true);
  check_targets(in, to);
  for (const Array* a : {&p, &h, &off}) a->expect(0, in.dim(0), "rows of logits");
  const Unlocked unlocked(2 * rows_cost_ns(in.dim(0), in.dim(1)));
  ops.pick(in.data<float>(), in.dim(0), in.dim(1), to.data<int32_t>(), p.data<float>(),
           h.data<float>(), off.data<float>());
}

void pick_gradients(Ops& ops, nb::handle logits, nb::handle targets, nb::handle taken,
                    nb::handle dy, nb::handle dx) {
  const Array in(logits, "logits", 2, 'f'), to(targets, "targets", 1, 'i');
  const Array off(taken, "taken", 1, 'f'), slope(dy, "dy", 1, 'f'), out(dx, "dx", 2, 'f', true);
  check_targets(in, to);
  for (const Array* a : {&off, &slope, &out}) a->expect(0, in.dim(0), "rows of logits");
  out.expect(1, in.dim(1), "columns of logits");
  const Unlocked unlocked(2 * rows_cost_ns(in.dim(0), in.dim(1)));
  ops.pick_gradients(in.data<float>(), in.dim(0), in.dim(1), to.data<int32_t>(), off.data<float>(),
                     slope.data<float>(), out.data<float>());
}

void orthogonalise(Ops& ops, nb::handle x, float a, float b, float c, int iterations) {
  const Array matrix(x, "x", 2, 'f', true);
  require(ops.has_weight_gradient(), "these kernels do not multiply bf16 matrices");
  require(matrix.dim(0) >= matrix.dim(1) && matrix.dim(1) > 0,
          "x must have no more columns than rows");
  const Unlocked unlocked(1e9);
  ops.orthogonalise({a, b, c, iterations}, matrix.data<float>(), matrix.dim(0), matrix.dim(1));
}

void weight_gradient(Ops& ops, nb::handle dy, nb::handle x, nb::handle dw) {
  const Array slope(dy, "dy", 2, 'f'), in(x, "x", 2, 'f'), out(dw, "dw", 2, 'f', true);
  in.expect(0, slope.dim(0), "rows of dy");
  out.expect(0, slope.dim(1), "columns of dy");
  out.expect(1, in.dim(1), "columns of x");
  require(ops.has_weight_gradient(), "these kernels do not multiply bf16 matrices");
  const Unlocked unlocked(1e9);
  ops.weight_gradient({slope.data<float>(), in.data<float>(), out.data<float>(), in.dim(0),
                       slope.dim(1), in.dim(1)});
}

void log_softmax(Ops& ops, nb::handle x, nb::handle y) {
  const Array in(x, "logits", 2, 'f'), out(y, "y", 2, 'f', true);
  out.expect(0, in.dim(0), "rows of logits");
  out.expect(1, in.dim(1), "columns of logits");
  require(in.dim(1) > 0, "logits must have at least one column");
  const Unlocked unlocked(2 * rows_cost_ns(in.dim(0), in.dim(1)));
  ops.log_softmax(in.data<float>(), in.dim(0), in.dim(1), out.data<float>());
}

void sample(Ops& ops, nb::handle x, nb::handle inverse, nb::handle at, nb::handle index,
            nb::handle logprob) {
  const Array in(x, "logits", 2, 'f'), scale(inverse, "inverse", 1, 'f'), place(at, "at", 1, 'd');
  const Array ids(index, "index", 1, 'i', true), out(logprob, "logprob", 1, 'f', true);
  for (const Array* a : {&scale, &place, &ids, &out}) a->expect(0, in.dim(0), "rows of logits");
  require(in.dim(1) > 0, "logits must have at least one column");
  const Unlocked unlocked(2 * rows_cost_ns(in.dim(0), in.dim(1)));
  ops.sample(in.data<float>(), in.dim(0), in.dim(1), scale.data<float>(), place.data<double>(),
             ids.data<int32_t>(), out.data<float>());
}

Heads heads_of(const Array& a) { return {a.data<float>(), a.stride(0), a.stride(1)}; }

// What attention with and without a cache have in common.
Attend attend_call(const Array& q, const Array& k, const Array& v, const Array& out,
                   const Array& starts) {
  for (int axis = 0; axis < 3; ++axis) {
    out.expect(axis, q.dim(axis), "shape of q");
    v.expect(axis, k.dim(axis), "shape of k");
  }
  k.expect(0, q.dim(0), "rows of q");
  k.expect(2, q.dim(2), "head size of q");
  require(k.dim(1) > 0 && q.dim(1) > 0 && q.dim(1) % k.dim(1) == 0,
          "query heads must be a multiple of key/value heads");
  require(q.dim(2) > 0, "the head size must not be zero");
  Attend a{};
  a.q = heads_of(q), a.k = heads_of(k), a.v = heads_of(v);
  a.out = out.data<float>();
  a.heads = q.dim(1), a.kv_heads = k.dim(1), a.head_dim = q.dim(2);
  a.scale = static_cast<float>(std::pow(static_cast<double>(a.head_dim), -0.5));
  a.starts = starts.data<int32_t>();
  a.sequences = starts.dim(0) - 1;
  require(a.sequences >= 0 && a.starts[0] == 0 && a.starts[a.sequences] == q.dim(0),
          "starts must run from 0 to the rows of q");
  for (int s = 0; s < a.sequences; ++s) {
    require(a.starts[s] <= a.starts[s + 1], "starts must not descend");
  }
  return a;
}

// For each sequence the earlier one that it goes on from, or -1; None where none does.
std::unique_ptr<Array> parents_of(nb::object parents, Attend* a) {
  if (parents.is_none()) return nullptr;
  auto found = std::make_unique<Array>(parents, "parents", 1, 'i');
  found->expect(0, a->sequences, "sequences");
  a->parents = found->data<int32_t>();
  for (int s = 0; s < a->sequences; ++s) {
    const int parent = a->parents[s];
    require(parent < s && parent >= -1, "a parent must stand before its sequence");
    require(parent < 0 || a->parents[parent] < 0, "a parent must have no parent of its own");
  }
  return found;
}

void attend_packed(Ops& ops, nb::handle q, nb::handle k, nb::handle v, nb::handle out,
                   nb::handle starts, nb::object parents, bool bf16) {
  const Array qa(q, "q", 3, 'f', false, 2), ka(k, "k", 3, 'f', false, 2);
  const Array va(v, "v", 3, 'f', false, 2), oa(out, "out", 3, 'f', true);
  const Array sa(starts, "starts", 1, 'i');
  Attend a = attend_call(qa, ka, va, oa, sa);
  a.bf16 = bf16;
  const auto held = parents_of(parents, &a);
  const Unlocked unlocked(attend_cost_ns(a));
  ops.attend(a);
}

void attend_gradients(Ops& ops, nb::handle q, nb::handle k, nb::handle v, nb::handle out,
                      nb::handle d_out, nb::handle d_q, nb::handle d_k, nb::handle d_v,
                      nb::handle starts, nb::object parents, bool bf16) {
  const Array qa(q, "q", 3, 'f', false, 2), ka(k, "k", 3, 'f', false, 2);
  const Array va(v, "v", 3, 'f', false, 2), oa(out, "out", 3, 'f');
  const Array doa(d_out, "d_out", 3, 'f'), dqa(d_q, "d_q", 3, 'f', true);
  const Array dka(d_k, "d_k", 3, 'f', true), dva(d_v, "d_v", 3, 'f', true);
  const Array sa(starts, "starts", 1, 'i');
  Attend a = attend_call(qa, ka, va, oa, sa);
  a.bf16 = bf16;
  for (int axis = 0; axis < 3; ++axis) {
    for (const Array* each : {&doa, &dqa}) each->expect(axis, qa.dim(axis), "shape of q");
    for (const Array* each : {&dka, &dva}) each->expect(axis, ka.dim(axis), "shape of k");
  }
  const auto held = parents_of(parents, &a);
  const size_t kept = static_cast<size_t>(ka.dim(0)) * ka.dim(1) * ka.dim(2) * sizeof(float);
  const Unlocked unlocked(5 * attend_cost_ns(a));
  std::memset(dka.data<void>(), 0, kept);
  std::memset(dva.data<void>(), 0, kept);
  ops.attend_gradients(
      a, {doa.data<float>(), dqa.data<float>(), dka.data<float>(), dva.data<float>()});
}

void attend_paged(Ops& ops, nb::handle q, nb::handle k, nb::handle v, nb::handle out,
                  nb::handle starts, nb::handle lengths, nb::handle pages, nb::handle pool_keys,
                  nb::handle pool_values, int layer) {
  const Array qa(q, "q", 3, 'f', false, 2), ka(k, "k", 3, 'f', false, 2);
  const Array va(v, "v", 3, 'f', false, 2), oa(out, "out", 3, 'f', true);
  const Array sa(starts, "starts", 1, 'i'), la(lengths, "lengths", 1, 'i');
  const Array pa(pages, "pages", 2, 'i');
  const bool bf16 = is_bf16(pool_keys);
  const Array keys(pool_keys, "pool keys", 5, bf16 ? 'H' : 'f', true);
  const Array values(pool_values, "pool values", 5, bf16 ? 'H' : 'f', true);
  Attend a = attend_call(qa, ka, va, oa, sa);
  a.bf16 = bf16;
  for (int axis = 0; axis < 4; ++axis) values.expect(axis, keys.dim(axis), "shape of pool keys");
  keys.expect(2, a.kv_heads, "key/value heads");
  const int head_dim = a.head_dim;
  keys.expect(4, bf16 ? bf16_key_numbers(head_dim) : head_dim, "head size");
  values.expect(4, bf16 ? bf16_value_numbers(head_dim) : head_dim, "head size");
  la.expect(0, a.sequences, "sequences");
  pa.expect(0, a.sequences, "sequences");
  require(layer >= 0 && layer < keys.dim(0), "the pool has no such layer");
  a.lengths = la.data<int32_t>();
  a.pages = pa.data<int32_t>();
  a.pages_each = pa.dim(1);
  a.page_len = keys.dim(3);
  require(a.page_len > 0, "the pool's pages must not be empty");
  require(!bf16 || a.page_len % 16 == 0, "pages of bf16 numbers must hold a multiple of 16 slots");
  for (int s = 0; s < a.sequences; ++s) {
    const int64_t slots = static_cast<int64_t>(a.lengths[s]) + a.starts[s + 1] - a.starts[s];
    const int64_t used = (slots + a.page_len - 1) / a.page_len;
    require(a.lengths[s] >= 0 && slots < INT_MAX && used <= a.pages_each,
            "the page table does not cover the new rows");
    const int32_t* row = a.pages + static_cast<size_t>(s) * a.pages_each;
    for (int64_t i = 0; i < used; ++i) {
      require(row[i] >= 0 && row[i] < keys.dim(1), "the page table names a page outside the pool");
    }
  }
  const size_t bytes = bf16 ? sizeof(uint16_t) : sizeof(float);
  a.pool_keys = keys.data<uint8_t>() + layer * keys.stride(0) * bytes;
  a.pool_values = values.data<uint8_t>() + layer * values.stride(0) * bytes;
  const Unlocked unlocked(attend_cost_ns(a));
  ops.attend(a);
}

}  // namespace
}  // namespace ponder

NB_MODULE(_native, m) {
  using ponder::Linear;
  using ponder::Ops;
  nb::set_leak_warnings(false);  // a model that lives until the process ends is no leak
  nb::class_<Linear>(m, "Linear")
      .def_ro("outputs", &Linear::outputs)
      .def_ro("columns", &Linear::columns)
      .def_prop_ro("nbytes", [](const Linear& w) { return w.panels.bytes(); });
  nb::class_<Ops>(m, "Ops")
      .def(nb::new_(&ponder::new_ops), "threads"_a, "kernels"_a = "")
      .def_prop_ro("kernels", [](const Ops& ops) { return std::string(ops.kernels().name); })
      .def("pack", &ponder::pack, nb::arg(), nb::arg().none(), nb::arg())
      .def("linear", &ponder::linear)
      .def("gated_mlp", &ponder::gated_mlp)
      .def("gated_mlp_gradients", &ponder::gated_mlp_gradients)
      .def("rms_norm", &ponder::rms_norm)
      .def("add_norm", &ponder::add_norm)
      .def("rope", &ponder::rope)
      .def("swiglu", &ponder::swiglu)
      .def("log_softmax", &ponder::log_softmax)
      .def("sample", &ponder::sample)
      .def("swiglu_gradients", &ponder::swiglu_gradients)
      .def("norm_gradients", &ponder::norm_gradients, nb::arg(), nb::arg(), nb::arg(), nb::arg(),
           nb::arg().none(), nb::arg(), nb::arg(), nb::arg())
      .def("pick", &ponder::pick)
      .def("pick_gradients", &ponder::pick_gradients)
      .def_prop_ro("has_weight_gradient", &Ops::has_weight_gradient)
      .def("weight_gradient", &ponder::weight_gradient)
      .def("orthogonalise", &ponder::orthogonalise)
      .def("attend_packed", &ponder::attend_packed, nb::arg(), nb::arg(), nb::arg(), nb::arg(),
           nb::arg(), nb::arg().none(), nb::arg())
      .def("attend_gradients", &ponder::attend_gradients, nb::arg(), nb::arg(), nb::arg(),
           nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(),
           nb::arg())
      .def("attend_paged", &ponder::attend_paged);
  m.def("kernel_names", [] {
    nb::list names;
    for (const char* name : {"amx", "avx512", "avx2", "neon_dot", "neon", "portable"}) {
      if (ponder::find_kernels(name) != nullptr) names.append(name);
    }
    return names;
  });
}
