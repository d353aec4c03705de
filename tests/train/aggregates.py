"""The aggregations of token losses in the papers' own words: what streams are compared with, and itself with verl's."""

from __future__ import annotations

import torch
from torch import Tensor


def aggregate(
    loss_T: Tensor, sequence_T: Tensor, how: str = "token", constant_len: int | None = None
) -> Tensor:
    """One number out of token losses.

    `token`: mean over all tokens; `sequence`: mean over sequences of each one's mean; `constant`: sum of all divided by
    sequences × `constant_len` (Dr.GRPO, arXiv 2503.20783).
    """
    if how == "token":
        return loss_T.mean()
    count = int(sequence_T.max()) + 1
    if how == "constant":
        assert constant_len is not None, "the constant aggregation needs constant_len"
        return loss_T.sum() / (count * constant_len)
    lens_S = torch.bincount(sequence_T, minlength=count).to(loss_T.dtype)
    return (loss_T / lens_S[sequence_T]).sum() / count
