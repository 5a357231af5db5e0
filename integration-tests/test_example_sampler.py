"""The example sampler step in the documentation is this tested one, and a model draws with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import zigai
from zigai_core.contracts.options import DEFAULT_STEPS, SamplingOptions
from zigai_core.engine.sampling import Sampler
from zigai_eta import EtaOptions, eta

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "integration-tests" / "example-sampler"
PLUGINS = zigai.Plugins.installed().extended(samplers={"eta": eta})
ALONE = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 4}


def test_the_page_shows_the_sources_unchanged() -> None:
    page = (ROOT / "docs" / "write-a-sampler.md").read_text(encoding="utf-8")
    for name in ("src/zigai_eta/__init__.py", "pyproject.toml", "tests/test_eta.py"):
        source = (FOLDER / name).read_text(encoding="utf-8").strip()
        assert source in page, f"docs/write-a-sampler.md: {name} differs"


def test_it_fits_one_page() -> None:
    assert len((FOLDER / "src" / "zigai_eta" / "__init__.py").read_text("utf-8").splitlines()) <= 60


@pytest.fixture(scope="module")
def model(toy: Path) -> zigai.Model:
    return zigai.load(toy, plugins=PLUGINS, backend="numpy")


def drawn(reply: zigai.Reply) -> list[int]:
    _ = reply.text
    return list(reply.tokens)


def test_a_model_draws_with_it(model: zigai.Model) -> None:
    prompt, options = [1, 300, 301], EtaOptions(**ALONE, eta_cutoff=0.1)
    reply = drawn(model.generate(prompt, sampling=options, max_tokens=12))
    expected: list[int] = []
    while len(expected) < 12:
        logits = model.logits([*prompt, *expected])[-1]
        sampler = Sampler(options, PLUGINS.samplers)
        sampler.start(prompt)
        for token in expected:
            sampler.accept(token)
        token = sampler.sample(logits)
        p = np.exp(logits.astype(np.float64) - logits.max())
        p /= p.sum()
        assert p[token] > min(0.1, np.sqrt(0.1) * np.exp((p * np.log(p)).sum()))
        if token in model.tokenizer.end_ids:
            break
        expected.append(token)
    assert reply == expected
    plain = drawn(model.generate(prompt, sampling=SamplingOptions(**ALONE), max_tokens=12))
    assert reply != plain


def test_its_options_can_be_changed_for_a_reply(model: zigai.Model) -> None:
    options = EtaOptions(**ALONE)
    changed = drawn(model.generate([1, 300], sampling=options, eta_cutoff=0.1, max_tokens=8))
    options = EtaOptions(**ALONE, eta_cutoff=0.1)
    same = drawn(model.generate([1, 300], sampling=options, max_tokens=8))
    assert changed == same
    with pytest.raises(zigai.ZigAIError, match="there is no option 'eta_cutof'; did you mean eta_cutoff"):
        model.generate([1], sampling=options, eta_cutof=0.1)
    with pytest.raises(zigai.ZigAIError, match="there is no option 'eta_cutoff'"):
        model.generate([1], eta_cutoff=0.1)


def test_without_it_the_error_names_the_step(toy: Path) -> None:
    with pytest.raises(zigai.UnsupportedError, match="'eta'"):
        zigai.load(toy, backend="numpy").generate([1], sampling=EtaOptions())


@pytest.mark.parametrize("cutoff", [-0.1, 1, float("nan"), "0.1", None])
def test_an_invalid_cutoff_is_refused(cutoff: object) -> None:
    with pytest.raises(zigai.ZigAIError, match="eta_cutoff must be a number from 0 to below 1"):
        EtaOptions(eta_cutoff=cutoff)  # type: ignore[arg-type]
    assert EtaOptions().steps == (*DEFAULT_STEPS[:-2], "eta", *DEFAULT_STEPS[-2:])
