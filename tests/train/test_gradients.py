"""Gradients of the training forward: exact formulas, and the same sum however a batch is cut, packed or shared out."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
import torch
from packing import Sample, gradient, packed, sharp
from torch.autograd import gradcheck
from toy import toy_config

from ponder.model.ops.native import NativeOps, kernel_names
from ponder.model.ops.torch_native import NativeTorchOps
from ponder.model.ops.torch_ops import TorchLinear, TorchOps
from ponder.model.view import PackedView

CONFIG = toy_config(vocab_size=61, max_position_embeddings=128)


class Float64Kernels:
    """The definitions in numpy's float64: what the kernels would give without rounding."""

    def prepare_linear(self, name, parts, bias, weights_format):
        return np.concatenate(parts), bias

    def linear(self, x, weight):
        return x @ weight[0].T + (0 if weight[1] is None else weight[1])

    def rms_norm(self, x, weight, eps):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    def add_norm(self, x, delta, weight, eps):
        return x + delta, self.rms_norm(x + delta, weight, eps)

    def rope(self, x, rotation):
        cos, sin = rotation[0][:, None], rotation[1][:, None]
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def swiglu(self, x):
        gate, up = np.split(x, 2, -1)
        return gate / (1 + np.exp(-gate)) * up

    def log_softmax(self, x):
        x = x - x.max(-1, keepdims=True)
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    def attend(self, q, k, v, view, layer, kv):
        out = np.empty_like(q)
        k, v = (np.repeat(x, q.shape[1] // k.shape[1], 1) for x in (k, v))
        spans = list(itertools.pairwise(view.starts_S1))
        for s, (a, b) in enumerate(spans):
            parent = view.parents_S[s] if view.parents_S else -1
            before = np.arange(*spans[parent]) if parent >= 0 else np.arange(0)
            for t in range(a, b):
                seen = np.concatenate([before, np.arange(a, t + 1)])
                scores = np.einsum("hc,shc->hs", q[t], k[seen]) * q.shape[2] ** -0.5
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                weights /= weights.sum(-1, keepdims=True)
                out[t] = np.einsum("hs,shc->hc", weights, v[seen])
        return out

    def swiglu_gradients(self, gate_up, dy):
        return gradients_of(lambda x: TorchOps().swiglu(x), [gate_up], dy)[0]

    def norm_gradients(self, x, weight, eps, dy, also):
        def norm(x, weight):
            return torch.nn.functional.rms_norm(x, weight.shape, weight, eps)

        dx, dw = gradients_of(norm, [x, weight], dy)
        return dx if also is None else dx + also, dw

    def pick(self, logits, targets):
        taken = np.log(np.exp(logits).sum(-1))
        logps = logits - taken[:, None]
        entropies = -(np.exp(logps) * logps).sum(-1)
        return logps[np.arange(len(logps)), targets], entropies, taken

    def pick_gradients(self, logits, targets, taken, dy):
        return gradients_of(
            lambda x: TorchOps().pick(x, torch.from_numpy(targets).long())[0], [logits], dy
        )[0]

    def attend_gradients(self, q, k, v, out, d_out, view, kv):
        def attend(*given):
            return TorchOps().attend(*given, view, 0, kv)

        return gradients_of(attend, [q, k, v], d_out)


def gradients_of(function, arrays, d_out):
    """torch's own, of arrays in numpy."""
    leaves = [torch.from_numpy(x.copy()).requires_grad_() for x in arrays]
    with torch.enable_grad():
        return [
            g.numpy()
            for g in torch.autograd.grad(function(*leaves), leaves, torch.from_numpy(d_out))
        ]


def leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_every_backward_formula_is_the_derivative():
    ops = NativeTorchOps(Float64Kernels())
    positions = torch.arange(5, dtype=torch.float64)[:, None]
    turn = (
        torch.cos(positions * 0.3 + torch.arange(2)),
        torch.sin(positions * 0.3 + torch.arange(2)),
    )

    def linear(x, a, b, c, d):
        return ops.linear(x, ops.pack([a, b], [c, d], "fp32"))

    assert gradcheck(linear, (leaf(5, 4), leaf(3, 4), leaf(2, 4), leaf(3), leaf(2)))
    assert gradcheck(
        lambda x, a: ops.linear(x, ops.pack([a], [], "fp32")), (leaf(5, 4), leaf(3, 4))
    )
    assert gradcheck(lambda x, w: ops.rms_norm(x, w, 1e-5), (leaf(5, 3, 4), leaf(4)))
    assert gradcheck(
        lambda x, d, w: ops.add_norm(x, d, w, 1e-5), (leaf(5, 4), leaf(5, 4, seed=3), leaf(4))
    )
    assert gradcheck(lambda x: ops.rope(x, turn), (leaf(5, 2, 4),))
    assert gradcheck(ops.swiglu, (leaf(5, 6),))
    targets = torch.tensor([0, 5, 2, 2, 1])
    assert gradcheck(lambda x: ops.pick(x, targets)[0], (leaf(5, 6),))


@pytest.mark.parametrize("parents", [(), (-1, 0, -1, 0, 2)])
def test_attention_s_gradient_is_the_derivative_with_and_without_shared_rows(parents):
    view = PackedView(torch.tensor([0, 3, 5, 6, 10, 12], dtype=torch.int32), parents)
    given = leaf(12, 4, 3), leaf(12, 2, 3), leaf(12, 2, 3, seed=5)
    ops, plain = NativeTorchOps(Float64Kernels()), TorchOps()
    assert gradcheck(lambda q, k, v: ops.attend(q, k, v, view, 0, "fp32"), given, fast_mode=True)
    found, truth = (each.attend(*given, view, 0, "fp32") for each in (ops, plain))
    assert torch.allclose(found, truth, atol=1e-12)


VIEWS = [
    ([0, 40, 340, 900], (-1, 0, 0)),
    ([0, 1, 2, 50, 51, 99, 147, 196], ()),
    ([0, 5, 6, 70, 70, 75], (-1, 0, 0, -1, 3)),
]


@pytest.mark.parametrize(("kv_format", "tolerance"), [("fp32", 1e-5), ("bf16", 5e-2)])
@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize(("starts", "parents"), VIEWS)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(6, 2, 64), (3, 1, 20), (2, 2, 16)])
def test_the_kernels_backward_passes_are_torch_s_in_float64(
    kernels, starts, parents, heads, kv_heads, size, kv_format, tolerance
):
    view = PackedView(torch.tensor(starts, dtype=torch.int32), parents)
    rows = starts[-1]
    whole = [leaf(rows, n, size + 3, seed=n).detach() for n in (heads, kv_heads, kv_heads + 1)]
    given = [whole[0] * 2, whole[1] * 2, whole[2][:, 1:]]
    given = [
        x.float()[..., :size].requires_grad_() for x in given
    ]  # strided, like slices of one projection
    exact = [x.detach().double().requires_grad_() for x in given]
    factor = leaf(rows, heads, size, seed=9).detach()
    for threads in (1, 2):
        ops = NativeTorchOps(NativeOps(threads, kernels))
        rest = view, 0, kv_format
        found = torch.autograd.grad((ops.attend(*given, *rest) * factor.float()).sum(), given)
        truth = torch.autograd.grad((TorchOps().attend(*exact, *rest) * factor).sum(), exact)
        for a, b in zip(found, truth):
            assert float((a.double() - b).norm() / b.norm()) < tolerance, (a, b)


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize("width", [1, 16, 37])
def test_the_kernels_swiglu_gradient_is_torch_s_in_float64(kernels, width):
    ops = NativeTorchOps(NativeOps(2, kernels))
    x = (leaf(50, 2 * width) * 8).detach().float().requires_grad_()
    exact = x.detach().double().requires_grad_()
    factor = leaf(50, width, seed=9).detach()
    (found,) = torch.autograd.grad((ops.swiglu(x) * factor.float()).sum(), x)
    (truth,) = torch.autograd.grad((TorchOps().swiglu(exact) * factor).sum(), exact)
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-6)


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.detach().to(torch.bfloat16).double().requires_grad_()


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize(("rows", "outputs", "columns"), [(1, 1, 1), (37, 20, 33), (200, 96, 64)])
def test_a_bf16_layer_s_gradients_are_those_of_its_rounded_factors(kernels, rows, outputs, columns):
    x, weight, bias = leaf(rows, columns), leaf(outputs, columns, seed=1), leaf(outputs)
    factor = leaf(rows, outputs, seed=2).to(torch.bfloat16)
    given = [each.detach().float().requires_grad_() for each in (x, weight, bias)]
    exact = [rounded(x), rounded(weight), given[2].detach().double().requires_grad_()]
    for threads in (1, 2):
        ops = NativeTorchOps(NativeOps(threads, kernels), "bf16")
        y = ops.linear(given[0], ops.pack([given[1]], [given[2]], "bf16"))
        truth = exact[0] @ exact[1].T + exact[2]
        torch.testing.assert_close(y.double(), truth, rtol=1e-4, atol=1e-4)
        found = torch.autograd.grad((y * factor.float()).sum(), given)
        expected = torch.autograd.grad((truth * factor.double()).sum(), exact)
        # Where torch multiplies in the backward pass, x is not rounded.
        tolerance = 1e-4 if ops.kernels.multiplies_bf16 else 2e-2
        for a, b in zip(found, expected):
            torch.testing.assert_close(
                a.double(), b, rtol=1e-4, atol=tolerance * float(b.abs().max())
            )


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize("width", [1, 16, 37])
def test_the_kernels_other_backward_passes_are_torch_s_in_float64(kernels, width):
    ops, plain = NativeTorchOps(NativeOps(2, kernels)), TorchOps()
    x, delta, weight = (leaf(*shape) for shape in ((9, 3, width), (9, 3, width), (width,)))
    factor = leaf(9, 3, width, seed=9).detach()

    def same(function, *given):
        floats = [each.detach().float().requires_grad_() for each in given]
        exact = [each.detach().double().requires_grad_() for each in floats]
        found = torch.autograd.grad(function(ops, *floats, factor.float()), floats)
        truth = torch.autograd.grad(function(plain, *exact, factor), exact)
        for a, b in zip(found, truth):
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)

    def add_norm(ops, x, delta, weight, factor):
        total, y = ops.add_norm(x[:, 0].contiguous(), delta[:, 1].contiguous(), weight, 1e-5)
        return ((total.sin() + y) * factor[:, 2]).sum()

    def pick(ops, x, factor):
        logits = x.reshape(27, -1) * 8
        logp, entropy = ops.pick(logits, torch.arange(27) % logits.shape[1])
        assert not entropy.requires_grad
        return (logp * factor.reshape(27, -1)[:, 0]).sum() + entropy.sum()

    same(lambda ops, x, w, f: (ops.rms_norm(x, w, 1e-5) * f).sum(), x, weight)
    same(add_norm, x, delta, weight)
    same(pick, x)


