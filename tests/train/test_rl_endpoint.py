"""train/endpoint: reinforcement learning whose answers a server samples, over HTTP, by an engine of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_rl_runs import RECIPES, quiet

import ponder
from ponder.core.errors import ConfigError, NetworkError
from ponder.core.types import SamplingParams, TokenRequest
from ponder.runs import RunFolder
from ponder.train.entry import main


class Served:
    """A model behind `/v1/completions` with ids both ways, and `/reload`, which opens another folder."""

    def __init__(self, folder: Path) -> None:
        self.model = ponder.load(folder, weights="fp32", threads=1)
        self.asked: list[dict] = []
        self.folders: list[str] = []
        self.is_full = False

    def reload(self, asked: dict) -> bytes:
        self.folders.append(asked["path"])
        self.model.close()
        self.model = ponder.load(asked["path"], weights="fp32", threads=1)
        return json.dumps({"success": not self.is_full}).encode()

    def answer(self, asked: dict) -> Iterator[bytes]:
        self.asked.append(asked)
        sampling = SamplingParams(
            temperature=asked["temperature"], seed=asked["seed"], max_tokens=asked["max_tokens"], logprobs=0,
            logit_bias={int(key): value for key, value in asked.get("logit_bias", {}).items()},
        )  # fmt: skip
        for event in self.model.worker.submit(TokenRequest(tuple(asked["prompt"]), sampling)):
            choice = {
                "index": 0,
                "token_ids": event.token_ids,
                "finish_reason": event.finish_reason,
            }
            choice["logprobs"] = {"token_logprobs": [each.logprob for each in event.logprobs]}
            yield b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Served]]:
    served = Served(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pieces = [served.reload(asked)] if self.path == "/reload" else served.answer(asked)
            self.send_response(200)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)

        def handle(self):
            with suppress(OSError):  # the client may leave
                super().handle()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        served.model.close()


def options(warm: Path, url: str, *more: str) -> list[str]:
    return [
        f"stage.start_from={warm}", "stage.sampling.prompts=2", "stage.sampling.samples=4",
        "stage.schedule.steps=2", "stage.checkpoint_steps=1", "stage.preflight=skip", 'stage.weights="bf16"',
        "stage.algorithm.name=grpo", "stage.algorithm.importance_cap=2.0",
        f'stage.cluster.endpoint="{url}/v1"', 'stage.cluster.endpoint_model="micro"',
        f'stage.cluster.reload_url="{url}/reload"', """stage.cluster.reload_body='{"path": "{folder}"}'""",
        *more,
    ]  # fmt: skip


def test_a_server_samples_and_is_told_of_every_step_s_weights(warm, tmp_path):
    with serving(warm) as (url, served):
        made = main([RECIPES / "rl.toml"], options(warm, url), run_dir=tmp_path / "run", say=quiet)
        assert made is not None and (made / "model.safetensors").is_file()
        folder = RunFolder.open(tmp_path / "run")
        records = [each for each in folder.records() if "ratio_max" in each]
        assert len(records) == 2
        for record in records:  # the server's norms and embedding are bf16, the trainer's fp32
            assert (
                0 < record["gap"] < 0.25 and 0.8 < record["ratio_min"] < record["ratio_max"] < 1.25
            )
            assert record["reward"] is not None and record["lost"] == 0
        path = tmp_path / "run" / "served"
        assert served.folders == [str(path / "1"), str(path / "0")]
        seeds = {asked["seed"] for asked in served.asked}
        assert len(seeds) == len(served.asked) == 2 * 2 * 4
        biased = {asked["model"]: set(asked["logit_bias"].values()) for asked in served.asked}
        assert biased == {"micro": {-100.0}}

        served.is_full = True
        with pytest.raises(NetworkError, match="refused the weights"):
            main([], ["stage.schedule.steps=4"], run_dir=tmp_path / "run", resume=True, say=quiet)
    with pytest.raises(NetworkError, match="did not take the weights"):
        main([], ["stage.schedule.steps=4"], run_dir=tmp_path / "run", resume=True, say=quiet)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ('stage.cluster.reload_url=""', "answer with the old ones for ever"),
        ("stage.cluster.rollout_workers=2", "give one of them"),
        ('stage.cluster.reload_body="{}"', "it must hold"),
    ],
)
def test_what_cannot_be_is_refused(warm, tmp_path, more, told):
    given = options(warm, "http://127.0.0.1:9", more)
    with pytest.raises(ConfigError, match=told):
        main([RECIPES / "rl.toml"], given, run_dir=tmp_path / "run", say=quiet)
