from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from zigai import Plugins, UnsupportedError
from zigai.hints import PACKAGES
from zigai_core.api.registry import Registry

HINTS = [(group, name, package) for group, served in PACKAGES.items() for name, package in served.items()]


@pytest.mark.parametrize(("group", "name", "package"), HINTS)
def test_every_hint_names_a_package_that_declares_it(group: str, name: str, package: str) -> None:
    declared = {point.dist.name for point in entry_points(group=group, name=name) if point.dist}
    assert package in declared


@pytest.mark.parametrize(("group", "name", "package"), HINTS)
def test_the_error_for_a_name_that_is_not_installed_names_its_package(
    group: str, name: str, package: str
) -> None:
    empty: Registry[object] = Registry(group, hints=Plugins.installed().hints)
    with pytest.raises(UnsupportedError, match=f"installed: none.*pip install --upgrade {package}$"):
        empty.get(name)


@pytest.mark.parametrize("name", ["qwen35", "qwen3next", "gemma5", "mamba"])
def test_the_error_for_an_architecture_of_no_package_names_none(name: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        Plugins.installed().architectures.get(name)
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize("group", ["zigai.architectures", "zigai.huggingface"])
def test_every_architecture_and_family_of_zigai_packages_has_a_hint(group: str) -> None:
    ours = {"zigai-cohere", "zigai-gemma", "zigai-gpt", "zigai-llama", "zigai-phi", "zigai-qwen"}
    declared = {point.name for point in entry_points(group=group) if point.dist and point.dist.name in ours}
    assert declared == set(PACKAGES[group])
