"""Model folders: what loads, and the sentence each bad folder gets. Nothing here may crash or run what it reads."""

from __future__ import annotations

import json
import os
import pickle
import struct

import numpy as np
import pytest
from toy import read_header, save_toy, toy_config, write_header

from ponder.core.errors import ConfigError, ModelFolderError, StorageError, UserError
from ponder.model.folder import FolderTensors, load_model, random_model
from ponder.model.ops import make_ops, native_available
from ponder.model.ops.scalar import bfloat16_bits
from ponder.model.save import save_folder, write_files
from ponder.model.shapes import named_shape
from ponder.model.weights import tensor_shapes

NORM = "model.norm.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path):
    save_toy(tmp_path / "toy", toy_config())
    return tmp_path / "toy"


@pytest.fixture
def sharded(tmp_path):
    save_toy(tmp_path / "sharded", toy_config(), shard_bytes=30_000)
    return tmp_path / "sharded"


def refused(folder):
    with pytest.raises(ModelFolderError) as caught:
        load_model(folder, ops="reference")
    assert str(folder) in caught.value.problem
    assert caught.value.advice
    assert caught.value.exit_code == 4
    return str(caught.value)


def change_config(folder, **changes):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | changes))


def change_header(folder, change, add=b"", cut=0):
    path = folder / "model.safetensors"
    header, data = read_header(path)
    change(header)
    write_header(path, header, data[: len(data) - cut] + add)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shard_bytes", [1 << 30, 30_000, 1])
def test_round_trip(tmp_path, kind, shard_bytes):
    config = toy_config(tie_word_embeddings=kind == "float32", eos_token_id=[1, 2])
    tensors = save_toy(tmp_path, config)
    narrow = {"float32": lambda x: x, "float16": np.float16, "bfloat16": bfloat16_bits}[kind]
    tensors = {name: narrow(array) for name, array in tensors.items()}
    save_folder(tmp_path, config, tensors, {"tokenizer.json": b"{}"}, shard_bytes)
    read = FolderTensors(tmp_path, config)
    for name, array in tensors.items():
        assert np.array_equal(read.tensor(name), array), name
        assert not read.tensor(name).flags.writeable
    model = load_model(tmp_path, ops="reference")
    assert model.config == config
    assert model.weights_format == ("bf16" if kind == "bfloat16" else "fp32")
    assert (tmp_path / "tokenizer.json").read_bytes() == b"{}"
    files = len(list(tmp_path.glob("*.safetensors")))
    assert files == 1 if shard_bytes == 1 << 30 else files > 3


def test_symlinked_files_load(folder, tmp_path):
    """A hub cache holds links into a folder of blobs beside it."""
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for path in folder.iterdir():
        os.symlink(os.path.relpath(path, linked), linked / path.name)
    assert np.array_equal(
        load_model(linked, ops="reference").score([1, 2, 3]),
        load_model(folder, ops="reference").score([1, 2, 3]),
    )


