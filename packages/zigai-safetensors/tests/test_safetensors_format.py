"""Folders: weights, config.json, templates, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zigai_core.contracts.errors import FormatError, UnsupportedError
from zigai_safetensors import SafetensorsFormat, limits

Folder = Callable[..., Path]


def test_a_folder_becomes_a_descriptor_under_the_names_of_gguf(folder: Folder) -> None:
    path = folder(tie_word_embeddings=False, dropout=0.1, hidden_act="gelu")
    (path / "chat_template.jinja").write_text("{{ messages }}")
    (path / "generation_config.json").write_text(
        json.dumps({"do_sample": True, "temperature": 0.6, "top_k": 20, "repetition_penalty": 1.1})
    )
    assert SafetensorsFormat().recognises(path)
    model = SafetensorsFormat().read(path)
    assert (model.architecture, model.format, model.name) == ("toy", "safetensors", path.name)
    assert dict(model.hyperparameters.items()) == {
        "vocab_size": 8,
        "block_count": 2,
        "embedding_length": 4,
        "rope.freq_base": 10000.0,
    }
    assert list(model.tensors) == [
        "token_embd.weight",
        "blk.0.ffn_up.weight",
        "blk.1.ffn_up.weight",
        "output.weight",
    ]
    assert model.tensors["blk.1.ffn_up.weight"].name == "blk.1.ffn_up.weight"
    assert model.conventions.rope_pairing == "half"
    assert model.chat_template == "{{ messages }}"
    assert model.sampling == {"temperature": 0.6, "top_k": 20, "repeat_penalty": 1.1}
    assert model.files == (path / "model.safetensors",)
    assert model.tokenizer is None


def test_what_changes_replies_and_is_not_supported_is_named_in_one_warning(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder()

    def warnings(**values: Any) -> list[str]:
        (path / "generation_config.json").write_text(json.dumps(values))
        caplog.clear()
        SafetensorsFormat().read(path)
        return [record.getMessage() for record in caplog.records]

    (line,) = warnings(
        no_repeat_ngram_size=3,
        bad_words_ids=[[5, 6], [7]],
        suppress_tokens=[1, 2, 3, 4, 5],
        forced_bos_token_id=0,
        num_beams=4,
        penalty_alpha=0.6,
        stop_strings="\x1b[2J",
        repetition_penalty=1.2,
        temperature=0.5,
    )
    assert line.startswith(f"{path / 'generation_config.json'}: ")
    for part in (
        "no_repeat_ngram_size=3",
        "bad_words_ids=[[5, 6], [7]]",
        "suppress_tokens=[1, 2, 3, 4, …]",
        "forced_bos_token_id=0",
        "num_beams=4",
        "penalty_alpha=0.6",
        r"stop_strings='\x1b[2J'",
        "repetition_penalty=1.2 without do_sample",
    ):
        assert part in line
    assert "temperature" not in line
    assert not warnings(
        num_beams=1,
        no_repeat_ngram_size=0,
        bad_words_ids=None,
        suppress_tokens=[],
        renormalize_logits=True,
        token_healing=False,
        guidance_scale=1.0,
        max_length=4096,
        transformers_version="4.0",
        do_sample=True,
        repetition_penalty=1.2,
    )
    assert not warnings()


def test_a_file_in_a_folder_may_be_named(folder: Folder) -> None:
    path = folder() / "model.safetensors"
    assert SafetensorsFormat().recognises(path)
    assert SafetensorsFormat().read(path).path == path


def test_tied_weights_are_the_embedding_whatever_is_stored(folder: Folder, make: Any) -> None:
    assert "output.weight" not in SafetensorsFormat().read(folder(tie_word_embeddings=True)).tensors
    assert "output.weight" in SafetensorsFormat().read(folder()).tensors
    without = {name: tensor for name, tensor in make.tensors.items() if name != "lm_head.weight"}
    assert "output.weight" not in SafetensorsFormat().read(folder(without)).tensors
    with pytest.raises(FormatError, match=r"no lm_head\.weight, though tie_word_embeddings is false"):
        SafetensorsFormat().read(folder(without, tie_word_embeddings=False))


def test_what_the_family_does_not_name_is_passed_on(folder: Folder, make: Any) -> None:
    more = {**make.tensors, "model.layers.0.extra.weight": np.ones(4, "<f4")}
    model = SafetensorsFormat().read(folder(more, strange=3, empty=[], off=False, nested={"a": 1}))
    assert "model.layers.0.extra.weight" in model.tensors
    unknown = {key: value for key, value in model.hyperparameters.items() if key.startswith("config.")}
    assert unknown == {"config.strange": 3, "config.nested": "{'a': 1}"}


def test_the_tensors_of_a_layers_experts_are_joined(folder: Folder, make: Any) -> None:
    experts = {
        f"model.layers.1.experts.{number}.up.weight": np.full((3, 4), number, "<f4") for number in (2, 0, 1)
    }
    model = SafetensorsFormat().read(folder({**make.tensors, **experts}))
    joined = model.tensors["blk.1.ffn_up_exps.weight"]
    assert joined.shape == (3, 3, 4)
    assert joined.to_float32()[:, 0, 0].tolist() == [0, 1, 2]
    del experts["model.layers.1.experts.1.up.weight"]
    with pytest.raises(
        FormatError, match=r"of the experts of 'blk\.1\.ffn_up_exps\.weight', number 1 is missing"
    ):
        SafetensorsFormat().read(folder({**make.tensors, **experts}))


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("token_embd.weight", "holds tensor 'token_embd.weight', a name of GGUF"),
        ("blk.0.ffn_up.bias", "holds tensor 'blk.0.ffn_up.bias', a name of GGUF"),
        ("rope_freqs.weight", "holds tensor 'rope_freqs.weight', a name of GGUF"),
    ],
)
def test_a_tensor_under_a_name_of_gguf_is_refused(folder: Folder, make: Any, name: str, error: str) -> None:
    with pytest.raises(FormatError) as caught:
        SafetensorsFormat().read(folder({**make.tensors, name: np.ones((8, 4), "<f4")}))
    assert error in str(caught.value)


def test_an_expert_with_leading_zeros_is_no_expert(folder: Folder, make: Any) -> None:
    experts = {f"model.layers.1.experts.{number}.up.weight": np.ones((3, 4), "<f4") for number in ("0", "00")}
    tensors = SafetensorsFormat().read(folder({**make.tensors, **experts})).tensors
    assert tensors["blk.1.ffn_up_exps.weight"].shape == (1, 3, 4)
    assert "model.layers.1.experts.00.up.weight" in tensors  # which loading refuses


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"model_type": None}, "config.json: has no model_type, which names the model's family: take"),
        ({"model_type": 5}, "model_type is 5, but must be the name"),
        ({"model_type": ""}, "model_type is '', but must be the name"),
        ({"eos_token_id": "x"}, "/config.json: eos_token_id is 'x', but must be a whole number or a list"),
        ({"vocab_size": 9}, "config.json: vocab_size is 9, but 'token_embd.weight' has 8 rows"),
        ({"model_type": "other"}, "no installed package serves the family of Hugging Face 'other'"),
        (
            {"hidden_act": "relu"},
            "hidden_act is 'relu', which toy does not support; it must be 'silu' or 'gelu'",
        ),
        ({"num_hidden_layers": 0}, "the number of layers is 0, but must be a whole number, 1 to"),
        ({"num_hidden_layers": "2"}, "the number of layers is '2'"),
        ({"rope_theta": "x"}, "rope_theta is 'x', but must be a number"),
        ({"rope_scaling": [1]}, "rope_scaling is [1], but must be an object"),
        *(
            ({"rope_scaling": value}, f"rope_scaling is {value!r}, but must be an object")
            for value in (False, 0, "", [])
        ),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "the scaling of RoPE 'dynamic' is not supported",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor is None"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "mystery": 1}},
            "rope_scaling.'mystery' is not supported for yarn",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0, "mystery": 3.0}},
            "rope_scaling.'mystery' is not supported for linear",
        ),
        ({"rope_parameters": {"factor": 2.0}}, "rope_parameters.'factor' is not supported for default"),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "rope_parameters.'partial_rotary_factor' is not supported for default",
        ),
        (
            {"rope_parameters": {"rope_theta": 3.0}, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_parameters and rope_scaling differ",
        ),
        (
            {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 3.0}},
            "config.json: rope_theta is 5.0, but 3.0 in rope_parameters",
        ),
        ({"rope_parameters": {"rope_theta": -3.0}}, "rope_parameters.rope_theta is -3.0, but must be above"),
        (
            {"rope_parameters": {"rope_type": ["linear"]}},
            "rope_parameters: the scaling of RoPE ['linear'] is",
        ),
        ({"rope_theta": 10**400}, "must be above 0 and below 1e30"),
        ({"rope_theta": float("nan")}, "rope_theta is nan, but must be above 0"),
        ({"rope_theta": -1}, "rope_theta is -1, but must be above 0"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "rope_scaling.factor is 0, but must be above 0"),
        ({"rope_scaling": LLAMA3, "num_attention_heads": 0}, "num_attention_heads is 0, but must be above 0"),
        (
            {"rope_scaling": LLAMA3, "num_attention_heads": 1, "head_dim": float("inf")},
            "head_dim is inf, but must be above 0",
        ),
        (
            {"rope_scaling": LLAMA3, "num_attention_heads": 1, "head_dim": 0},
            "head_dim is 0, but must be above 0",
        ),
        (
            {"rope_scaling": LLAMA3, "num_attention_heads": 10**6},
            "0 elements of a head are rotated by RoPE; it must be 2",
        ),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings is 'false', but must be true or false"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "original_max_position_embeddings is None",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(
    folder: Folder, changed: dict[str, Any], error: str
) -> None:
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        SafetensorsFormat().read(folder(**changed))
    assert error in str(caught.value)


def test_llama_3_has_divisors_and_others_have_keys(folder: Folder) -> None:
    kind = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaled = {**kind, "original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    model = SafetensorsFormat().read(folder(rope_parameters=scaled, head_dim=128, num_attention_heads=1))
    divisors = model.tensors["rope_freqs.weight"].to_float32()
    assert (divisors.shape, divisors[0], divisors[-1]) == ((64,), 1.0, 8.0)
    assert np.all(np.diff(divisors) >= 0)
    assert model.hyperparameters["rope.freq_base"] == 500000.0
    yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    values = dict(SafetensorsFormat().read(folder(rope_scaling=yarn)).hyperparameters.items())
    assert values["rope.scaling.type"] == "yarn"
    assert values["rope.scaling.original_context_length"] == 64
    assert "rope.scaling.yarn_truncate" not in values
    values = dict(SafetensorsFormat().read(folder(rope_scaling={**yarn, "truncate": False})).hyperparameters)
    assert values["rope.scaling.yarn_truncate"] is False
    for wrong in (None, 0, "false"):  # transformers takes null for false
        with pytest.raises(FormatError, match=r"rope_scaling\.truncate is .*, but must be true or false"):
            SafetensorsFormat().read(folder(rope_scaling={**yarn, "truncate": wrong}))


def sharded(path: Path, make: Any, places: dict[str, str]) -> None:
    (path / "model.safetensors").unlink()
    for file in set(places.values()):
        own = {name: make.tensors[name] for name, place in places.items() if place == file}
        (path / file).write_bytes(make.shard(*make.entries(own)))
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


PLACES = {
    "model.embed_tokens.weight": "a.safetensors",
    "model.layers.0.up.weight": "a.safetensors",
    "model.layers.1.up.weight": "b.safetensors",
    "lm_head.weight": "c.safetensors",
    "rotary.inv_freq": "c.safetensors",
}


def test_the_files_of_an_index_are_one_model(folder: Folder, make: Any) -> None:
    path = folder()
    whole = SafetensorsFormat().read(path)
    sharded(path, make, PLACES)
    parts = SafetensorsFormat().read(path)
    assert parts.format == "safetensors in 3 files"
    assert [file.name for file in parts.files] == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert set(parts.tensors) == set(whole.tensors)
    for name, tensor in whole.tensors.items():
        assert np.array_equal(tensor.to_float32(), parts.tensors[name].to_float32())


def rewrite(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (
            lambda path, make, index: (path / "b.safetensors").unlink(),
            "1 of 3 files are missing: b.safetensors",
        ),
        (
            lambda path, make, index: rewrite(index, lambda map: map.update({"gone": "a.safetensors"})),
            "names tensor 'gone' in a.safetensors, which lacks it",
        ),
        (
            lambda path, make, index: rewrite(index, lambda map: map.pop("lm_head.weight")),
            "holds tensor 'lm_head.weight', but model.safetensors.index.json does not name it",
        ),
        (
            lambda path, make, index: rewrite(
                index, lambda map: map.update({"model.layers.1.up.weight": "a.safetensors"})
            ),
            "1 of 3",
        ),
        (
            lambda path, make, index: rewrite(index, lambda map: map.update({"x": "../secret.safetensors"})),
            "which is no name of a .safetensors file",
        ),
        (
            lambda path, make, index: rewrite(index, lambda map: map.update({"x": "/etc/passwd"})),
            "which is no name of a .safetensors file",
        ),
        (
            lambda path, make, index: (path / "b.safetensors").write_bytes(
                make.shard(*make.entries({"lm_head.weight": make.tensors["lm_head.weight"]}))
            ),
            "holds tensor 'lm_head.weight', but model.safetensors.index.json says c.safetensors",
        ),
        (lambda path, make, index: index.write_text('{"weight_map": []}'), "weight_map is []"),
        (lambda path, make, index: index.write_text("{"), "is not JSON"),
    ],
)
def test_an_index_that_does_not_agree_with_the_files_is_named(
    folder: Folder, make: Any, damage: Callable[[Path, Any, Path], object], error: str
) -> None:
    path = folder()
    sharded(path, make, PLACES)
    damage(path, make, path / "model.safetensors.index.json")
    if error == "1 of 3":  # no file needs b.safetensors any more, and a lacks the tensor
        error = "names tensor 'model.layers.1.up.weight' in a.safetensors, which lacks it"
    with pytest.raises(FormatError) as caught:
        SafetensorsFormat().read(path)
    assert error in str(caught.value)


def test_pickled_weights_are_refused_and_several_files_need_an_index(folder: Folder, make: Any) -> None:
    path = folder()
    (path / "model.safetensors").rename(path / "one.safetensors")
    assert SafetensorsFormat().read(path).files == (path / "one.safetensors",)
    (path / "two.safetensors").write_bytes(make.shard(*make.entries(make.tensors)))
    with pytest.raises(FormatError, match=r"holds 2 files of weights and no model\.safetensors\.index\.json"):
        SafetensorsFormat().read(path)
    (path / "one.safetensors").unlink()
    (path / "two.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert SafetensorsFormat().recognises(path)
    with pytest.raises(UnsupportedError, match=r"pytorch_model\.bin, a pickle, which runs any code"):
        SafetensorsFormat().read(path)


def test_other_folders_and_files_are_not_recognised(tmp_path: Path, folder: Folder) -> None:
    assert not SafetensorsFormat().recognises(tmp_path)
    assert not SafetensorsFormat().recognises(tmp_path / "absent")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert not SafetensorsFormat().recognises(tmp_path / "model.gguf")
    for name in ("config.json", "readme.safetensors.txt"):
        (tmp_path / name).write_text('{"name": "another program\'s"}')
    assert not SafetensorsFormat().recognises(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "mine.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    assert not SafetensorsFormat().recognises(tmp_path)
    (tmp_path / "mine.safetensors").rename(tmp_path / "model.safetensors")
    assert not SafetensorsFormat().recognises(tmp_path / "model.safetensors")


def refused(path: Path) -> str:
    assert SafetensorsFormat().recognises(path)
    with pytest.raises((FormatError, UnsupportedError)) as caught:
        SafetensorsFormat().read(path)
    return str(caught.value)


def test_a_folder_without_weights_says_what_to_download(folder: Folder) -> None:
    path = folder()
    (path / "model.safetensors").unlink()
    missing = f"{path}: holds config.json and no weights: download model.safetensors, or model.safeten"
    assert refused(path).startswith(missing)
    (path / "config.json").write_text('{"vocab_size": 8, "num_hidden_layers": 2, "model_type": "toy"}')
    (path / "tokenizer.json").write_text("{}")
    assert refused(path).startswith(missing)
    (path / "toy.Q8_0.gguf").touch()
    assert refused(path).endswith(
        "from where config.json is from, or name the GGUF file in it, such as 'toy.Q8_0.gguf'"
    )


def test_weights_without_a_configuration_say_what_to_download(folder: Folder) -> None:
    path = folder()
    (path / "config.json").unlink()
    missing = f"{path}: holds weights and no config.json, which says what they are: download it, and"
    assert refused(path).startswith(missing)
    (path / "tokenizer.json").write_text("{}")
    assert refused(path / "model.safetensors").startswith(missing)
    (path / "model.safetensors").rename(path / "other.safetensors")
    assert refused(path).startswith(missing)
    (path / "adapter_config.json").write_text("{}")
    assert "holds an adapter (adapter_config.json), not a whole model" in refused(path)


def test_one_file_of_an_index_stands_for_all(folder: Folder, make: Any) -> None:
    path = folder()
    sharded(path, make, PLACES)
    whole, found = SafetensorsFormat().read(path), SafetensorsFormat().read(path / "b.safetensors")
    assert (found.path, found.files, found.format) == (path, whole.files, "safetensors in 3 files")
    assert list(found.tensors) == list(whole.tensors)
    # A file that the index does not name is a model of its own.
    (path / "own.safetensors").write_bytes(make.shard(*make.entries(make.tensors)))
    own = SafetensorsFormat().read(path / "own.safetensors")
    assert (own.path, own.files) == (path / "own.safetensors", (path / "own.safetensors",))


def test_one_of_several_files_without_their_index_is_refused(folder: Folder) -> None:
    path = folder()
    part = (path / "model.safetensors").rename(path / "model-00001-of-00002.safetensors")
    for named in (path, part):
        assert f"{part}: is one of 2 files by its name, and model.safetensors.index.json" in refused(named)
    part.rename(path / "model-00001-of-00001.safetensors")
    assert len(SafetensorsFormat().read(path).files) == 1


def test_a_model_in_the_cache_of_the_hub_has_the_name_of_its_repository(folder: Folder) -> None:
    path = folder()
    cached = path / "models--owner--Small-1B" / "snapshots" / "0123abc"
    cached.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (path / name).rename(path / f"blob-{name}")
        (cached / name).symlink_to(path / f"blob-{name}")
    assert SafetensorsFormat().read(cached).name == "Small-1B"


@pytest.mark.parametrize("part", ["[],", '{"a":1},', "1,"])
def test_a_text_of_very_many_values_is_refused_before_they_are_made(
    folder: Folder, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JSON_MEMORY", 1 << 16)
    path = folder()
    (path / "generation_config.json").write_text('{"x": [' + part * 100_000 + "1]}")
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"generation_config\.json: has too many values for its \d+ char"):
        SafetensorsFormat().read(path)
    assert tracemalloc.get_traced_memory()[1] < 4 * 900_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "key", ["hidden_size", "rope_scaling", "tie_word_embeddings", "unknown", "eos_token_id"]
)
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a": ', "}")])
@pytest.mark.parametrize("depth", [65, 400, 900])
def test_a_configuration_of_values_nested_deeply_is_refused(
    folder: Folder, key: str, start: str, end: str, depth: int
) -> None:
    """Printing and comparing them would fail, wherever they stand."""
    path = folder()
    config = json.loads((path / "config.json").read_text())
    text = json.dumps({**config, key: "HERE"}).replace('"HERE"', start * depth + "1" + end * depth)
    (path / "config.json").write_text(text)
    with pytest.raises(FormatError, match=r"config\.json: values are nested too deeply"):
        SafetensorsFormat().read(path)
