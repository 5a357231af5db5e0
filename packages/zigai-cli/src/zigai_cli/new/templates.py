"""Renders the templates of a package: the files in folders of `templates/`.

A template is a file `NAME.template`, which becomes NAME. `$name` and `${name}` in it are replaced, and `$$`
is a dollar sign (`string.Template`). In paths MODULE stands for the package's module, and `dot-` for a dot.
`name.part.template` becomes no file, but the text of `${name}` in others; a part may contain parts whose
names come before its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import groupby
from string import Template

SUFFIX = ".template"
PART = ".part.template"
_OWN = re.compile(r"from (zigai_[\w.]+) import ")


def render(folders: Sequence[str], values: Mapping[str, str]) -> dict[str, str]:
    """The texts of a package's files, by path relative to its folder, with `/`.

    `values` must have every name that a template contains; `module` also replaces MODULE in paths.
    """
    root = resources.files("zigai_cli.new") / "templates"
    # A template of a later folder replaces that of the same path in an earlier one.
    templates = {path: each for folder in folders for path, each in _templates(root / folder)}
    values = dict(values)
    for path in sorted(path for path in templates if path.endswith(PART)):
        values[path.removesuffix(PART)] = _text(templates.pop(path), values)
    found: dict[str, str] = {}
    for path, template in templates.items():
        place = path.removesuffix(SUFFIX).replace("MODULE", values["module"]).replace("dot-", ".")
        text = _text(template, values)
        found[place] = sorted_imports(text) if place.endswith(".py") else text
    return found


def _text(template: Traversable, values: Mapping[str, str]) -> str:
    return Template(template.read_text(encoding="utf-8")).substitute(values)


def sorted_imports(text: str) -> str:
    """The text of a module with adjacent imports of zigai's packages in order of their names."""
    runs = groupby(text.splitlines(keepends=True), lambda line: bool(_OWN.match(line)))
    return "".join("".join(sorted(lines) if imports else lines) for imports, lines in runs)


def _templates(folder: Traversable, path: str = "") -> list[tuple[str, Traversable]]:
    found = []
    for each in folder.iterdir():
        name = f"{path}{each.name}"
        if each.is_dir():
            found += _templates(each, f"{name}/")
        elif each.name.endswith(SUFFIX):
            found.append((name, each))
    return found
