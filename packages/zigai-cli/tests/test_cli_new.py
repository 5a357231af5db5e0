"""`zig-ai new`: the packages that it writes, whose own tests pass at once, and what it refuses."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runner import zig_ai

from zigai_cli.failure import InputError
from zigai_cli.new import versions
from zigai_cli.new.config_keys import sorted_keys
from zigai_cli.new.decoder import decoder_files, renamed_oracle
from zigai_cli.new.folder import new_folder
from zigai_cli.new.like_class import class_files
from zigai_cli.new.naming import LONGEST, PackageName, normalised, package_name
from zigai_cli.new.tensor_names import guesses
from zigai_cli.new.tiny_model import TinyModel
from zigai_core.api.registry import Plugins, Registry
from zigai_core.contracts.errors import FormatError
from zigai_core.testing.oracles import Oracle

KINDS = {"architecture": "zigai.architectures", "format": "zigai.formats", "sampler": "zigai.samplers"}
SHORT, LONG = "a", "zz-" + "y" * (LONGEST - 3)  # before and behind `core` in the order of imports
CONFIG = Path(__file__).resolve().parents[3] / "pyproject.toml"


def written(tmp_path: Path, kind: str, name: str) -> Path:
    result = zig_ai("new", kind, name, "--into", tmp_path)
    assert result.exit_code == 0, result.output
    return tmp_path / f"zigai-{name}"


def project(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def environment(package: Path, site: Path) -> dict[str, str]:
    """Variables with which Python finds a package as if it were installed."""
    declared = project(package)["project"]
    info = site / f"{declared['name'].replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {declared['name']}\nVersion: 0.1.0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in declared["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    paths = (str(site), str(package / "src"), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run(*command: object, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("kind", "name"), [("architecture", SHORT), ("format", "own-2"), ("sampler", LONG)])
def test_the_tests_of_a_new_package_pass_at_once(tmp_path: Path, kind: str, name: str) -> None:
    package = written(tmp_path, kind, name)
    output = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        folder=package,
        env=environment(package, tmp_path / "site"),
    )
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) > 10
    assert "failed" not in output


@pytest.mark.parametrize("kind", [*KINDS, "like a class"])
@pytest.mark.parametrize("name", [SHORT, LONG])
def test_a_new_package_passes_ruff_and_mypy(tmp_path: Path, kind: str, name: str) -> None:
    tools = {
        tool: shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for tool in ("ruff", "mypy")
    }
    if None in tools.values():
        pytest.skip("ruff or mypy is not installed: nox -s types runs this test")
    if kind in KINDS:
        package = written(tmp_path, kind, name)
    else:
        with new_folder(tmp_path, f"zigai-{name}") as folder:
            for place, text in class_files(PackageName(name), "strange_model", TINY).items():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_text(text, encoding="utf-8")
        package = tmp_path / f"zigai-{name}"
    env = environment(package, tmp_path / "site")
    env |= {"MYPYPATH": env["PYTHONPATH"], "RUFF_NO_CACHE": "true", "MYPY_CACHE_DIR": str(tmp_path / "cache")}
    for options in ([], ["--config", CONFIG]):  # the package's own rules, and those of this repository
        run(tools["ruff"], "check", *options, ".", folder=package, env=env)
    run(tools["ruff"], "format", "--check", ".", folder=package, env=env)
    run(tools["mypy"], "--strict", "-p", PackageName(name).module, folder=package, env=env)


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_declares_what_it_registers_and_the_range_of_core(tmp_path: Path, kind: str) -> None:
    package = written(tmp_path, kind, "own-2")
    declared = project(package)["project"]
    assert declared["name"] == "zigai-own-2"
    assert f"zigai-core{versions.core_range()}" in declared["dependencies"]
    ((name, value),) = declared["entry-points"][KINDS[kind]].items()
    assert name == ("own_2" if kind == "sampler" else "own-2")
    module, _, attribute = value.partition(":")
    source = (package / "src" / module / "__init__.py").read_text(encoding="utf-8")
    defined = [node for node in ast.parse(source).body if getattr(node, "name", "") == attribute]
    assert len(defined) == 1
    for file in ("README.md", "CHANGELOG.md", ".gitignore", "noxfile.py", f"src/{module}/py.typed"):
        assert (package / file).is_file(), file
    for path in package.rglob("*.*"):
        if path.suffix not in (".npz", ""):
            assert "$" not in path.read_text(encoding="utf-8"), path
    ast.parse((package / "noxfile.py").read_text(encoding="utf-8"))


def test_only_an_architecture_has_a_task_for_oracles_and_all_else_of_the_tasks_is_the_same(
    tmp_path: Path,
) -> None:
    tasks, ends = {}, {}
    for kind in KINDS:
        package = written(tmp_path / kind, kind, "own-2")
        assert not [*package.rglob("*.part*")]
        tree = ast.parse((package / "noxfile.py").read_text(encoding="utf-8"))
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        tasks[kind] = {node.name: ast.unparse(node).replace("own_2", "") for node in found}
        ends[kind] = (package / "README.md").read_text(encoding="utf-8").partition("## Test")[2]
    assert list(tasks["architecture"]) == ["tests", "oracle", "lint"]
    del tasks["architecture"]["oracle"]
    assert tasks["architecture"] == tasks["format"] == tasks["sampler"]
    assert ends["format"] == ends["sampler"]
    more = set(ends["architecture"].splitlines()) - set(ends["format"].splitlines())
    assert [line.split("#")[0].strip() for line in more] == ["nox -s oracle"]
    assert all("## Publish" in end for end in ends.values())


def test_only_the_names_of_an_oracle_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "new.npz").write_bytes(renamed_oracle("decoder-tied.npz", "mine", "own-2"))
    source = Path(sys.modules["zigai_cli.new"].__path__[0], "oracles", "decoder-tied.npz")
    old, new = Oracle.load(source), Oracle.load(tmp_path / "new.npz")
    assert (new.model.architecture, new.model.name) == ("own-2", "mine")
    with pytest.raises(FormatError, match=r"own-2\.of\.no\.model"):
        new.model.hyperparameters.integer("of.no.model")
    assert dict(new.model.hyperparameters.items()) == dict(old.model.hyperparameters.items())
    assert (new.tokens, new.rows, new.source, new.settings) == (
        old.tokens,
        old.rows,
        old.source,
        old.settings,
    )
    for arrays, others in ((old.outputs, new.outputs), (old.values, new.values)):
        assert arrays.keys() == others.keys()
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
    for name, tensor in old.model.tensors.items():
        assert np.array_equal(tensor.to_float32(), new.model.tensors[name].to_float32())


def test_the_name_in_model_files_may_be_another(tmp_path: Path) -> None:
    result = zig_ai("new", "architecture", "own", "--architecture", "Own_2.5", "--into", tmp_path, "--json")
    report = json.loads(result.stdout)
    package = Path(report["folder"])
    assert package == tmp_path / "zigai-own"
    assert report["left"] == []
    assert sorted(report["files"]) == sorted(
        str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()
    )
    entry_points = project(package)["project"]["entry-points"]
    assert entry_points["zigai.architectures"] == {"Own_2.5": "zigai_own:own"}
    assert Oracle.load(package / "tests" / "oracles" / "own.npz").model.architecture == "Own_2.5"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("My Model", "my-model"),
        ("my_model", "my-model"),
        ("zigai-own", "own"),
        ("Zigai_Own", "own"),
        ("-own-", "own"),
        ("a--b", "a-b"),
        ("2.5-own", "own"),
        ("x" * 50, "x" * LONGEST),
        ("own/../..", "own"),
        ("ünï", ""),
        ("42", ""),
        ("", ""),
    ],
)
def test_a_name_that_is_not_valid_is_refused_and_another_suggested(
    tmp_path: Path, name: str, advice: str
) -> None:
    for kind in KINDS:
        result = zig_ai("new", kind, "--into", tmp_path, "--", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "is not valid" in result.stderr
        assert result.stderr.rstrip().endswith(f"; use {advice}") == bool(advice)
    assert normalised(name) == advice
    assert not advice or package_name(advice).name == advice
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        *(
            ("architecture", name, f"{name} would hide a word of Python")
            for name in ("class", "range", "list")
        ),
        ("sampler", "none", "None would hide a word of Python"),
        ("sampler", "value-error", "ValueError would hide a word of Python"),
        ("architecture", "np", "the package's own code uses np for something else"),
        ("sampler", "annotations", "uses annotations for something else"),
        ("architecture", "plugins", "uses plugins for something else, in tests/test_zigai_plugins.py"),
        ("architecture", "keys", "uses KEYS for something else, in src/zigai_keys/huggingface.py"),
        ("architecture", "tensors", "uses TENSORS for something else"),
        ("sampler", "candidates", "uses candidates for something else"),
        ("sampler", "draw", "uses draw for something else"),
        ("sampler", "sampling-options", "uses SamplingOptions for something else"),
        *((kind, "test-it", "the function of this name for a test") for kind in ("architecture", "sampler")),
        ("format", "test-it", "the class of this name for a test"),
        ("architecture", "tests", "for a test"),
        *(("architecture", name, "linters refuse it") for name in "ilo"),
    ],
)
def test_a_name_that_the_code_of_the_package_cannot_use_is_refused(
    tmp_path: Path, kind: str, name: str, reason: str
) -> None:
    result = zig_ai("new", kind, name, "--into", tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert f"use another, such as my-{name}" in result.stderr
    assert not list(tmp_path.iterdir())
    assert zig_ai("new", kind, f"my-{name}", "--into", tmp_path).exit_code == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_of_a_package_of_zigai_is_refused(tmp_path: Path, kind: str) -> None:
    own = {path.name.removeprefix("zigai-") for path in Path(__file__).parents[2].glob("zigai-*")}
    assert own
    for name in own:
        result = zig_ai("new", kind, name, "--into", tmp_path)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"the name '{name}' is taken by ZigAI itself" in result.stderr
        assert "uninstall" not in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["class", "list", "none", "value-error", "l"])
def test_a_format_may_have_a_name_that_only_a_function_cannot(tmp_path: Path, name: str) -> None:
    package = written(tmp_path, "format", name)
    for path in package.rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"))


def test_the_help_says_how_long_a_name_may_be() -> None:
    for kind in KINDS:
        assert f"at most {LONGEST} characters" in " ".join(zig_ai("new", kind, "--help").stdout.split())


def test_a_distribution_that_is_installed_is_refused() -> None:
    with pytest.raises(InputError, match=r"pytest \S+ is installed already.*uninstall it first"):
        versions.refuse_installed("pytest")


@pytest.mark.parametrize("kind", ["architecture", "sampler"])  # a format has no function of its name
def test_the_code_of_a_package_hides_no_name_that_it_uses(tmp_path: Path, kind: str) -> None:
    """Every lower-case name that modules import, except the package's own, is refused as a name."""
    package = written(tmp_path, kind, "own")
    for path in [*package.glob("src/*/*.py"), *package.glob("tests/*.py")]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            imported = getattr(node, "names", []) if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            for name in [alias.asname or alias.name for alias in imported]:
                if name.islower() and name != "own":
                    other = zig_ai("new", kind, name.replace("_", "-"), "--into", tmp_path)
                    assert other.exit_code == 2, name


