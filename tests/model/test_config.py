"""Configs: counted parameters, RoPE numbers computed by hand, and every refusal with its sentence."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ponder.core.errors import ConfigError, ModelFolderError
from ponder.model.config import RopeConfig, parse_model_config, read_model_config
from ponder.model.rope import RopeTable, inverse_frequencies, yarn_bounds
from ponder.model.shapes import SHAPES, named_shape
from ponder.model.weights import tensor_shapes

COUNTS = {
    "nano": 3_544_768,
    "qwq-32b": 32_763_876_352,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
}

QWQ = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 27648,
    "max_position_embeddings": 40960,
    "max_window_layers": 64,
    "model_type": "qwen2",
    "num_attention_heads": 40,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.1",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    config = named_shape(name)
    assert config.parameter_count() == COUNTS[name]
    assert sum(math.prod(shape) for shape in tensor_shapes(config).values()) == COUNTS[name]


def test_qwq_config_is_the_named_shape():
    config = parse_model_config(QWQ)
    assert config == SHAPES["qwq-32b"]
    assert config.end_ids == (151645,)


def test_yarn_numbers_of_qwq():
    config = parse_model_config(QWQ | {"rope_scaling": YARN})
    assert config.max_positions == 131072
    rope = config.rope
    assert yarn_bounds(rope, 128) == (23, 40)
    assert rope.attention_factor == pytest.approx(1.138629436, abs=1e-9)
    frequencies = inverse_frequencies(rope, 128)
    expected = {
        23: 6.978305849e-3,
        24: 5.375321491e-3,
        31: 8.029597275e-4,
        40: 4.445698525e-5,
        63: 3.102344402e-7,
    }
    for index, value in expected.items():
        assert frequencies[index] == pytest.approx(value, rel=1e-9)


def test_yarn_numbers_of_deepseek_v3():
    rope = RopeConfig("yarn", 1e4, 40.0, 4096)
    assert yarn_bounds(rope, 64) == (10, 23)
    frequencies = inverse_frequencies(rope, 64)
    for index, value in {11: 3.900692657e-2, 16: 5.5e-3, 23: 3.333803580e-5}.items():
        assert frequencies[index] == pytest.approx(value, rel=1e-9)
    given = {"factor": 40.0, "original_max_position_embeddings": 4096, "type": "yarn"}
    both = parse_model_config(
        QWQ | {"rope_scaling": given | {"mscale": 1.0, "mscale_all_dim": 1.0}}
    ).rope
    assert both.attention_factor == 1.0
    one = parse_model_config(QWQ | {"rope_scaling": given}).rope
    assert one.attention_factor == pytest.approx(1.368887945, abs=1e-9)


def test_original_length_is_not_the_maximum():
    rope = RopeConfig("yarn", 1e6, 4.0, 40960)
    assert yarn_bounds(rope, 128) == (24, 41)
    assert inverse_frequencies(rope, 128)[24] == pytest.approx(5.623413252e-3, rel=1e-9)


def test_rope_parameters_of_transformers_5():
    without = {key: value for key, value in QWQ.items() if key != "rope_theta"}
    new = {"rope_type": "yarn", "rope_theta": 1e6, **YARN}
    del new["type"]
    old = parse_model_config(QWQ | {"rope_scaling": YARN})
    assert parse_model_config(without | {"rope_parameters": new}) == old
    no_theta = QWQ | {"rope_parameters": new | {"rope_theta": None}}
    assert parse_model_config(no_theta) == old
    plain = without | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    assert parse_model_config(plain) == parse_model_config(QWQ)


def test_table_rows_do_not_depend_on_growth():
    config = named_shape("nano")
    grown, whole = RopeTable(config), RopeTable(config)
    for position in (0, 5, 1023, 1024, 3000):
        grown.upto(position + 1)
    cos, sin = whole.upto(4096)
    positions = np.arange(3001, dtype=np.int32)
    rows = grown.rows(positions)
    assert np.array_equal(rows[0], cos[:3001])
    assert np.array_equal(rows[1], sin[:3001])
    angle = 2999 * inverse_frequencies(config.rope, 64)[3]
    assert rows[0][2999, 3] == np.float32(math.cos(angle))


REFUSED = [
    ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
    ({"architectures": ["Qwen2ForCausalLM", "Other"]}, "Other"),
    ({"architectures": None, "model_type": "gpt2"}, "allowed are Qwen2ForCausalLM"),
    ({"model_type": "llama"}, "'model_type' is 'llama'"),
    ({"use_sliding_window": True}, "'use_sliding_window' is true"),
    ({"hidden_act": "gelu"}, "allowed is 'silu'"),
    ({"mlp_bias": True}, "'mlp_bias' is true"),
    ({"attention_bias": False}, "Qwen2 has a bias"),
    ({"quantization_config": {"quant_method": "awq"}}, "names 'awq'"),
    ({"quantization_config": "x"}, "allowed are float32, bfloat16 and float16 safetensors"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "the rope type is 'dynamic'"),
    ({"rope_scaling": {"type": ["yarn"]}}, "the rope type is"),
    (
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        "'original_max_position_embeddings' is missing",
    ),
    ({"rope_scaling": YARN | {"betafast": 3}}, "unknown key 'betafast'"),
    ({"rope_scaling": YARN | {"factor": float("nan")}}, "'factor' is nan"),
    ({"rope_scaling": LLAMA3 | {"high_freq_factor": 1.0}}, "it must be above low_freq_factor"),
    ({"rope_scaling": "yarn"}, "the rope parameters are 'yarn'"),
    ({"rope_theta": -1.0}, "'rope_theta' is -1.0"),
    ({"rope_theta": float("inf")}, "'rope_theta' is inf"),
    ({"partial_rotary_factor": 0.5}, "'partial_rotary_factor' is 0.5"),
    ({"rms_norm_eps": float("nan")}, "'rms_norm_eps' is nan"),
    ({"rms_norm_eps": None}, "'rms_norm_eps' is missing"),
    ({"hidden_size": 0}, "'hidden_size' is 0"),
    ({"hidden_size": 5120.0}, "'hidden_size' is 5120.0"),
    ({"hidden_size": True}, "'hidden_size' is True"),
    ({"hidden_size": 10**15}, "allowed is a whole number from 1 to 131072"),
    ({"num_hidden_layers": 10**9}, "allowed is a whole number from 1 to 1024"),
    ({"vocab_size": 10**12}, "'vocab_size' is 1000000000000"),
    ({"num_key_value_heads": 7}, "must be a multiple of num_key_value_heads 7"),
    ({"num_key_value_heads": None}, "'num_key_value_heads' is missing"),
    ({"head_dim": 63}, "even head size"),
    ({"original_max_position_embeddings": 4096}, "unknown key 'original_max_position_embeddings'"),
    (
        {"rope_parameters": LLAMA3, "rope_scaling": YARN},
        "'rope_parameters' and 'rope_scaling' differ",
    ),
    ({"eos_token_id": 152064}, "allowed are token ids from 0 to 152063"),
    ({"eos_token_id": [1, "2"]}, "'eos_token_id' holds '2'"),
    ({"layer_types": ["full_attention"] * 63 + ["sliding_attention"]}, "other than full attention"),
    ({"num_experts": 8}, "unknown key 'num_experts'"),
    ({"tie_word_embedding": True}, "did you mean 'tie_word_embeddings'?"),
]


R1_DISTILL_LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": LLAMA3,
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0.dev0",
    "use_cache": True,
    "vocab_size": 128256,
}


def test_llama_8b():
    config = parse_model_config(R1_DISTILL_LLAMA_8B)
    assert config.parameter_count() == 8_030_261_248
    assert config.max_positions == 131072
    assert (config.head_dim, config.attention_bias, config.qk_norm) == (128, False, False)
    frequencies = inverse_frequencies(config.rope, 128) * 2**30
    plain = 500000.0 ** (-np.arange(64) / 64) * 2**30
    rotations = 8192 * plain / 2**30 / (2 * math.pi)
    assert np.array_equal(frequencies[rotations > 4], plain[rotations > 4])
    assert np.allclose(frequencies[rotations < 1], plain[rotations < 1] / 8, rtol=1e-12)
    between = (rotations > 1) & (rotations < 4)
    assert between.any()
    assert (frequencies[between] < plain[between]).all()
    assert (frequencies[between] > plain[between] / 8).all()


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_refused(change, sentence):
    with pytest.raises(ModelFolderError) as caught:
        parse_model_config(QWQ | change, "folder/config.json")
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("folder/config.json")


def test_absent_or_falsy_unknown_keys_are_harmless():
    more = {"num_experts": None, "_name_or_path": "x", "layer_types": ["full_attention"] * 64}
    assert parse_model_config(QWQ | more) == parse_model_config(QWQ)


def test_end_ids_of_generation_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWQ))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [151645, 151643]}')
    assert read_model_config(tmp_path).end_ids == (151645, 151643)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not valid JSON"),
        ("[]", "it is not an object"),
        ('{"rms_norm_eps": NaN}', "NaN is not a number that JSON allows"),
        ('{"hidden_size": 1, "hidden_size": 2}', "the name 'hidden_size' stands there twice"),
        ("[" * 100_000, "not valid JSON"),
        ("\xff", "not valid JSON"),
    ],
)
def test_damaged_json(tmp_path, text, sentence):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelFolderError, match=sentence):
        read_model_config(tmp_path)


def test_unknown_shape_names_the_nearest():
    with pytest.raises(ConfigError, match=r"did you mean 'qwen2\.5-7b'"):
        named_shape("qwen2.5-7")