def test_missing_folder(tmp_path):
    assert "does not exist" in refused(tmp_path / "none")
    assert "does not exist" in refused(tmp_path / ("x" * 5000))
    (tmp_path / "file").write_text("")
    assert "is not a folder" in refused(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "config.json: cannot be read (No such file or directory)" in refused(tmp_path / "empty")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "has neither model.safetensors nor model.safetensors.index.json" in refused(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights_are_not_opened(folder, tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    message = refused(folder)
    assert f"holds only pickled weights ({name})" in message
    assert "allowed are safetensors" in message
    assert not (tmp_path / "exploded").exists()


def test_pickle_named_as_safetensors(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps({"model.norm.weight": [1.0] * 100}))
    assert "its header claims" in refused(folder)


def test_missing_surplus_and_misshapen_are_all_named(folder):
    change_config(folder, intermediate_size=81, num_hidden_layers=4)

    def change(header):
        header["extra.weight"] = header.pop("model.layers.0.self_attn.q_proj.bias")

    change_header(folder, change)
    message = refused(folder)
    assert "missing 'model.layers.0.self_attn.q_proj.bias' of shape [48]" in message
    assert "surplus 'extra.weight' of shape [48]" in message
    assert f"'{DOWN}' has shape [48, 80], expected [48, 81]" in message
    assert message.count("missing 'model.layers.3.") == 12
    assert message.count("expected [81, 48]") == 6


def test_untied_folder_without_head(folder):
    change_header(
        folder, lambda header: header.update({"lm_heads.weight": header.pop("lm_head.weight")})
    )
    assert "missing 'lm_head.weight' of shape [131, 48]" in refused(folder)


def test_tied_folder_may_repeat_its_embedding(tmp_path):
    config = toy_config(tie_word_embeddings=False)
    tensors = save_toy(tmp_path, config)
    change_config(tmp_path, tie_word_embeddings=True)
    assert "'lm_head.weight' differs from 'model.embed_tokens.weight'" in refused(tmp_path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    save_folder(tmp_path, config, tensors)
    change_config(tmp_path, tie_word_embeddings=True)
    assert load_model(tmp_path, ops="reference").config.tied_head


def test_absurd_sizes_allocate_nothing(folder):
    change_config(folder, vocab_size=1 << 22, hidden_size=1 << 17, intermediate_size=1 << 20)
    assert "expected [4194304, 131072]" in refused(folder)


def test_weights_stored_in_other_types(folder):
    def change(header):
        header[NORM]["dtype"] = "I32"

    change_header(folder, change)
    assert f"'{NORM}' is stored as I32, allowed are F32, F16, BF16" in refused(folder)


def entry(name, **changes):
    return lambda header: header[name].update(changes)


def shifted(by, until=0):
    def change(header):
        begin, end = header[DOWN]["data_offsets"]
        header[DOWN]["data_offsets"] = [begin + by, end + by + until]

    return change


HEADERS = [
    (entry(NORM, dtype="F99"), "has the unknown dtype 'F99'"),
    (entry(NORM, dtype=["F32"]), "has the unknown dtype"),
    (entry(NORM, dtype="F64"), "in F64 needs 384 bytes, but its offsets hold 192"),
    (entry(NORM, shape=[49]), "needs 196 bytes, but its offsets hold 192"),
    (entry(NORM, shape=[-48]), "malformed shape or offsets"),
    (entry(NORM, shape=[48.0]), "malformed shape or offsets"),
    (entry(NORM, shape=[True, 48]), "malformed shape or offsets"),
    (entry(NORM, shape=[1 << 40, 1 << 40, 1 << 40]), "but its offsets hold 192"),
    (entry(NORM, data_offsets=[0]), "malformed shape or offsets"),
    (entry(NORM, data_offsets=[192, 0]), "but its offsets hold -192"),
    (entry(NORM, more=1), "does not hold exactly dtype, shape and data_offsets"),
    (lambda h: h.update({NORM: 3}), "does not hold exactly"),
    (lambda h: h.update({"__metadata__": {"a": 1}}), "'__metadata__' is not an object of strings"),
    (lambda h: h.pop(NORM), "leaves a gap before it"),
    (shifted(-4), "it overlaps the one before it"),
    (shifted(4), "it leaves a gap before it"),
    (shifted(1 << 40), "it is truncated or its offsets were tampered with"),
    (lambda h: h.update({NORM: dict(h[DOWN])}), "it overlaps the one before it"),
]


@pytest.mark.parametrize(("change", "sentence"), HEADERS)
def test_tampered_headers(folder, change, sentence):
    change_header(folder, change)
    assert sentence in refused(folder)


def test_data_of_another_length(folder):
    change_header(folder, lambda header: None, cut=4)
    assert "it is truncated or its offsets were tampered with" in refused(folder)
    change_header(folder, lambda header: None, add=b"12345678")
    assert "but the file holds" in refused(folder)


@pytest.mark.parametrize("keep", [0, 4, 9, 100, 3000, 60_000])
def test_truncated_file(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    message = refused(folder)
    assert "too short" in message or "header claims" in message or "truncated" in message


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"not json", "its header is not valid JSON"),
        (b"[1, 2]", "it is not an object"),
        (b"\xff\xfe{}", "its header is not valid JSON"),
        (
            b'{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}, "a": 1}',
            "the name 'a' stands there twice",
        ),
        (b"{}", "but the file holds"),
        (b"[" * 200_000, "its header is not valid JSON"),
    ],
)
def test_header_that_is_no_object(folder, raw, sentence):
    write_header(folder / "model.safetensors", raw, b"\0" * 64)
    assert sentence in refused(folder)


@pytest.mark.parametrize("length", [1 << 63, 100_000_001, 1 << 40])
def test_header_of_absurd_length(folder, length):
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    assert f"its header claims {length} bytes" in refused(folder)


def test_flipped_bytes_never_crash(folder):
    """Any damage to the header either is refused or leaves a header that is sound."""
    path = folder / "model.safetensors"
    sound = path.read_bytes()
    (length,) = struct.unpack("<Q", sound[:8])
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(150):
        damaged = bytearray(sound)
        for place in rng.integers(0, 8 + length, rng.integers(1, 4)):
            damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        try:
            FolderTensors(folder, toy_config())
        except ModelFolderError:
            refusals += 1
    assert refusals > 100


def test_a_pipe_is_not_waited_for(folder):
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    assert "is not a file" in refused(folder)


def test_missing_and_truncated_shards(sharded):
    shards = sorted(path.name for path in sharded.glob("*.safetensors"))
    data = (sharded / shards[1]).read_bytes()
    (sharded / shards[1]).write_bytes(data[:-100])
    assert f"{shards[1]}: tensor" in refused(sharded)
    (sharded / shards[1]).unlink()
    assert f"missing shards {shards[1]}" in refused(sharded)


@pytest.mark.parametrize(
    "name", ["../toy/model.safetensors", "/etc/passwd", "a\\b.safetensors", "model.bin", 7, ".."]
)
def test_shard_names_that_leave_the_folder(sharded, name):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"][NORM] = name
    path.write_text(json.dumps(index))
    assert f"names the shard {name!r}" in refused(sharded)


def test_index_that_disagrees_with_its_shards(sharded):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    where = index["weight_map"]
    first, last = where["model.embed_tokens.weight"], where["lm_head.weight"]
    where[NORM] = first
    where["ghost"] = first
    del where[DOWN]
    path.write_text(json.dumps(index))
    message = refused(sharded)
    assert f"'{NORM}' should be in {first} but is in " in message
    assert f"'ghost' should be in {first} but is nowhere" in message
    assert f"'{DOWN}' of " in message
    assert first != last
    path.write_text("{}")
    assert "has no 'weight_map' object" in refused(sharded)


def test_save_refuses_tensors_that_do_not_fit(tmp_path):
    config = toy_config()
    tensors = {name: np.zeros(shape, np.float32) for name, shape in tensor_shapes(config).items()}
    tensors[NORM] = np.zeros(3, np.float32)
    tensors["more"] = tensors.pop(DOWN)
    with pytest.raises(ConfigError) as caught:
        save_folder(tmp_path / "out", config, tensors)
    for part in (f"missing '{DOWN}'", f"'{NORM}' has shape [3], expected [48]", "surplus 'more'"):
        assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_save_leaves_nothing_half_written(tmp_path):
    config = toy_config()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save_toy(tmp_path / "file" / "out", config)
    with pytest.raises(StorageError):
        save_toy(tmp_path / "long", config, extra_files={"x" * 300: b""})
    assert not (tmp_path / "long").exists()
    save_toy(tmp_path / "kept", config, seed=1)
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    with pytest.raises(StorageError):
        save_toy(tmp_path / "kept", config, seed=2, extra_files={"x" * 300: b""})
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}


def test_full_disk(tmp_path):
    """`/dev/full` takes no byte: the disk that is full."""

    def fail(file):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(StorageError, match="No space left on device"):
        write_files(tmp_path / "new", {"a": lambda file: file.write(b"a"), "b": fail})
    assert not (tmp_path / "new").exists()


def test_choices_out_of_range(folder):
    with pytest.raises(ConfigError, match="allowed are auto, fp32, bf16, int8, int4"):
        load_model(folder, weights="int2")
    with pytest.raises(ConfigError, match="allowed are auto, reference, native"):
        load_model(folder, ops="cuda")
    for threads in (0, -1, 10**6):
        with pytest.raises(ConfigError, match="allowed is a whole number from 1 to 1024"):
            load_model(folder, threads=threads)
    with pytest.raises(ConfigError, match="this machine has"):
        random_model(named_shape("qwen2.5-72b"), "fp32", "reference")


def test_native_that_does_not_load_says_so():
    available, reason = native_available()
    if available:
        assert make_ops("native", 1).name == "native"
        return
    with pytest.raises(UserError) as caught:
        make_ops("native")
    assert reason in str(caught.value)
    assert make_ops("auto").name == "reference"