def test_the_command_to_test_a_package_is_one_that_a_shell_understands(tmp_path: Path) -> None:
    result = zig_ai("new", "sampler", "own", "--into", tmp_path / "it's my $HOME & more")
    command = result.stdout.splitlines()[-1].partition(" && ")[0].strip()
    output = run("sh", "-c", f"{command} && cat pyproject.toml", folder=tmp_path, env=dict(os.environ))
    assert 'name = "zigai-own"' in output


def test_a_folder_that_exists_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    for make in (
        lambda path: path.mkdir(),
        lambda path: path.write_text("mine"),
        lambda path: path.symlink_to("x"),
    ):
        place = tmp_path / "zigai-own"
        make(place)
        result = zig_ai("new", "sampler", "own", "--into", tmp_path)
        assert result.exit_code == 1
        assert "exists already" in result.stderr
        assert "--into" in result.stderr
        assert [*tmp_path.iterdir()] == [place]
        place.rmdir() if place.is_dir() else place.unlink()


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    closed = tmp_path / "closed"
    closed.mkdir(0o500)
    for place in (file, file / "below", closed):
        if place == closed and os.access(closed, os.W_OK):
            continue  # an administrator may write everywhere
        result = zig_ai("new", "sampler", "own", "--into", place)
        assert result.exit_code == 1
        assert "cannot be written there" in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_folder_to_write_to_is_made_if_it_is_missing(tmp_path: Path) -> None:
    package = written(tmp_path / "new" / "folders", "sampler", "own")
    assert (package / "pyproject.toml").is_file()
    assert package.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path, "zigai-own") as folder:
        (folder / "half").write_text("written")
        raise error
    assert not list(tmp_path.iterdir())


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    result = None
    with pytest.raises(Exception, match="exists already"), new_folder(tmp_path, "zigai-own"):
        result = tmp_path / "zigai-own"
        result.mkdir()
    assert [*tmp_path.iterdir()] == [result]