@pytest.mark.parametrize("kernels", kernel_names())
@pytest.mark.parametrize(("width", "inner", "rows"), [(8, 5, 1), (33, 40, 31), (96, 128, 70)])
def test_a_bf16_gated_mlp_s_gradients_are_near_those_in_float64(kernels, width, inner, rows):
    ops, plain = NativeTorchOps(NativeOps(1, kernels), "bf16"), TorchOps()
    shapes = ((rows, width), (inner, width), (inner, width), (width, inner))
    given = [leaf(*shape, seed=i).detach().float() for i, shape in enumerate(shapes)]
    for matrix in given[1:]:
        matrix.mul_(matrix.shape[1] ** -0.5)
    exact = [each.double().requires_grad_() for each in given]
    for each in given:
        each.requires_grad_()
    factor = leaf(rows, width, seed=9).detach()
    x, gate, up, down = given
    y = ops.gated_mlp(x, ops.pack([gate, up], [], "bf16"), ops.pack([down], [], "bf16"))
    x, gate, up, down = exact
    truth = plain.gated_mlp(x, TorchLinear(torch.cat([gate, up])), TorchLinear(down))
    found = torch.autograd.grad((y * factor.float()).sum(), given)
    expected = torch.autograd.grad((truth * factor).sum(), exact)
    for a, b in zip((y, *found), (truth, *expected)):
        assert float((a.double() - b).detach().norm() / b.detach().norm()) < 0.02, (a, b)


