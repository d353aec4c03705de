"""The native op set against the reference: the same bits in every format and verb but fp32 products."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest

from ponder.model.folder import random_model
from ponder.model.ops.reference import ReferenceOps
from ponder.model.shapes import SHAPES
from ponder.model.view import KVPool, PackedView, PagedView

pytestmark = pytest.mark.native
native = pytest.importorskip("ponder.model.ops.native", reason="the native op set is not built")

REFERENCE = ReferenceOps()
VARIANTS = [(kernels, threads) for kernels in native.kernel_names() for threads in (1, 2)]


@pytest.fixture(params=VARIANTS, ids=[f"{kernels}-{threads}" for kernels, threads in VARIANTS])
def ops(request):
    kernels, threads = request.param
    return native.NativeOps(threads, kernels)


def normal(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def same_bits(a, b):
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("size", [1, 5, 16, 63, 64, 65, 777, 2048])
def test_samples_are_the_definition(ops, size):
    rng = np.random.default_rng(size)
    logits = normal(rng, 70, size) * rng.choice([0.1, 3, 30], (70, 1)).astype(np.float32)
    logits[3, 1:] = -np.inf
    logits[4, size // 2], logits[5, -1], logits[6] = np.nan, np.inf, -np.inf
    inverse = (1 / rng.choice([0.3, 1.0, 1.7], 70)).astype(np.float32)
    at = np.array([0.0, 1 - 2**-53, *rng.random(68)])
    ids, logprobs = ops.sample(logits, inverse, at)
    expected_ids, expected = REFERENCE.sample(logits, inverse, at)
    assert np.flatnonzero(np.isnan(logprobs)).tolist() == [4, 5, 6]
    sound = ~np.isnan(expected)
    assert (ids[sound] == expected_ids[sound]).all() and sound.sum() == 67
    same_bits(logprobs[sound], expected[sound])
    same_bits(expected[sound], REFERENCE.log_softmax(logits[sound])[np.arange(67), ids[sound]])


@pytest.mark.parametrize("weights_format", ["int8", "int4"])
@pytest.mark.parametrize("columns", [1, 5, 16, 100, 128, 130, 192, 384, 896])
def test_integer_linear_is_the_definition(ops, columns, weights_format):
    rng = np.random.default_rng(columns)
    for outputs in (1, 7, 16, 45):
        parts = [normal(rng, outputs, columns), normal(rng, 3, columns, scale=0.01)]
        parts[0][0] = 0
        bias = normal(rng, outputs + 3)
        expected = REFERENCE.prepare_linear("w", parts, bias, weights_format)
        given = ops.prepare_linear("w", parts, bias, weights_format)
        for rows in (1, 2, 3, 4, 5, 16, 17, 40, 200):
            x = normal(rng, rows, columns, scale=3)
            x[rows // 2] = 0
            same_bits(ops.linear(x, given), REFERENCE.linear(x, expected))


@pytest.mark.parametrize("weights_format", ["int8", "int4"])
def test_integer_linear_of_extreme_values(ops, weights_format):
    rng = np.random.default_rng(0)
    weight = normal(rng, 20, 200)
    for scale in (1e-44, 1e-38, 1e-30, 1e30):
        for w, x in ((weight, normal(rng, 5, 200)), (weight * np.float32(scale), weight[:5])):
            x = x * np.float32(scale) if w is weight else x
            expected = REFERENCE.prepare_linear("w", [w], None, weights_format)
            given = ops.prepare_linear("w", [w], None, weights_format)
            same_bits(ops.linear(x, given), REFERENCE.linear(x, expected))


@pytest.mark.parametrize("stored", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("weights_format", ["fp32", "bf16", "int8", "int4"])
def test_stored_kinds(ops, stored, weights_format):
    rng = np.random.default_rng(3)
    weight = normal(rng, 40, 70)
    if stored == "fp16":
        weight = weight.astype(np.float16)
    elif stored == "bf16":
        weight = (weight.view(np.uint32) >> 16).astype(np.uint16)
    x = normal(rng, 3, 70)
    expected = REFERENCE.linear(x, REFERENCE.prepare_linear("w", [weight], None, weights_format))
    given = ops.linear(x, ops.prepare_linear("w", [weight], None, weights_format))
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights_format", ["fp32", "bf16"])
@pytest.mark.parametrize("columns", [1, 100, 512, 1030])
def test_float_linear_does_not_depend_on_other_rows(ops, weights_format, columns):
    rng = np.random.default_rng(columns)
    parts = [normal(rng, 37, columns)]
    bias = normal(rng, 37)
    x = normal(rng, 130, columns)
    weight = ops.prepare_linear("w", parts, bias, weights_format)
    y = ops.linear(x, weight)
    expected = REFERENCE.prepare_linear("w", parts, bias, weights_format)
    np.testing.assert_allclose(y, REFERENCE.linear(x, expected), rtol=1e-4, atol=2e-4)
    for rows in (1, 2, 7, 16, 17, 100):
        same_bits(ops.linear(x[:rows], weight), y[:rows])
        same_bits(ops.linear(x[-rows:].copy(), weight), y[-rows:])


@pytest.mark.parametrize("weights_format", ["fp32", "bf16", "int8", "int4"])
@pytest.mark.parametrize(("width", "inner"), [(8, 5), (33, 40), (320, 1000)])
def test_a_gated_mlp_has_the_bits_of_its_three_verbs(ops, weights_format, width, inner):
    """In cache, where both matrices are small and rows many, and else."""
    rng = np.random.default_rng(width)
    parts = [normal(rng, inner, width, scale=width**-0.5) for _ in range(2)]
    gate_up = ops.prepare_linear("gate_up", parts, None, weights_format)
    down = ops.prepare_linear("down", [normal(rng, width, inner)], None, weights_format)
    for rows in (1, 31, 70):
        x = normal(rng, rows, width)
        steps = ops.linear(ops.swiglu(ops.linear(x, gate_up)), down)
        same_bits(ops.gated_mlp(x, gate_up, down), steps)


def test_a_gated_mlp_refuses_what_does_not_fit(ops):
    rng = np.random.default_rng(0)

    def layer(outputs, columns, bias=None, weights_format="bf16"):
        return ops.prepare_linear("w", [normal(rng, outputs, columns)], bias, weights_format)

    x = normal(rng, 3, 8)
    for gate_up, down in (
        (layer(20, 8), layer(8, 11)),
        (layer(20, 8), layer(9, 10)),
        (layer(20, 7), layer(7, 10)),
        (layer(20, 8), layer(8, 10, normal(rng, 8))),
        (layer(20, 8), layer(8, 10, weights_format="int8")),
    ):
        with pytest.raises(ValueError):
            ops.gated_mlp(x, gate_up, down)


@pytest.mark.parametrize("columns", [1, 31, 100, 550])
def test_bf16_linear_is_the_definition(ops, columns):
    rng = np.random.default_rng(columns)
    parts = [normal(rng, outputs, columns) for outputs in (1, 7, 16, 45)]
    parts[1][3] = 1e-40
    for bias in (None, normal(rng, 69)):
        given = ops.prepare_linear("w", parts, bias, "bf16")
        expected = REFERENCE.prepare_linear("w", parts, bias, "bf16")
        for rows in (1, 2, 17, 40, 100):
            x = normal(rng, rows, columns, scale=3)
            x[rows // 2, ::3] = 1e-39
            y, truth = ops.linear(x, given), REFERENCE.linear(x, expected)
            same_bits(y + np.float32(0), truth + np.float32(0))  # a zero has either sign
    lone = [
        o.linear(x[:1], o.prepare_linear("w", parts[:1], None, "bf16")) for o in (ops, REFERENCE)
    ]
    same_bits(*lone)


@pytest.mark.parametrize("width", [1, 8, 16, 33, 64, 896])
def test_rows(ops, width):
    rng = np.random.default_rng(width)
    x, delta, weight = normal(rng, 37, width, scale=5), normal(rng, 37, width), normal(rng, width)
    same_bits(ops.rms_norm(x, weight, 1e-6), REFERENCE.rms_norm(x, weight, 1e-6))
    for a, b in zip(
        ops.add_norm(x, delta, weight, 1e-6),
        REFERENCE.add_norm(x, delta, weight, 1e-6),
        strict=True,
    ):
        same_bits(a, b)
    logits = x * 10
    same_bits(ops.log_softmax(logits), REFERENCE.log_softmax(logits))
    gate_up = normal(rng, 37, 2 * width, scale=40)
    same_bits(ops.swiglu(gate_up), REFERENCE.swiglu(gate_up))


@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(4, 2, 16), (14, 2, 64), (3, 3, 40)])
def test_rope_norm_and_packed_attention_of_strided_heads(ops, heads, kv_heads, size):
    rng = np.random.default_rng(size)
    for rows in (1, 5, 300):
        qkv = normal(rng, rows, heads + 2 * kv_heads, size)
        q, k, v = np.split(qkv, [heads, heads + kv_heads], axis=1)
        weight = normal(rng, size)
        same_bits(ops.rms_norm(q, weight, 1e-6), REFERENCE.rms_norm(q, weight, 1e-6))
        angle = normal(rng, rows, size // 2)
        rotation = np.cos(angle), np.sin(angle)
        same_bits(ops.rope(q, rotation), REFERENCE.rope(q, rotation))
        k = ops.rope(k, rotation)
        for kv_format, parents in itertools.product(("fp32", "bf16"), ((), (-1, 0))):
            view = PackedView(np.array([0, rows // 3, rows], np.int32), parents)
            arguments = q, k, v, view, 0, kv_format
            same_bits(ops.attend(*arguments), REFERENCE.attend(*arguments))


@pytest.mark.parametrize(
    ("page_len", "kv_format"),
    [(4, "fp32"), (16, "fp32"), (256, "fp32"), (16, "bf16"), (32, "bf16"), (256, "bf16")],
)
def test_paged_attention(ops, page_len, kv_format):
    rng = np.random.default_rng(page_len)
    pages_each = -(-700 // page_len)
    config = replace(SHAPES["micro"], num_layers=2, num_kv_heads=2, head_dim=24)
    pools = [one.new_pool(config, 2 * pages_each, page_len, kv_format) for one in (REFERENCE, ops)]
    for pool in pools:  # what an earlier user left is no number
        pool.keys.view(np.uint8)[:] = pool.values.view(np.uint8)[:] = 255
    pages = rng.permutation(2 * pages_each).astype(np.int32).reshape(2, pages_each)
    lengths = np.zeros(2, np.int32)
    for step in ((300, 5), (1, 1), (1, 0), (300, 280)):
        qkv = normal(rng, sum(step), 8, 24)
        starts = np.cumsum((0, *step)).astype(np.int32)
        results = [
            one.attend(
                qkv[:, :4],
                qkv[:, 4:6],
                qkv[:, 6:],
                PagedView(pool, starts, lengths, pages),
                1,
                kv_format,
            )
            for one, pool in zip((REFERENCE, ops), pools, strict=True)
        ]
        same_bits(*results)
        lengths = lengths + np.array(step, np.int32)


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_gives_the_reference_bits(threads, weights):
    ids = np.random.default_rng(1).integers(0, 512, 300).tolist()
    expected = random_model(SHAPES["micro"], weights=weights, ops="reference").score(ids)
    model = random_model(SHAPES["micro"], weights=weights, ops="native", threads=threads)
    same_bits(model.score(ids), expected)


@pytest.mark.parametrize("weights_format", ["fp32", "bf16", "int8", "int4"])
def test_model_in_chunks_and_pages_gives_the_same_bits(weights_format):
    model = random_model(SHAPES["micro"], weights=weights_format, ops="native", threads=2)
    tokens = np.random.default_rng(2).integers(0, 512, 300).astype(np.int32)
    positions = np.arange(300, dtype=np.int32)
    whole = model.forward(tokens, positions, PackedView(np.array([0, 300], np.int32)))
    pool = model.new_pool(40, 16)
    pages = np.arange(40, dtype=np.int32)[::-1].copy()[None]
    for first, last in ((0, 100), (100, 101), (101, 299), (299, 300)):
        view = PagedView(
            pool, np.array([0, last - first], np.int32), np.array([first], np.int32), pages
        )
        rows = slice(first, last)
        same_bits(model.forward(tokens[rows], positions[rows], view), whole[rows])


def test_wrong_arrays_raise():
    ops = native.NativeOps(1)
    weight = ops.prepare_linear("w", [np.ones((4, 8), np.float32)], None, "int8")
    with pytest.raises(TypeError, match=r"x is 'd' \(2, 8\); allowed is 'f' with 2 axes"):
        ops.linear(np.ones((2, 8)), weight)
    with pytest.raises(ValueError, match=r"x is 'f' \(2, 9\); axis 1 must have 8"):
        ops.linear(np.ones((2, 9), np.float32), weight)
    with pytest.raises(TypeError, match="C-contiguous"):
        ops.linear(np.ones((8, 2), np.float32).T, weight)
    with pytest.raises((TypeError, ValueError)):
        ops.prepare_linear("w", [np.ones((0, 8), np.float32)], None, "fp32")
    with pytest.raises(ValueError, match="axis 1 must have 8"):
        ops.prepare_linear(
            "w", [np.ones((1, 8), np.float32), np.ones((1, 9), np.float32)], None, "fp32"
        )
    with pytest.raises(ValueError, match="bias"):
        ops.prepare_linear("w", [np.ones((4, 8), np.float32)], np.ones(5, np.float32), "fp32")


@pytest.mark.parametrize(
    ("starts", "length", "pages", "problem"),
    [
        ([0, 3], 0, [[0]], "starts must run from 0 to the rows of q"),
        ([0, 2], 3, [[0]], "page table does not cover"),
        ([0, 2], -1, [[0]], "page table does not cover"),
        ([0, 2], 0, [[7]], "page outside the pool"),
        ([0, 2], 0, [[-1]], "page outside the pool"),
    ],
)
def test_wrong_pages_raise(starts, length, pages, problem):
    ops = native.NativeOps(1)
    zeros = np.zeros((1, 2, 1, 4, 8), np.float32)
    q = np.zeros((2, 1, 8), np.float32)
    view = PagedView(
        KVPool(zeros, zeros.copy(), 2, 4),
        np.array(starts, np.int32),
        np.array([length], np.int32),
        np.array(pages, np.int32),
    )
    with pytest.raises(ValueError, match=problem):
        ops.attend(q, q, q, view, 0, "fp32")


def test_two_python_threads_share_an_op_set():
    ops = native.NativeOps(2)
    rng = np.random.default_rng(5)
    weight = ops.prepare_linear("w", [normal(rng, 3000, 256)], None, "int8")
    inputs = [normal(rng, 1 + i % 40, 256) for i in range(60)]
    expected = [ops.linear(x, weight) for x in inputs]
    wrong = []

    def work():
        for x, y in zip(inputs, expected, strict=True):
            if not np.array_equal(ops.linear(x, weight), y):
                wrong.append(len(x))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
