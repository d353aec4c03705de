"""TRL 1.16: its own `_compute_loss` on the same float64 log-probabilities gives our loss and our gradient.

What differs by convention, and is converted here: the bound of CISPO is the ratio itself, not its distance from 1;
`delta` bounds the ratio, which is our dual clip; advantages divide by std + 1e-4, ours by std + 1e-6, so both get ours.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from batches import MAX_TOKENS, Batch, assert_same

pytestmark = pytest.mark.slow


def trl_loss(batch: Batch, loss_type: str, **settings: Any) -> torch.Tensor:
    from trl import GRPOTrainer as trainer

    logps_BT = batch.logps_BT()
    low, high = settings.pop("epsilon", (batch.term.clip_low, batch.term.clip_high))
    stub = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *given, **named: (
            logps_BT,
            torch.zeros_like(logps_BT),
            None,
        ),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None,
        importance_sampling_level=settings.pop("level", "token"), beta=settings.pop("beta", 0.0),
        loss_type=loss_type, epsilon_low=low, epsilon_high=high, use_vllm=False,
        model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        max_completion_length=MAX_TOKENS, _entropy_bonus_enabled=False,
        _metrics=defaultdict(lambda: defaultdict(list)),
        accelerator=SimpleNamespace(
            num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x
        ),
        args=SimpleNamespace(
            delta=settings.pop("delta", None), use_bias_correction_kl=False, steps_per_generation=1
        ),
    )  # fmt: skip
    assert not settings, settings
    present_BT = torch.zeros_like(batch.mask_BT)
    for b, length in enumerate(batch.lens):
        present_BT[b, :length] = 1
    ids_BT = torch.zeros(batch.mask_BT.shape, dtype=torch.int64)
    inputs = {
        "prompt_ids": ids_BT[:, :4], "prompt_mask": torch.ones_like(ids_BT[:, :4]),
        "completion_ids": ids_BT, "completion_mask": present_BT, "tool_mask": batch.mask_BT,
        "advantages": batch.advantages_B, "old_per_token_logps": batch.old_BT,
        "num_items_in_batch": batch.mask_BT.sum(),
    }  # fmt: skip
    if stub.beta:
        inputs["ref_per_token_logps"] = batch.logps_BT(reference=True).detach()
    return trainer._compute_loss(stub, None, inputs)


CASES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "grpo": ("grpo", {}, "grpo", {}),
    "bnpo": ("dapo", {}, "bnpo", {}),
    "dr_grpo": ("dr_grpo", {}, "dr_grpo", {}),
    "dapo": ("dapo", {}, "dapo", {}),
    "cispo": ("cispo", {}, "cispo", {"epsilon": (0.0, 1.28)}),
    "sequence ratio": ("gspo", {}, "grpo", {"level": "sequence"}),
    "delta": ("grpo", {"dual_clip": 1.4}, "grpo", {"delta": 1.4}),
}


@pytest.mark.parametrize("tools", [False, True], ids=["plain", "tool mask"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_are_trl_s(case, tools):
    name, changes, loss_type, settings = CASES[case]
    batch = Batch(name, tools, **changes)
    assert_same(batch.ours(), batch.theirs(trl_loss(batch, loss_type, **settings)))


@pytest.mark.parametrize(
    ("name", "loss_type"), [("grpo", "grpo"), ("dr_grpo", "dr_grpo"), ("dapo", "dapo")]
)
def test_k3_is_trl_s(name, loss_type):
    batch = Batch(name)
    assert_same(batch.ours(kl_weight=0.04), batch.theirs(trl_loss(batch, loss_type, beta=0.04)))
