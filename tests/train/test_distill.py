"""Distillation against torch's own KL in float64, by hand for the kept ids, and a student that moves nearer."""

from __future__ import annotations

import pytest
import torch
from packing import Sample, packed, sharp
from torch.nn import functional
from toy import toy_config

from ponder.core.errors import ConfigError
from ponder.train.distill import Teacher, distilled, divergence, teach

CONFIG = toy_config(vocab_size=61, num_hidden_layers=2)
IDS = tuple((7 * i * i + 3) % 61 for i in range(30))
BATCH = packed([Sample(IDS, 1), Sample(IDS[5:], 3)])[:4]


def logprobs(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(9, 61, generator=generator, dtype=torch.float64).log_softmax(-1)


def test_the_whole_divergence_is_torch_s_in_both_directions():
    student, teacher = logprobs(0).requires_grad_(), logprobs(1)
    for direction, (a, b) in {"forward": (student, teacher), "reverse": (teacher, student)}.items():
        found = divergence(student, Teacher(teacher), direction)
        truth = functional.kl_div(a, b, reduction="none", log_target=True).sum(1)
        assert torch.allclose(found, truth, atol=1e-12)
        ours, theirs = (torch.autograd.grad(x.sum(), student)[0] for x in (found, truth))
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_kept_ids_and_one_rest_make_a_lower_bound_that_is_exact_at_the_end(direction):
    student, teacher = logprobs(0), logprobs(1)
    whole, last = divergence(student, Teacher(teacher), direction), torch.zeros(9)
    for k in (1, 5, 40, 60):
        kept = teacher.topk(k)
        found = divergence(student, Teacher(kept.values, kept.indices), direction)
        p, q = (x.exp().gather(1, kept.indices) for x in (teacher, student))
        p, q = (torch.cat([x, 1 - x.sum(1, keepdim=True)], 1) for x in (p, q))
        if direction == "reverse":
            p, q = q, p
        assert torch.allclose(found, (p * (p / q).log()).sum(1), atol=1e-10)
        assert (found >= last - 1e-12).all() and (found <= whole + 1e-12).all()
        last = found
    assert torch.allclose(last, whole, atol=1e-10)


def test_a_student_s_rows_are_its_own_log_probabilities_in_chunks_too():
    student, teacher = sharp(CONFIG).double(), sharp(CONFIG, seed=8).double()
    said = teach(teacher, *BATCH, top_k=10)
    whole = distilled(student, *BATCH, said)
    with torch.no_grad():
        truth = divergence(student(*BATCH).log_softmax(-1), said)
    assert torch.allclose(whole, truth, atol=1e-12)
    leaves = list(student.parameters())
    expected = torch.autograd.grad(whole.sum(), leaves)
    chunks = distilled(student, *BATCH, said, held_numbers=61 * 7)
    assert torch.allclose(chunks, whole, atol=1e-12)
    for a, b in zip(torch.autograd.grad(chunks.sum(), leaves), expected, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_a_teacher_teaches_nothing_to_itself_and_something_to_another():
    teacher, student = sharp(CONFIG, seed=8), sharp(CONFIG)
    said = teach(teacher, *BATCH)
    assert float(distilled(teacher, *BATCH, said).detach().abs().max()) < 1e-5
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    losses: list[float] = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = distilled(student, *BATCH, said).mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0], losses


def test_bad_settings_are_told():
    teacher = sharp(CONFIG)
    with pytest.raises(ConfigError, match="allowed are 1 to 60"):
        teach(teacher, *BATCH, top_k=61)
    with pytest.raises(ConfigError, match="allowed are forward, reverse"):
        divergence(logprobs(0), Teacher(logprobs(1)), "sideways")
