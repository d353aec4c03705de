"""text: messages ↔ token ids ↔ streamed deltas; sole owner of tokenizers and chat templates.

Main noun: `ChatTemplate`. Main verb: `render`.
May open: core.
"""

from ponder.text.chat import ChatTemplate, RenderedPrompt
from ponder.text.format import ChatFormat
from ponder.text.stream import StreamRouter
from ponder.text.tokenizer import Tokenizer

__all__ = ["ChatFormat", "ChatTemplate", "RenderedPrompt", "StreamRouter", "Tokenizer"]
