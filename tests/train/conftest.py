"""A tokenizer and a recipe of micro size, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ponder.train.entry import main, read_recipe

MICRO = Path(__file__).parents[2] / "recipes" / "micro"

TINY = """
[stage]
type = "pretrain"
shape = "micro"
tokenizer = "{tokenizer}"
batch_tokens = 600
micro_tokens = 200
checkpoint_steps = 4
[stage.documents]
mixture = {{ arithmetic = 0.7, decline = 0.3 }}
prompt_weight = 0.1
[stage.schedule]
warmup_steps = 3
steps = 10
decay_share = 0.3
"""


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    recipe = folder / "tokenizer.toml"
    recipe.write_text(
        f'[stage]\ntype = "tokenizer"\noutput = "{folder}"\nvocab_size = 512\ncount = 600\n'
    )
    main([recipe], say=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def warm(tokenizer_folder, tmp_path_factory) -> Path:
    """micro after seconds of fine-tuning: it knows the form of an answer, and seldom what to answer."""
    run = tmp_path_factory.mktemp("warm") / "run"
    override = f"stage.tokenizer={tokenizer_folder}"
    made = main([MICRO / "pretrain.toml"], [override], run_dir=run, say=lambda line: None)
    assert made is not None
    return made


@pytest.fixture
def recipe_path(tmp_path, tokenizer_folder) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.format(tokenizer=tokenizer_folder))
    return path


@pytest.fixture
def stage(recipe_path):
    return read_recipe([recipe_path]).stage
