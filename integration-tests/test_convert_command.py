"""`zig-ai convert`: a folder of Hugging Face as a GGUF file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from zig_ai import zig_ai

import zigai
from zigai_core.api.encoding import Encoder
from zigai_core.contracts.descriptor import TensorInfo
from zigai_gguf.convert import convert

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 400,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "eos_token_id": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A llama with random weights in BF16 and a small vocabulary."""
    return write_folder(tmp_path / "toy", 64)


def write_folder(path: Path, width: int) -> Path:
    """Writes a llama with rows of `width` elements, and half as many more in `down_proj`."""
    chance = np.random.default_rng(2)
    hidden = width * 3 // 2
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (400, width),
        "model.norm.weight": (width,),
    }
    for layer in range(2):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{at}self_attn.{name}_proj.weight": (width, width) for name in "qo"}
        shapes |= {f"{at}self_attn.{name}_proj.weight": (width // 2, width) for name in "kv"}
        shapes |= {f"{at}mlp.{name}_proj.weight": (hidden, width) for name in ("gate", "up")}
        shapes |= {f"{at}mlp.down_proj.weight": (width, hidden)}
    header, data = {}, b""
    for name, shape in shapes.items():
        bits = (
            chance.normal(1 if len(shape) == 1 else 0, 0.2, shape).astype("<f4").view("<u4") >> 16
        ).astype("<u2")
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [len(data), len(data) + bits.nbytes]}
        data += bits.tobytes()
    text = json.dumps(header).encode()
    path.mkdir()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    config = CONFIG | {"hidden_size": width, "intermediate_size": hidden}
    (path / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=390, special_tokens=["<end>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["once upon a time there was a toy that said hello"] * 9, trainer)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def test_a_folder_and_its_gguf_file_agree_in_every_value(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy.gguf"
    zig_ai("convert", folder, out)
    done = zig_ai("compare", folder, out, "--backend", "numpy", "--tolerance", "1e-5", "--json")
    answer = json.loads(done.stdout)
    assert answer["first_beyond"] is None
    assert {"blk.0.attn_q", "blk.1.attn_k_rope"} <= {*answer["reordered"]}


def test_a_folder_and_its_gguf_file_are_one_model(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy.gguf"
    zig_ai("convert", folder, out)
    text = "once upon a time, 12 toys\n said: don't!"
    stored, written = (zigai.load(path, backend="numpy") for path in (folder, out))
    ids = stored.tokenizer.encode(text)
    assert written.tokenizer.encode(text) == ids
    assert np.abs(stored.logits(ids) - written.logits(ids)).max() < 1e-5
    assert (
        stored.generate(text, temperature=0, max_tokens=8).tokens
        == written.generate(text, temperature=0, max_tokens=8).tokens
    )
    facts = json.loads(zig_ai("inspect", out, "--json").stdout)
    assert (facts["tokenizer"]["pre_tokenizer"], facts["tokenizer"]["size"]) == ("gpt-2", 400)


@pytest.mark.parametrize("dtype", ["Q8_0", "Q4_0", "Q4_K"])
def test_quantising_on_load_gives_the_tensors_that_convert_writes(tmp_path: Path, dtype: str) -> None:
    folder, out = write_folder(tmp_path / "toy", 256), tmp_path / "toy.gguf"
    zig_ai("convert", folder, out, "--type", dtype)
    written = zigai.load(out)
    loaded = zigai.load(folder, quantize=dtype)
    kinds = set()
    for name, tensor in loaded.descriptor.tensors.items():
        other = written.descriptor.tensors[name]
        assert tensor.dtype.name == other.dtype.name or len(tensor.shape) == 1
        if len(tensor.shape) == 2:
            kinds.add(tensor.dtype.name)
            if "attn_q" not in name and "attn_k" not in name:  # GGUF has their rows in another order
                assert np.array_equal(tensor.data, other.data)
    assert kinds == {"Q8_0", dtype}
    ids = written.tokenizer.encode("once upon a time")
    assert np.abs(loaded.logits(ids) - written.logits(ids)).max() < 1e-4


def test_a_model_quantised_on_load_starts_from_its_packed_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, encoded = tmp_path / "packed", list[int]()
    encode = Encoder.__call__

    def counted(self: Encoder, tensor: TensorInfo, data: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
        encoded.append(rows)
        return encode(self, tensor, data, rows)

    def loaded(dtype: str) -> tuple[NDArray[np.float32], int]:
        encoded.clear()
        model = zigai.load(folder, quantize=dtype, packed_cache=cache, backend="native")
        return model.logits([1, 2, 3]), sum(encoded)

    monkeypatch.setattr(Encoder, "__call__", counted)
    first, rows = loaded("Q4_0")
    (file,) = cache.iterdir()
    state = (file.stat().st_ino, file.stat().st_mtime_ns)
    again, fewer = loaded("Q4_0")
    assert np.array_equal(first, again)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == state
    assert 0 < fewer < rows  # the first and the last panel of each matrix, which are compared, and embeddings
    loaded("Q8_0")
    assert len(list(cache.iterdir())) == 2


def test_python_converts_what_the_command_converts(folder: Path, tmp_path: Path) -> None:
    done = zig_ai("convert", folder, tmp_path / "a.gguf", "--type", "q8_0")
    assert done.stdout == f"{tmp_path / 'a.gguf'}: 0.1 MB; tensors: 15 Q8_0, 5 F32\n"
    convert(zigai.read(folder), str(tmp_path / "b.gguf"), dtype="q8_0")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_what_a_file_is_not_is_told(folder: Path, tmp_path: Path) -> None:
    told = zig_ai("convert", folder, tmp_path / "a.gguf", "--type", "Q4_K").stderr
    assert (
        "14 as Q8_0 instead of Q4_K: rows of 64, 96 elements are no whole blocks of 256; Q4_0 takes" in told
    )
    again = zig_ai("convert", tmp_path / "a.gguf", tmp_path / "b.gguf", "--type", "Q4_0").stderr
    assert "14 tensors that are stored as Q8_0 are encoded again, which loses accuracy" in again
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer, so the file has none" in zig_ai("convert", folder, tmp_path / "c.gguf").stderr


def test_a_tokenizer_with_byte_fallback_becomes_one_with_scores(folder: Path, tmp_path: Path) -> None:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    text = "once upon a time there was a toy that said hello"
    trained.train_from_iterator([text] * 9, trainers.BpeTrainer(vocab_size=130, special_tokens=["<end>"]))
    file = json.loads(trained.to_str())
    vocab = file["model"]["vocab"]
    file["model"]["vocab"] |= {f"<0x{byte:02X}>": len(vocab) + byte for byte in range(256)}
    file["model"]["byte_fallback"] = True
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    prepend = {"type": "Prepend", "prepend": "\u2581"}
    file |= {"normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}, "pre_tokenizer": None}
    file["decoder"] = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    (folder / "tokenizer.json").write_text(json.dumps(file))
    out = tmp_path / "toy.gguf"
    assert "GGUF orders merges by scores" in zig_ai("convert", folder, out).stderr
    stored, written = (zigai.load(path, backend="numpy") for path in (folder, out))
    for text in ("once upon a time, 12 toys\n said: don't!", "  \u4f60\U0001f642 ", "<end>"):
        ids = stored.tokenizer.encode(text)
        assert written.tokenizer.encode(text) == ids
        assert stored.tokenizer.decode(ids) == written.tokenizer.decode(ids) == text
    facts = json.loads(zig_ai("inspect", out, "--json").stdout)
    assert (facts["tokenizer"]["kind"], facts["tokenizer"]["size"]) == ("llama", 400)


def test_types_and_errors(folder: Path, tmp_path: Path) -> None:
    for kind, name in (("q8_0", "Q8_0"), ("F16", "F16")):
        out = tmp_path / f"{kind}.gguf"
        zig_ai("convert", folder, out, "--type", kind)
        types = {row["type"] for row in json.loads(zig_ai("inspect", out, "--json").stdout)["types"]}
        assert types == {name, "F32"}
    zig_ai("convert", folder, tmp_path / "small.gguf", "--type", "q4_0")
    facts = json.loads(zig_ai("inspect", tmp_path / "small.gguf", "--json").stdout)
    assert {row["type"] for row in facts["types"]} == {"Q4_0", "Q8_0", "F32"}
    stored, written = (zigai.load(path) for path in (folder, tmp_path / "small.gguf"))
    ids = stored.tokenizer.encode("once upon a time")
    logits = [model.logits(ids).reshape(-1) for model in (stored, written)]
    assert np.corrcoef(*logits)[0, 1] > 0.8
    assert "exists already" in zig_ai("convert", folder, out, code=1).stderr
    assert (
        "conversion to 'Q6_K' is not supported"
        in zig_ai("convert", folder, tmp_path / "x.gguf", "--type", "q6_k", code=1).stderr
    )
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "strange_scale": 2.5}))
    assert (
        "the setting 'strange_scale' is not understood"
        in zig_ai("convert", folder, tmp_path / "x.gguf", code=1).stderr
    )
    assert "config.strange_scale" in zig_ai("generate", "-m", folder, "once", code=1).stderr
    assert not (tmp_path / "x.gguf").exists()
