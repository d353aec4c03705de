"""Where the tokenizers and chat templates under test lie."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ["PONDER_DATA"]) / "tokenizers"
QWEN, DEEPSEEK = DATA / "qwen2.5-qwq", DATA / "deepseek-r1-v3"

TEMPLATES = {
    "qwq": QWEN / "chat_template.jinja",
    "qwen2.5": QWEN / "chat_template_qwen2.5_instruct.jinja",
    "qwen3": QWEN / "chat_template_qwen3.jinja",
    "r1": DEEPSEEK / "chat_template_r1.jinja",
    "r1-distill": DEEPSEEK / "chat_template_r1_distill.jinja",
    "v3": DEEPSEEK / "chat_template_v3.jinja",
    "v3.1": DEEPSEEK / "chat_template_v3.1.jinja",
}