@pytest.mark.parametrize("kernels", kernel_names())
def test_picked_log_probabilities_have_the_bits_of_log_softmax(kernels):
    ops = NativeTorchOps(NativeOps(1, kernels))
    for width in (1, 16, 37, 2048):
        logits = (leaf(40, width) * 20).detach().float()
        targets = torch.arange(40) * 7 % width
        logits[3, :] = -1e30
        logits[3, targets[3]] = 2.0
        logp, entropy = ops.pick(logits, targets)
        whole = ops.log_softmax(logits)
        assert torch.equal(logp, whole.gather(1, targets[:, None])[:, 0])
        shares = whole.double().exp()
        truth = -(shares * whole.double().clamp(min=-1e9)).sum(1)
        torch.testing.assert_close(entropy.double(), truth, rtol=1e-4, atol=1e-4)


def group(seed: int = 0) -> list[Sample]:
    rng = random.Random(seed)
    made: list[Sample] = []
    for given in (6, 1, 9):
        prompt = [rng.randrange(2, 61) for _ in range(given)]
        for _ in range(4):
            answer = [rng.randrange(2, 61) for _ in range(rng.randrange(1, 30))]
            made.append(Sample((*prompt, *answer), given))
    return made


def summed(cuts: list[list[int]], shares: bool) -> dict[str, torch.Tensor]:
    """Float64 gradient of a loss with its own factor for every token, over batches of these samples."""
    samples = group()
    factors = [
        torch.linspace(-1, 1, len(s.ids) - s.given, dtype=torch.float64) + i
        for i, s in enumerate(samples)
    ]
    batches = [packed([samples[i] for i in cut], shares) for cut in cuts]
    return gradient(
        sharp(CONFIG).double(), batches, lambda n: torch.cat([factors[i] for i in cuts[n]])
    )


