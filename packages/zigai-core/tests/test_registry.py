"""Registries: lookup by name, conflicts, hints, and plugins that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zigai_core.api.installed import NOUNS, Entry, report
from zigai_core.api.registry import Plugins, Registry
from zigai_core.contracts.errors import PluginError, UnsupportedError


def install(
    folder: Path, distribution: str, entry_points: str, version: str = "1.0", suffix: str = ".dist-info"
) -> None:
    """Write the metadata folder of a distribution that declares entry points, as an installer does."""
    info = folder / f"{distribution.replace('-', '_')}-{version}{suffix}"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    (info / ("METADATA" if suffix == ".dist-info" else "PKG-INFO")).write_text(metadata)
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on `sys.path` for artificial distributions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def _forget_reported_warnings() -> None:
    report.cache_clear()


def build(model: Any, *, context: int) -> Any:
    return None


def test_a_plugin_passed_as_an_object_is_found_without_installation() -> None:
    assert Registry("zigai.architectures", {"llama": build}).get("llama") is build
    assert Plugins(architectures={"llama": build}).architectures.get("llama") is build


def test_get_imports_only_the_plugin_of_that_name(site: Path) -> None:
    (site / "wanted_plugin.py").write_text("def build(model, *, context): ...\n")
    (site / "other_plugin.py").write_text("raise RuntimeError('imported')\n")
    install(site, "wanted", "[zigai.architectures]\nllama = wanted_plugin:build\n")
    install(site, "other", "[zigai.architectures]\nqwen2 = other_plugin:build\n")
    registry = Plugins.installed([str(site)]).architectures
    assert list(registry) == ["llama", "qwen2"]
    assert [entry.name for entry in registry.entries()] == ["llama", "qwen2"]
    assert "wanted_plugin" not in sys.modules
    assert registry.get("llama").__module__ == "wanted_plugin"
    assert "other_plugin" not in sys.modules


def test_the_error_for_an_unknown_name_lists_the_installed_ones_and_the_package_to_install() -> None:
    hints = {"ours": {"zigai.architectures": {"qwen2": "zigai-qwen"}, "zigai.backends": {"qwen2": "other"}}}
    plugins = Plugins(architectures={"llama": build, "gemma": build}, hints=hints)
    with pytest.raises(UnsupportedError) as caught:
        plugins.architectures.get("qwen2")
    assert str(caught.value) == (
        "no installed package serves the architecture 'qwen2'; installed: gemma, llama. "
        "Install the one that does with: pip install --upgrade zigai-qwen"
    )


def test_the_error_for_an_unknown_name_names_the_nearest() -> None:
    plugins = Plugins(architectures=dict.fromkeys(["qwen2", "qwen3moe", "llama"], build))
    with pytest.raises(UnsupportedError, match=r"; the nearest in spelling: qwen3moe and qwen2; installed: "):
        plugins.architectures.get("Qwen4MoE")
    begin = (
        r"; installed: llama, qwen2, qwen3moe\. To begin a package that does: zig-ai new architecture NAME$"
    )
    with pytest.raises(UnsupportedError, match=begin):
        plugins.architectures.get("x" * 10_000_000)


def test_hints_come_from_installed_packages_and_a_broken_one_is_skipped(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (site / "hints_here.py").write_text("HINTS = {'zigai.backends': {'fast': 'fast-pack'}}\n")
    install(site, "hinting", "[zigai.hints]\nhinting = hints_here:HINTS\nbad = hints_here:GONE\n")
    with pytest.raises(UnsupportedError, match=r"pip install --upgrade fast-pack$"):
        Plugins.installed([str(site)]).backends.get("fast")
    assert "the hint 'bad'" in caplog.text


def test_the_error_for_a_name_without_a_hint_names_no_package() -> None:
    with pytest.raises(UnsupportedError, match=r"architecture 'mamba'; installed: none\. To begin a package"):
        Plugins().architectures.get("mamba")


def test_the_error_for_a_name_that_two_distributions_declare_names_both(site: Path) -> None:
    install(site, "alpha-pack", "[zigai.backends]\nnative = alpha:Backend\n", version="1.2")
    install(site, "beta-pack", "[zigai.backends]\nnative = beta:Backend\nother = beta:Other\n", version="3.4")
    registry = Plugins.installed([str(site)]).backends
    with pytest.raises(PluginError) as caught:
        registry.get("native")
    message = str(caught.value)
    assert "alpha-pack 1.2 (alpha:Backend)" in message
    assert "beta-pack 3.4 (beta:Backend)" in message
    assert "pip uninstall alpha-pack or pip uninstall beta-pack" in message
    assert [entry.distribution for entry in registry.entries()] == ["alpha-pack", "beta-pack", "beta-pack"]
    assert list(registry) == ["native", "other"]


def test_one_distribution_found_twice_is_no_conflict(site: Path) -> None:
    (site / "twice_plugin.py").write_text("class Backend: ...\n")
    points = "[zigai.backends]\nnative = twice_plugin:Backend\n"
    install(site, "twice-pack", points)
    install(site / "src", "Twice_Pack", points, suffix=".egg-info")
    registry = Plugins.installed([str(site), str(site / "src")]).backends
    assert registry.get("native").__module__ == "twice_plugin"
    assert len(registry.entries()) == 1


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import not_there_at_all", ModuleNotFoundError),
        ("1 / 0", ZeroDivisionError),
        ("def", SyntaxError),
        ("raise SystemExit(3)", SystemExit),
        ("other = 1", AttributeError),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_the_cause(
    site: Path, source: str, cause: type[BaseException]
) -> None:
    module = f"broken_{cause.__name__.lower()}"
    (site / f"{module}.py").write_text(source)
    install(site, "broken-pack", f"[zigai.formats]\nbroken = {module}:Reader\n", version="0.3")
    with pytest.raises(PluginError) as caught:
        Plugins.installed([str(site)]).formats.get("broken")
    assert isinstance(caught.value.__cause__, cause)
    for part in ("broken-pack 0.3", "'broken'", f"{module}:Reader", cause.__name__):
        assert part in str(caught.value)


@pytest.mark.parametrize(("group", "required"), [("chat_templates", "text"), ("samplers", "callable")])
def test_a_plugin_of_another_kind_is_an_error(site: Path, group: str, required: str) -> None:
    (site / f"odd_{group}.py").write_text("entry = 3\n")
    install(site, "odd", f"[zigai.{group}]\nodd = odd_{group}:entry\n")
    registry = getattr(Plugins.installed([str(site)]), group)
    with pytest.raises(PluginError, match=f"odd 1.0 must be {required}, but is of type int"):
        registry.get("odd")


def test_objects_take_precedence_over_installed_plugins(site: Path) -> None:
    install(site, "wanted", "[zigai.architectures]\nllama = nothing:build\nqwen2 = nothing:build\n")
    installed = Plugins.installed([str(site)])
    plugins = installed.extended(architectures={"llama": build})
    assert plugins.architectures.get("llama") is build
    assert list(plugins.architectures) == ["llama", "qwen2"]
    assert plugins.architectures.entries() == [
        Entry("llama", f"{__name__}:build"),
        Entry("llama", "nothing:build", "wanted", "1.0"),
        Entry("qwen2", "nothing:build", "wanted", "1.0"),
    ]
    with pytest.raises(PluginError):
        installed.architectures.get("llama")


def test_unreadable_metadata_of_other_distributions_is_skipped(site: Path) -> None:
    install(site, "good", "[zigai.commands]\nserve = good:serve\n")
    install(site, "plain", "[console_scripts]\nplain = plain:main\n")
    bad = site / "bad-1.0.dist-info"
    bad.mkdir()
    (bad / "entry_points.txt").write_bytes(b"[zigai.commands]\n\xff\xfe = x:y\n")
    (site / "empty-1.0.dist-info").mkdir()
    assert list(Plugins.installed([str(site)]).commands) == ["serve"]


def test_usable_skips_plugins_that_fail_and_reports_each_once(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (site / "whole_plugin.py").write_text("class Reader: ...\n")
    (site / "failing_plugin.py").write_text("1 / 0\n")
    install(site, "whole", "[zigai.formats]\nwhole = whole_plugin:Reader\nboth = whole_plugin:Reader\n")
    install(site, "failing", "[zigai.formats]\nfailing = failing_plugin:Reader\nboth = x:Reader\n")
    registry = Plugins.installed([str(site)]).formats
    for _ in range(2):
        assert [name for name, _ in registry.usable()] == ["whole"]
    assert len(caplog.messages) == 2
    assert "'both'" in caplog.messages[0]
    assert "ZeroDivisionError" in caplog.messages[1]


def test_problem_returns_the_error_of_an_entry_that_cannot_be_used(site: Path) -> None:
    (site / "tried_plugin.py").write_text(
        "class Good: ...\nclass Bad:\n    def __init__(self): raise KeyError('no')\n"
    )
    install(
        site,
        "tried",
        "[zigai.backends]\nbad = tried_plugin:Bad\ngone = tried_plugin:Gone\ngood = tried_plugin:Good\n",
    )
    registry = Plugins.installed([str(site)]).backends
    problems = {entry.name: registry.problem(entry) for entry in registry.entries()}
    assert problems["good"] == ""
    assert "KeyError: 'no'" in problems["bad"]
    assert "AttributeError" in problems["gone"]


def test_entry_points_that_cannot_be_parsed_are_reported_and_skipped(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install(site, "good", "[zigai.commands]\nserve = good:serve\n")
    install(site, "unparsed-pack", "[zigai.commands]\nno value on this line\n")
    assert list(Plugins.installed([str(site)]).commands) == ["serve"]
    assert "unparsed-pack" in caplog.text


def test_every_group_has_a_registry() -> None:
    assert [registry.group for registry in Plugins().registries()] == list(NOUNS)


def test_the_entry_points_of_core_are_installed() -> None:
    plugins = Plugins.installed()
    assert {"top_k", "temperature"} <= set(plugins.samplers)
    assert "chatml" in plugins.chat_templates
    entry = next(entry for entry in plugins.samplers.entries() if entry.name == "top_k")
    assert entry.distribution == "zigai-core"
    assert entry.version


def test_listing_installed_plugins_imports_none() -> None:
    script = (
        "import sys; from zigai_core.api.registry import Plugins\n"
        "before = set(sys.modules)\n"
        "entries = [entry for registry in Plugins.installed().registries() for entry in registry.entries()]\n"
        "print({entry.value.split(':')[0] for entry in entries} & (set(sys.modules) - before))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
