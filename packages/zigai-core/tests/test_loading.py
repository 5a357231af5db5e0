"""Loading a model with plugins passed as objects, and the error of each step that can fail."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from zigai_core.api.installed import report
from zigai_core.api.loading import DEFAULT_CONTEXT, build, load, read
from zigai_core.api.registry import Plugins
from zigai_core.contracts.descriptor import Hyperparameters, ModelDescriptor, TensorInfo
from zigai_core.contracts.errors import (
    ContextOverflowError,
    FormatError,
    PluginError,
    QueueFullError,
    UnsupportedError,
)
from zigai_core.contracts.graph import Graph
from zigai_core.contracts.options import SamplingOptions
from zigai_core.contracts.plugins import BundledModel
from zigai_core.ops.blocks import decoder
from zigai_core.ops.builder import GraphBuilder
from zigai_core.ops.reference import NumpyBackend
from zigai_core.testing.byte_tokenizer import ByteTokenizer
from zigai_core.testing.toys import toy_decoder
from zigai_core.text.chat_template import ChatTemplate

MODEL = toy_decoder(layers=1)


@pytest.fixture(autouse=True)
def _forget_reported_warnings() -> None:
    report.cache_clear()


def toy_format(magic: bytes = b"TOY", model: ModelDescriptor = MODEL) -> type:
    class ToyFormat:
        def recognises(self, path: Path) -> bool:
            return path.is_file() and path.read_bytes().startswith(magic)

        def read(self, path: Path) -> ModelDescriptor:
            return model

    return ToyFormat


class PickyBackend(NumpyBackend):
    """A faster backend that lacks a kernel."""

    name = "picky"
    speed = 50

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> list[str]:
        return ["Linear with F32"]


class FastBackend(NumpyBackend):
    name = "fast"
    speed = 90


def plugins(model: ModelDescriptor = MODEL, **groups: object) -> Plugins:
    return Plugins(
        **{
            "formats": {"toy": toy_format(model=model)},
            "architectures": {
                "llama": lambda model, *, context: decoder(model, context=64, pairing="adjacent")
            },
            "tokenizers": {"llama": ByteTokenizer},
            "backends": {"numpy": NumpyBackend},
            "chat_templates": {"plain": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"},
            **groups,
        }
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.toy"
    path.write_bytes(b"TOY file")
    return path


def test_a_file_becomes_a_model_that_generates(file: Path) -> None:
    model = load(file, plugins=plugins())
    assert (model.backend, model.options.context) == ("numpy", 512)
    generation = model.generate("hello", max_tokens=4)
    assert generation.text == "".join(model.tokenizer.decode(generation.tokens))
    assert model.logits([1, 2, 3]).shape == (3, 512)
    assert model.embed("hello").shape == (64,)
    np.testing.assert_allclose(model.embed("hello"), model.embed(model.tokenizer.encode("hello")))


def test_auto_chooses_the_fastest_backend_that_serves_the_whole_model_and_gives_the_reason(
    file: Path,
) -> None:
    backends = {"numpy": NumpyBackend, "picky": PickyBackend}
    model = load(file, plugins=plugins(backends=backends))
    assert model.backend == "numpy"
    assert model.choice == (
        "numpy, the fastest installed backend that serves the whole model; picky has no Linear with F32"
    )
    assert load(file, plugins=plugins(backends={**backends, "fast": FastBackend})).backend == "fast"


def test_without_a_path_the_bundled_model_is_loaded_and_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundled = {"default": lambda: BundledModel(file, "a toy")}
    model = load(plugins=plugins(models=bundled))
    assert model.descriptor.name == MODEL.name
    assert [record.getMessage() for record in caplog.records] == [
        "no model is named, so this is a toy. To name one: zigai.load('model.gguf')"
    ]


def test_a_bundled_toy_says_how_to_run_a_real_model(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(plugins=plugins(models={"default": lambda: BundledModel(file, "a toy", "zig-ai chat -m real")}))
    assert caplog.messages[0].endswith("A real one, in a terminal: zig-ai chat -m real")


def test_without_a_path_and_a_bundled_model_the_error_names_the_package_to_install(file: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"name a file, or install .* pip install --upgrade zigai$"):
        load(plugins=plugins())
    gone = {"default": lambda: BundledModel(file.with_name("gone.gguf"), "a toy")}
    with pytest.raises(PluginError, match=r"gone\.gguf is missing: reinstall"):
        load(plugins=plugins(models=gone))


def test_the_error_without_a_suitable_backend_lists_what_each_lacks(file: Path) -> None:
    with pytest.raises(UnsupportedError, match="no installed backend serves toy-llama: picky has no Linear"):
        load(file, plugins=plugins(backends={"picky": PickyBackend}))


def test_a_backend_that_is_not_installed_is_named(file: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"backend 'native'.*installed: numpy$"):
        load(file, backend="native", plugins=plugins())


def test_an_architecture_that_is_not_installed_is_named(file: Path) -> None:
    model = dataclasses.replace(MODEL, architecture="qwen2")
    with pytest.raises(UnsupportedError, match=r"architecture 'qwen2'.*installed: llama\. To begin"):
        load(file, plugins=plugins(model))


def test_a_tokenizer_that_is_not_installed_is_named(file: Path) -> None:
    model = dataclasses.replace(MODEL, tokenizer=dataclasses.replace(MODEL.tokenizer, kind="wordpiece"))
    with pytest.raises(UnsupportedError, match="tokenizer 'wordpiece'"):
        load(file, plugins=plugins(model))


def test_a_model_without_a_tokenizer_runs_on_token_ids(file: Path) -> None:
    model = load(file, plugins=plugins(dataclasses.replace(MODEL, tokenizer=None)))
    assert model.logits([1, 2]).shape == (2, 512)
    with pytest.raises(UnsupportedError, match="has no tokenizer"):
        model.generate("text")


def test_more_tokens_than_outputs_are_refused(file: Path) -> None:
    model = dataclasses.replace(MODEL, tokenizer=toy_decoder(vocabulary=600).tokenizer)
    with pytest.raises(FormatError, match="600 tokens, but the model's output has only 512"):
        load(file, plugins=plugins(model))


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip"])
def test_the_error_for_an_unknown_format_shows_the_first_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(content)
    with pytest.raises(
        FormatError, match=r"odd\.bin: (the file is empty|not a model file.*\(toy\): its first bytes)"
    ):
        read(path, plugins=plugins())


def test_a_missing_file_and_a_folder_are_format_errors(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"absent: there is no such file or folder"):
        read(tmp_path / "absent", plugins=plugins())
    with pytest.raises(FormatError, match=r"a folder, and no installed format \(toy\) reads"):
        read(tmp_path, plugins=plugins())


def test_the_error_for_a_file_that_two_formats_claim_names_both(file: Path) -> None:
    both = {"toy": toy_format(), "other": toy_format(b"TO")}
    with pytest.raises(PluginError, match="the formats other and toy both claim this file"):
        read(file, plugins=plugins(formats=both))


def test_the_error_without_formats_names_a_package_to_install(file: Path) -> None:
    with pytest.raises(FormatError, match=r"format \(none\).*Install a package with a format, or zigai"):
        read(file, plugins=plugins(formats={}))


def test_an_architecture_must_return_a_graph() -> None:
    with pytest.raises(PluginError, match="returned dict, not a zigai_core Graph"):
        build(MODEL, context=8, plugins=plugins(architectures={"llama": lambda model, *, context: {}}))


def test_a_context_longer_than_the_trained_one_is_refused(file: Path) -> None:
    with pytest.raises(UnsupportedError, match="a context of 513 tokens: toy-llama was trained for 1 to 512"):
        load(file, context=513, plugins=plugins())


def test_the_default_context_is_the_trained_one_up_to_a_limit(file: Path) -> None:
    hp = Hyperparameters({**MODEL.hyperparameters, "context_length": 1 << 17}, prefix="llama")
    model = dataclasses.replace(MODEL, hyperparameters=hp)
    assert load(file, plugins=plugins(model)).options.context == DEFAULT_CONTEXT
    assert load(file, context=100_000, plugins=plugins(model)).options.context == 100_000


def test_a_folder_is_read_by_a_format_that_recognises_it(tmp_path: Path) -> None:
    class FolderFormat:
        def recognises(self, path: Path) -> bool:
            return (path / "config.json").exists()

        def read(self, path: Path) -> ModelDescriptor:
            return MODEL

    (tmp_path / "config.json").touch()
    formats = {"toy": toy_format(), "folder": FolderFormat}
    assert read(tmp_path, plugins=plugins(formats=formats)) is MODEL


def test_a_pipe_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="pipe: is a pipe: name a model's file or folder"):
        read(tmp_path / "pipe", plugins=plugins())


def test_a_path_with_a_null_byte_is_a_format_error() -> None:
    with pytest.raises(FormatError, match="cannot be read: embedded null byte"):
        read("model\0.gguf", plugins=plugins())


class RaisingFormat:
    def recognises(self, path: Path) -> bool:
        raise KeyError("odd")

    def read(self, path: Path) -> ModelDescriptor:
        raise AssertionError("not called")


def test_a_format_that_raises_is_skipped_and_reported(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    formats = {"raising": RaisingFormat, "toy": toy_format(), "unmade": lambda: 1 / 0}
    assert read(file, plugins=plugins(formats=formats)) is MODEL
    assert "passed over: the file format 'raising' failed: KeyError: 'odd'" in caplog.text
    assert "passed over: the file format 'unmade' failed: ZeroDivisionError" in caplog.text
    with pytest.raises(FormatError, match=r"not a model file.*Passed over: the file format 'raising' failed"):
        read(file, plugins=plugins(formats={"raising": RaisingFormat}))


def test_a_format_that_fails_while_it_reads_is_named(file: Path) -> None:
    class Breaking(toy_format()):  # type: ignore[misc]
        def read(self, path: Path) -> ModelDescriptor:
            raise IndexError("too far")

    with pytest.raises(PluginError, match=r"model\.toy: the file format 'breaking' failed: IndexError"):
        read(file, plugins=plugins(formats={"breaking": Breaking}))


class RaisingBackend(NumpyBackend):
    name = "raising"
    speed = 95

    def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> list[str]:
        raise RuntimeError("no CPU")


def test_a_backend_that_raises_is_skipped_and_reported(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    backends = {"raising": RaisingBackend, "unmade": lambda: 1 / 0, "odd": dict, "numpy": NumpyBackend}
    model = load(file, plugins=plugins(backends=backends))
    assert model.backend == "numpy"
    for words in (
        "'raising' failed: RuntimeError",
        "'unmade' failed: ZeroDivisionError",
        "'odd' is of type dict",
    ):
        assert f"passed over: the backend {words}" in caplog.text
    with pytest.raises(PluginError, match="the backend 'unmade' failed: ZeroDivisionError"):
        load(file, backend="unmade", plugins=plugins(backends=backends))


def test_a_faster_backend_that_lacks_a_kernel_is_a_warning(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(file, plugins=plugins(backends={"numpy": NumpyBackend, "picky": PickyBackend}))
    assert caplog.messages == ["toy-llama runs on numpy, which is slower: picky has no Linear with F32"]


def test_options_that_a_backend_does_not_use_are_warnings(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(file, threads=2, kv_dtype="F16", plugins=plugins())
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("the backend numpy does not use threads=2: numpy's BLAS library")
    assert caplog.messages[1] == (
        "the backend numpy does not use kv_dtype=F16: keys and values are stored as F32"
    )
    caplog.clear()
    load(file, kv_dtype="Q8_0", plugins=plugins())
    assert caplog.messages == []


class TunableBackend(NumpyBackend):
    name = "tunable"
    speed = 80

    def __init__(self, *, depth: int = 1) -> None:
        self.depth = depth


def test_settings_of_a_backend_are_passed_to_that_backend_only(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = plugins(backends={"numpy": NumpyBackend, "tunable": TunableBackend})
    assert load(file, backend_options={"depth": 3}, plugins=both).backend == "tunable"
    with pytest.raises(UnsupportedError, match="numpy has no setting 'depth'; its settings: none"):
        load(file, backend="numpy", backend_options={"depth": 3}, plugins=both)
    with pytest.raises(UnsupportedError, match="no installed backend has the setting 'width'"):
        load(file, backend_options={"width": 3}, plugins=both)

    class Lacking(TunableBackend):
        def missing(self, graph: Graph, weights: Mapping[str, TensorInfo]) -> list[str]:
            return ["Linear with F32"]

    lacking = plugins(backends={"numpy": NumpyBackend, "tunable": Lacking})
    assert load(file, backend_options={"depth": 3}, plugins=lacking).backend == "numpy"
    assert "the backend numpy has no setting depth, so it is not used" in caplog.text


def test_an_embedding_with_fewer_rows_than_the_output_is_refused(file: Path) -> None:
    short = toy_decoder(layers=1, vocabulary=500).tensors["token_embd.weight"]
    model = dataclasses.replace(MODEL, tensors={**MODEL.tensors, "token_embd.weight": short})
    with pytest.raises(
        FormatError, match=r"embedding token_embd\.weight has 500 rows, but the model has 512 tokens"
    ):
        load(file, plugins=plugins(model))


@pytest.mark.parametrize("group", ["architectures", "tokenizers"])
def test_a_plugin_that_raises_when_called_is_named(file: Path, group: str) -> None:
    def breaking(*_: object, **__: object) -> None:
        raise IndexError("too far")

    with pytest.raises(PluginError, match=f"the {group[:-1]} 'llama' failed: IndexError: too far"):
        load(file, plugins=plugins(**{group: {"llama": breaking}}))


def test_embedding_with_a_graph_without_hidden_states_is_an_error(file: Path) -> None:
    def encoder(model: ModelDescriptor, *, context: int) -> Graph:
        graph = decoder(model, context=64, pairing="adjacent")
        return dataclasses.replace(graph, outputs={"logits": graph.outputs["logits"]})

    model = load(file, plugins=plugins(architectures={"llama": encoder}))
    with pytest.raises(UnsupportedError, match=r"no output named hidden .* it cannot embed text"):
        model.embed("text")


def test_the_longest_text_of_an_encoder_is_its_context(file: Path) -> None:
    def encoder(model: ModelDescriptor, *, context: int) -> Graph:
        g = GraphBuilder(model.tensors)
        x = g.embedding("token_embd", 64)
        sizes = {"heads": 1, "kv_heads": 1, "head_dim": 64}
        g.output("hidden", g.select(g.attention(x, x, x, state=None, name="attention", **sizes)))
        return g.finish()

    installed = plugins(toy_decoder(layers=1, context=600), architectures={"llama": encoder})
    model = load(file, plugins=installed, unread="warn")
    assert model.embed([1] * 600).shape == (64,)
    with pytest.raises(
        ContextOverflowError, match=r"601 tokens, and the context holds 600; .*larger context$"
    ):
        model.embed([1] * 601)


def test_the_sampling_defaults_of_a_file_hold_unless_others_are_given(file: Path) -> None:
    described = dataclasses.replace(MODEL, sampling={"temperature": 0.25, "top_k": 7, "seed": 3})
    model = load(file, plugins=plugins(described))
    assert model.sampling == SamplingOptions(temperature=0.25, top_k=7, seed=3)
    assert load(file, plugins=plugins()).sampling == SamplingOptions()
    for made, expected in [
        (model.generate("x", max_tokens=1), model.sampling),
        (model.generate("x", max_tokens=1, top_k=5), SamplingOptions(temperature=0.25, top_k=5, seed=3)),
        (model.generate("x", max_tokens=1, sampling=SamplingOptions(top_p=0.5, seed=1)), None),
        (model.chat(template=ChatTemplate("x")).send("x", temperature=0), None),
    ]:
        sampler = made.stream.request.sampler
        assert sampler is not None
        if expected is not None:
            assert sampler.options == expected
    assert sampler.options == SamplingOptions(temperature=0, top_k=7, seed=3)
    assert [one.seed for one in model.replies("x", 2, max_tokens=1)] == [3, 4]
    assert model.sampler().options == model.sampling


def test_explicit_sampling_options_replace_all_defaults_of_a_file(file: Path) -> None:
    described = dataclasses.replace(MODEL, sampling={"temperature": 0.25})
    given = SamplingOptions(top_p=0.5, seed=1)
    sampler = load(file, plugins=plugins(described)).generate("x", sampling=given).stream.request.sampler
    assert sampler is not None
    assert sampler.options == given


@pytest.mark.parametrize("sampling", [{"temperatur": 0.5}, {"temperature": "warm"}])
def test_sampling_defaults_that_cannot_be_used_are_a_fault_of_the_format(
    file: Path, sampling: dict[str, object]
) -> None:
    described = dataclasses.replace(MODEL, sampling=sampling)
    with pytest.raises(PluginError, match=r"gives sampling defaults that cannot be used: .*temperatur"):
        load(file, plugins=plugins(described))


def test_the_sizes_for_servers_reach_the_engine(file: Path) -> None:
    model = load(file, plugins=plugins(), sequences=2, queue=1)
    assert model.engine.budget.sequences == 2
    first = model.generate("x", max_tokens=1)
    with pytest.raises(QueueFullError, match="the queue holds 1"):
        model.generate("x", max_tokens=1)
    assert first.text is not None