def test_gradients_do_not_depend_on_micro_batches_order_sharing_or_workers():
    order = list(range(12))
    truth = summed([order], False)
    random.Random(4).shuffle(mixed := order.copy())
    alone = [[i] for i in mixed]
    halves = [mixed[:5], mixed[5:]]
    for cuts in ([mixed], halves, alone):
        for shares in (False, True):
            for name, found in summed(cuts, shares).items():
                assert torch.allclose(found, truth[name], atol=1e-10, rtol=1e-10), (
                    cuts,
                    shares,
                    name,
                )
    workers = [summed([half], True) for half in halves]
    for name, expected in truth.items():
        total = sum(worker[name] for worker in workers)
        assert torch.allclose(total, expected, atol=1e-10, rtol=1e-10), name


def test_what_is_given_has_exactly_no_gradient():
    """Ids after the last scored one change no bit of the gradient."""
    network = sharp(CONFIG)
    sample = group()[0]
    tokens, positions, view, rows, targets = packed([sample])
    kept = slice(0, 2)
    truth = gradient(network, [(tokens, positions, view, rows[kept], targets[kept])], lambda _: 1.0)
    changed = tokens.clone()
    changed[int(rows[kept][-1]) + 1 :] = 7
    found = gradient(
        network, [(changed, positions, view, rows[kept], targets[kept])], lambda _: 1.0
    )
    for name, expected in truth.items():
        assert torch.equal(found[name], expected), name
