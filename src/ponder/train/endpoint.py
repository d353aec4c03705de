"""train/endpoint: `Rollouts` by a server (vLLM, SGLang) that takes and gives token ids, and is told of new weights.

    load:  weights into a model folder that the server sees at the same path, then one request that it read them
    run:   episodes through `HttpTokenEngine`; tools and verdicts here

The server's log-probabilities are of all ids and its own arithmetic: `gap` in the metrics says by how much they differ
from the trainer's, and `importance_cap` corrects. A resumed run samples anew what the server does not repeat.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.clients.http import HttpConfig
from ponder.clients.http_tokens import HttpTokenEngine
from ponder.core.errors import NetworkError
from ponder.model.config import ModelConfig
from ponder.text import ChatTemplate
from ponder.train.checkpoint import export_folder
from ponder.train.cluster_config import ClusterConfig
from ponder.train.rollout import Ask, Group, RemoteRollouts, RolloutConfig


class EndpointRollouts:
    """As `Rollouts`: `load` weights first, then `run` any number of times."""

    def __init__(
        self,
        model: ModelConfig,
        template: ChatTemplate,
        start_from: Path,
        served: Path,
        config: RolloutConfig,
        cluster: ClusterConfig,
    ) -> None:
        """`served`: where weights are written; `start_from`: the tokenizer's files beside them."""
        self.config = config
        self._model, self._template, self._start_from = model, template, start_from
        self._served, self._cluster = served.resolve(), cluster
        http = HttpConfig(cluster.endpoint, cluster.endpoint_model, timeout_s=cluster.timeout_s)
        self._engine = HttpTokenEngine(http)

    def load(self, weights_version: int, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Written in turn into two folders: the server may still hold the other one open. Raises NetworkError."""
        folder = self._served / str(weights_version % 2)
        weights = {name: torch.from_numpy(values) for name, values in tensors.items()}
        export_folder(folder, self._model, weights, self._start_from)
        url = self._cluster.reload_url
        body = self._cluster.reload_body.replace('"{folder}"', json.dumps(str(folder)))
        request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._cluster.start_timeout_s) as answer:
                said = answer.read(100_000)
        except (OSError, urllib.error.HTTPError) as error:
            raise NetworkError(
                f"{url} did not take the weights in {str(folder)!r}: {error}",
                "look at the server's log; it must see that folder at the same path",
            ) from error
        if b'"success":false' in said.replace(b" ", b""):
            raise NetworkError(f"{url} refused the weights: {said[:300]!r}", "see its log")

    def run(
        self, asks: Iterable[Ask], on_done: Callable[[int, Group], None] = lambda index, group: None
    ) -> list[Group]:
        """As `Rollouts.run`. Raises NetworkError when the server fails; what was finished is kept by the caller."""
        context_len = self._model.max_positions
        remote = RemoteRollouts(self._engine, self._template, self.config, context_len=context_len)
        return remote.run(asks, on_done)
