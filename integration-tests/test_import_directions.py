"""Who may import whom: read off the sources with `ast`, so that an import in a function counts as well."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
TOOLS = {"pexpect", "pytest", "hypothesis", "numpy"}
"""What the tests of every package may import beside what the package declares."""

LAYERS = (
    ("errors",),
    ("dequantize", "dtypes", "descriptor"),
    ("batch", "graph", "operations"),
    ("builder", "rope", "blocks"),
    ("sampling",),
    ("protocols",),
    (
        "registry",
        "cache",
        "reference",
        "text_stream",
        "template_filters",
        "template_sandbox",
        "chat_template",
        "chat_templates",
        "guard",
        "reasoning",
    ),
    ("runner",),
    ("session",),
    ("speculation",),
    ("generation", "chat"),
    ("model",),
    ("loading",),
    ("conformance",),
)
"""Core's modules in the direction of the data: each imports from its own line and those above it alone."""


def imported_modules(source: str, *, package: str = "") -> Iterator[str]:
    """Every absolute module name that a source file imports, wherever the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parent, module] if module else parent)
            yield module
            # `from zigai_core import session` names a module too.
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            first = node.args[0] if node.args else None
            if name in ("import_module", "__import__", "importorskip") and isinstance(first, ast.Constant):
                yield str(first.value)


def imports_of(path: Path, root: Path) -> set[str]:
    parts = path.relative_to(root).with_suffix("").parts
    package = ".".join(parts[:-1])
    return set(imported_modules(path.read_text(encoding="utf-8"), package=package))


def import_name(package: Path) -> str:
    return package.name.replace("-", "_")


def declared_distributions(package: Path) -> set[str]:
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in project["dependencies"]}


def sources(package: Path) -> list[Path]:
    return sorted((package / "src").rglob("*.py"))


def layer_faults(module: str, imports: set[str], layers: tuple[tuple[str, ...], ...]) -> list[str]:
    """What `zigai_core.<module>` imports from a later layer than its own."""
    rank = {name: index for index, layer in enumerate(layers) for name in layer}
    if module not in rank:
        return [f"{module} stands in no layer: say in LAYERS where the data passes it"]
    used = {name.split(".")[1] for name in imports if name.startswith("zigai_core.")}
    return [f"{module} imports {name}" for name in sorted(used) if rank.get(name, 0) > rank[module]]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_core_and_none_of_its_siblings(package: Path) -> None:
    allowed = {"zigai_core", import_name(package)}
    if package.name == "zigai":
        allowed |= {name.replace("-", "_") for name in declared_distributions(package)}
    for path in sources(package):
        used = {name.split(".")[0] for name in imports_of(path, package / "src")}
        strangers = {name for name in used if re.fullmatch(r"zigai(_\w+)?", name)} - allowed
        assert not strangers, f"{path.relative_to(ROOT)} imports {', '.join(sorted(strangers))}"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_only_what_it_declares(package: Path) -> None:
    providers = packages_distributions()
    declared = declared_distributions(package) | {package.name}
    for folder, more in (("src", set()), ("tests", TOOLS)):
        files = (path for path in sorted((package / folder).rglob("*.py")) if "data" not in path.parts)
        for path in files:  # a script in tests/data made golden answers once, with whatever it needed
            for name in {name.split(".")[0] for name in imports_of(path, package / folder)}:
                local = (path.parent / f"{name}.py").exists() or (path.parent / name).is_dir()
                if name in sys.stdlib_module_names or name in more or local or name == "":
                    continue
                distributions = {d.lower().replace("_", "-") for d in providers.get(name, [name])}
                assert distributions & declared, (
                    f"{path.relative_to(ROOT)} imports {name}, which its pyproject.toml does not declare"
                )


def test_inside_core_imports_follow_the_data() -> None:
    source = ROOT / "packages" / "zigai-core" / "src"
    faults = []
    for path in sorted((source / "zigai_core").rglob("*.py")):
        module = path.relative_to(source / "zigai_core").with_suffix("").parts[0]
        if module != "__init__":
            faults += layer_faults(module, imports_of(path, source), LAYERS)
    assert not faults


def test_only_the_meta_package_names_plugins() -> None:
    plugins = [path.name for path in PACKAGES if path.name not in ("zigai", "zigai-core")]
    meta = declared_distributions(ROOT / "packages" / "zigai")
    assert meta == {"zigai-core", *plugins}
    for package in PACKAGES:
        if package.name != "zigai":
            assert not declared_distributions(package) & set(plugins), package.name


def test_the_check_sees_imports_in_functions_and_under_type_checking() -> None:
    text = "def f():\n    import zigai_llama\nif TYPE_CHECKING:\n    from zigai_core import session\n"
    assert {"zigai_llama", "zigai_core.session"} <= set(imported_modules(text))
    assert "zigai_kernels" in set(
        imported_modules("import importlib\nimportlib.import_module('zigai_kernels')")
    )
    relative = set(imported_modules("from .graph import Graph", package="zigai_core"))
    assert "zigai_core.graph" in relative


def test_the_check_refuses_an_import_against_the_direction() -> None:
    assert layer_faults("graph", {"zigai_core.session"}, LAYERS) == ["graph imports session"]
    assert layer_faults("session", {"zigai_core.graph", "zigai_core.sampling"}, LAYERS) == []
    assert layer_faults("newcomer", set(), LAYERS) != []
