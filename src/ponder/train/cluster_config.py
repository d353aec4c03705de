"""train/cluster_config: the section of a recipe that spreads it over processes and machines. Needs no ray, no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ponder.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where the work of a recipe runs. The defaults are one process, and change no result."""

    rollout_workers: int = 0
    """Ray actors that sample answers, each with an engine of its own; 0: this process samples."""
    address: str = ""
    """A Ray cluster that already runs, e.g. `auto` or `head:6379`; empty: one is started on this machine."""
    worker_threads: int = 1
    """CPUs of one rollout worker."""
    groups_a_call: int = 8
    """Groups a worker is handed at a time: more fill its batch better, fewer are lost with it."""
    timeout_s: float = 600.0
    """Longest wait for the groups of one call; then the worker counts as lost."""
    start_timeout_s: float = 600.0
    """Longest wait for workers to start and to take new weights."""
    endpoint: str = ""
    """A server that samples in place of workers, e.g. `http://gpu:8000/v1`: completions of token ids, as vLLM's."""
    endpoint_model: str = ""
    """What the endpoint calls the model."""
    reload_url: str = ""
    """Where the endpoint is told of new weights, e.g. `http://gpu:8000/update_weights_from_disk`."""
    reload_body: str = '{"model_path": "{folder}"}'
    """What it is told, as JSON; `"{folder}"` becomes the path of the model folder that holds them."""
    trainer_processes: int = 1
    """Processes that share the trainer's weights, optimizer and micro-batches (FSDP2)."""

    def __post_init__(self) -> None:
        for name, least in (
            ("rollout_workers", 0), ("worker_threads", 1), ("groups_a_call", 1), ("trainer_processes", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}", f"allowed is {least} or more")
        for name in ("timeout_s", "start_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "allowed is more than 0")
        if self.endpoint:
            self._check_endpoint()

    def _check_endpoint(self) -> None:
        if self.rollout_workers:
            raise ConfigError(
                f"endpoint {self.endpoint!r} and {self.rollout_workers} rollout_workers",
                "give one of them: either samples all answers",
            )
        if not (self.endpoint_model and self.reload_url.startswith(("http://", "https://"))):
            raise ConfigError(
                f"endpoint_model is {self.endpoint_model!r} and reload_url {self.reload_url!r} beside an endpoint",
                "give both: a server that is not told of new weights would answer with the old ones for ever",
            )
        if '"{folder}"' not in self.reload_body:
            raise ConfigError(
                f"reload_body is {self.reload_body!r}", 'it must hold "{folder}", in quotes'
            )