@pytest.mark.usefixtures("plugins")
def test_a_name_that_an_installed_package_registers_is_refused(tmp_path: Path) -> None:
    for kind in ("architecture", "format"):
        result = zig_ai("new", kind, "toy", "--into", tmp_path)
        assert result.exit_code == 1, kind
        assert "two packages that register one name are an error" in result.stderr
    result = zig_ai("new", "architecture", "own", "--architecture", "toy", "--into", tmp_path)
    assert result.exit_code == 1
    assert not list(tmp_path.glob("*zigai*"))


def test_the_name_of_a_step_of_core_is_refused(tmp_path: Path) -> None:
    result = zig_ai("new", "sampler", "top-k", "--into", tmp_path)
    assert result.exit_code == 1
    assert "'top_k' in zigai.samplers is that of zigai-core" in result.stderr


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    for arguments in (
        ["architecture", "own", "--config", "a=1"],
        ["format"],
        ["backend", "own"],
        ["--into", "x"],
    ):
        assert zig_ai("new", *arguments).exit_code == 2
    result = zig_ai("new", "architecture", "own", "--architecture", "a b", "--into", tmp_path)
    assert result.exit_code == 2
    assert "ASCII letters" in result.stderr


HINTS = {
    "x": {
        "zigai.formats": {"safetensors": "reader-of-folders"},
        "zigai.huggingface": {"llama": "names-of-llama"},
    }
}


