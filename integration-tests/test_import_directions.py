"""Allowed imports between packages and modules, checked with `ast` so that imports in functions count too."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
TOOLS = {"pexpect", "pyte", "pytest", "hypothesis", "numpy"}
"""Modules that the tests of every package may import, in addition to its declared dependencies."""

CORE = ROOT / "packages" / "zigai-core"

WINGS = {
    "contracts": set[str](),
    "ops": {"contracts"},
    "text": {"contracts"},
    "engine": {"contracts", "text"},
    "api": {"contracts", "ops", "text", "engine"},
    "testing": {"contracts", "ops", "text", "engine", "api"},
}
"""Core's wings, and the other wings that the modules of each may import."""


def imported_modules(source: str, *, package: str = "") -> Iterator[str]:
    """Absolute names of all modules that a source file imports, at any level."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*parent, module] if module else parent)
            yield module
            # `from zigai_core.engine import engine` names a module too.
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
    optional = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    lines = [*project["dependencies"], *optional]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines}


def sources(package: Path) -> list[Path]:
    return sorted((package / "src").rglob("*.py"))


def modules_of(package: Path) -> dict[str, Path]:
    """The modules of a package, by dotted name."""
    root = package / "src"
    names = {}
    for path in sources(package):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def own_imports(package: Path) -> dict[str, set[str]]:
    """For each module of a package, the other modules of the package that it imports."""
    modules = modules_of(package)
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = {used for node in ast.walk(tree) for used in named_modules(node, set(modules))} - {name}
    return found


def named_modules(node: ast.AST, modules: set[str]) -> set[str]:
    """The members of `modules` that an import names: for `from package import module`, only the module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & modules
    if isinstance(node, ast.ImportFrom) and node.module in modules:
        inner = {f"{node.module}.{alias.name}" for alias in node.names}
        return inner if inner <= modules else (inner & modules) | {node.module}
    return set()


def wing_faults(module: str, imports: set[str]) -> list[str]:
    """Imports of a module of core from wings that its own wing may not import."""
    parts = module.split(".")
    if len(parts) < 2:
        return [f"{module} imports {name}" for name in sorted(imports) if name.startswith("zigai_core.")]
    if parts[1] not in WINGS:
        return [f"{module} is in no wing: core is {', '.join(WINGS)}"]
    allowed = WINGS[parts[1]] | {parts[1]}
    used = {name for name in imports if name.startswith("zigai_core.")}
    return [f"{module} imports {name}" for name in sorted(used) if name.split(".")[1] not in allowed]


def circle(imports: dict[str, set[str]]) -> list[str]:
    """A circle of modules that import each other, in order; empty if there is none."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(imports.get(name, set())):
                if found := search(other, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(imports) if (found := search(name, []))), [])


def imports_in_functions(source: str) -> set[str]:
    """Modules of `zigai_core` that are imported inside a function."""
    functions = (
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    return {
        name
        for function in functions
        for name in imported_modules(ast.unparse(function))
        if name.split(".")[0] == "zigai_core"
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_core_and_none_of_its_siblings(package: Path) -> None:
    allowed = {"zigai_core", import_name(package)}
    if package.name == "zigai":
        allowed |= {name.replace("-", "_") for name in declared_distributions(package)}
    for path in sources(package):
        used = {name.split(".")[0] for name in imports_of(path, package / "src")}
        forbidden = {name for name in used if re.fullmatch(r"zigai(_\w+)?", name)} - allowed
        assert not forbidden, f"{path.relative_to(ROOT)} imports {', '.join(sorted(forbidden))}"


RECORDERS = {"data", "oracles"}
"""Folders of tests whose scripts recorded answers, with other dependencies than those of the tests."""


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_imports_only_what_it_declares(package: Path) -> None:
    providers = packages_distributions()
    declared = declared_distributions(package) | {package.name}
    for folder, more in (("src", set()), ("tests", TOOLS)):
        files = (path for path in sorted((package / folder).rglob("*.py")) if not RECORDERS & {*path.parts})
        for path in files:
            for name in {name.split(".")[0] for name in imports_of(path, package / folder)}:
                local = (path.parent / f"{name}.py").exists() or (path.parent / name).is_dir()
                if name in sys.stdlib_module_names or name in more or local or name == "":
                    continue
                distributions = {d.lower().replace("_", "-") for d in providers.get(name, [name])}
                assert distributions & declared, (
                    f"{path.relative_to(ROOT)} imports {name}, which its pyproject.toml does not declare"
                )


def test_a_wing_of_core_imports_only_the_wings_below_it() -> None:
    faults = []
    for module, path in modules_of(CORE).items():
        faults += wing_faults(module, imports_of(path, CORE / "src"))
    assert not faults


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_modules_import_each_other_in_circles(package: Path) -> None:
    assert not circle(own_imports(package))


def test_core_has_no_imports_of_its_own_modules_inside_functions() -> None:
    for module, path in modules_of(CORE).items():
        found = imports_in_functions(path.read_text(encoding="utf-8")) & set(modules_of(CORE))
        assert not found, f"{module} imports {', '.join(sorted(found))} in a function"


def test_only_the_meta_package_names_plugins() -> None:
    plugins = [path.name for path in PACKAGES if path.name not in ("zigai", "zigai-core")]
    meta = declared_distributions(ROOT / "packages" / "zigai")
    assert meta == {"zigai-core", *plugins}
    for package in PACKAGES:
        if package.name != "zigai":
            assert not declared_distributions(package) & set(plugins), package.name


def test_the_check_finds_imports_in_functions_and_under_type_checking() -> None:
    text = "def f():\n    import zigai_llama\nif TYPE_CHECKING:\n    from zigai_core.engine import engine\n"
    assert {"zigai_llama", "zigai_core.engine.engine"} <= set(imported_modules(text))
    assert "zigai_kernels" in set(
        imported_modules("import importlib\nimportlib.import_module('zigai_kernels')")
    )
    relative = set(imported_modules("from .graph import Graph", package="zigai_core.contracts"))
    assert "zigai_core.contracts.graph" in relative


def test_the_check_finds_imports_of_a_higher_wing() -> None:
    assert wing_faults("zigai_core.ops.rope", {"zigai_core.api.model"}) == [
        "zigai_core.ops.rope imports zigai_core.api.model"
    ]
    assert wing_faults("zigai_core.text.stream", {"zigai_core.ops.rope"}) != []
    assert wing_faults("zigai_core.engine.engine", {"zigai_core.contracts.graph", "zigai_core.text"}) == []
    assert wing_faults("zigai_core.newcomer", set()) != []


def test_the_check_finds_circles_and_imports_in_functions() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    text = "from zigai_core.api import model\ndef f():\n    from zigai_core.api import chat\n"
    assert imports_in_functions(text) == {"zigai_core.api", "zigai_core.api.chat"}