@pytest.fixture
def none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plugins are installed, but hints name the packages of some."""
    hints = Registry("zigai.hints", HINTS)
    plugins = Plugins(
        formats=Registry("zigai.formats", hints=hints), huggingface=Registry("zigai.huggingface", hints=hints)
    )
    monkeypatch.setattr(Plugins, "installed", lambda: plugins)


@pytest.mark.usefixtures("none_installed")
@pytest.mark.parametrize("missing", ["torch", "a package that reads the format safetensors"])
def test_without_transformers_the_error_names_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    found = None if missing == "torch" else object()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found)
    result = zig_ai(
        "new", "architecture", "own", "--from-transformers", "Phi3ForCausalLM", "--into", tmp_path
    )
    assert result.exit_code == 1
    assert f"needs {missing}, which is not installed" in result.stderr
    assert "python -m pip install torch transformers reader-of-folders" in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("none_installed")
def test_what_an_oracle_needs_is_the_packages_that_hints_name(monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = ["torch>=2.4", "transformers>=5", "reader-of-folders"]
    for files, extra in (
        (decoder_files(PackageName("own"), "own"), [*oracle, "names-of-llama"]),
        (class_files(PackageName("own"), "strange_model", TINY), oracle),
    ):
        declared = tomllib.loads(str(files["pyproject.toml"]))["project"]
        assert declared["optional-dependencies"]["oracle"] == extra
    monkeypatch.setattr(Plugins, "installed", Plugins)  # not even hints
    declared = tomllib.loads(str(decoder_files(PackageName("own"), "own")["pyproject.toml"]))["project"]
    assert declared["optional-dependencies"]["oracle"] == [*oracle[:2], "zigai"]


def test_help_imports_nothing_of_the_generator() -> None:
    code = "import sys, zigai_cli.app; print([m for m in sys.modules if m.startswith('zigai_cli.new')])"
    assert run(sys.executable, "-c", code, folder=Path.cwd(), env=dict(os.environ)) == "[]\n"
    assert "architecture" in zig_ai("new", "--help").stdout
    assert "Write a plugin:" in zig_ai("--help").stdout


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", ">=0.1,<0.2"),
        ("0.1", ">=0.1,<0.2"),
        ("1.9.12", ">=1.9,<1.10"),
        ("0.2.0rc1", ">=0.2.0rc1,<0.3"),
        ("0.2.0.dev3+g12ab", ">=0.2.0.dev3,<0.3"),
        ("0.2.1+local", ">=0.2,<0.3"),
    ],
)
def test_the_range_is_of_the_installed_minor_version(
    monkeypatch: pytest.MonkeyPatch, version: str, expected: str
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert versions.core_range() == expected


def test_without_the_text_of_the_licence_the_field_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "licence_text", lambda: None)
    package = written(tmp_path, "sampler", "own")
    assert not (package / "LICENSE").exists()
    assert project(package)["project"]["license"] == "Apache-2.0"


TINY = TinyModel(
    model_class="StrangeModelWithALongNameForCausalLM",
    version="5.0.0",
    model_type="strange_model",
    settings={"head_dim": 8, "bos_token_id": 1, "rope_parameters": {"rope_type": "default"}},
    shapes={"model.layers.{}.mixer.A_log": (4, 4), "model.embed_tokens.weight": (64, 32)},
    names=guesses(["model.layers.{}.mixer.A_log", "model.embed_tokens.weight"]),
    keys=sorted_keys({"hidden_size": 32, "rotary_style": "odd", "hidden_act": "relu"}, set()),
)


def test_what_is_not_known_of_a_class_is_a_line_that_is_commented_out() -> None:
    files = class_files(PackageName("own"), "strange_model", TINY)
    names = files["src/zigai_own/huggingface.py"]
    assert '\n    # "model.layers.{}.mixer.A_log": "blk.{}.???.weight",  # [4, 4]\n' in names
    assert '\n    "model.embed_tokens.weight": "token_embd.weight",\n' in names
    assert '\n    # "rotary_style": "???",  # "odd"\n' in names
    assert '\n        "hidden_act": ("relu",),\n' in names
    case = tomllib.loads(files["tests/oracles/cases.toml"])["own"]
    assert case == {"class": TINY.model_class, "config": TINY.settings}
    assert not [file for file in files if file.endswith(".npz")]
