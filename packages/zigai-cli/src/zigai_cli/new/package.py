"""The files of a new package, and the parts of code in them that are made rather than copied."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zigai_cli.new import versions
from zigai_cli.new.collisions import refuse_collisions
from zigai_cli.new.naming import PackageName
from zigai_cli.new.templates import render


def package_files(
    folders: Sequence[str],
    name: PackageName,
    values: Mapping[str, str],
    *,
    defined: Sequence[str] | None = None,
) -> dict[str, str]:
    """The files of a package, by path, from folders of templates and those of every package.

    `values` are what these templates contain besides the package's name and the versions. `defined`: the
    names that the code defines, by default the package's function, constant and class.

    Raises `typer.BadParameter` if the code uses one of them for something else.
    """
    files = render(
        ["common", *folders],
        {
            "name": name.name,
            "distribution": name.distribution,
            "module": name.module,
            "function": name.function,
            "constant": name.constant,
            "class_name": name.class_name,
            "core_range": versions.core_range(),
            **values,
        },
    )
    own = (name.function, name.constant, name.class_name) if defined is None else defined
    refuse_collisions(name, own, files)
    licence = versions.licence_text()
    return files if licence is None else {**files, "LICENSE": licence}


def entry_point(group: str, name: str, value: str) -> str:
    """A table of pyproject.toml that registers one object."""
    key = name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)
    return f'[project.entry-points."{group}"]\n{key} = "{value}"'


def architecture_entry_points(name: PackageName, entry: str, model_type: str) -> str:
    """The tables of pyproject.toml that register a graph and the names of Hugging Face."""
    graph = entry_point("zigai.architectures", entry, f"{name.module}:{name.function}")
    names = entry_point("zigai.huggingface", model_type, f"{name.module}.huggingface:{name.constant}")
    return f"{graph}\n\n{names}"


def code_mapping(
    values: Mapping[str, Any], indent: int, notes: Mapping[str, Any] | None = None, *, width: int = 110
) -> str:
    """A dictionary in Python, in lines; a key whose value is None is commented out, with its note.

    `indent` is that of its entries.

    >>> print(code_mapping({"a": "b", "c": None}, 4, {"c": [4]}))
    {
        "a": "b",
        # "c": "???",  # [4]
    }
    """
    lines = []
    for key, value in values.items():
        if value is not None:
            lines.append(f"{' ' * indent}{_literal(key)}: {_literal(value)},")
            continue
        guess = "blk.{}.???.weight" if "{}" in key else "???"
        line = f"{' ' * indent}# {_literal(key)}: {_literal(guess)},"
        note = "" if notes is None or key not in notes else f"  # {json_text(notes[key])}"
        lines.append(line + note if len(line + note) <= width else line)
    return "\n".join(["{", *lines, " " * (indent - 4) + "}"]) if lines else "{}"


def json_text(value: Any, most: int = 60) -> str:
    """A value as JSON, shortened to `most` characters."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        inner = ", ".join(map(_literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return json.dumps(value) if isinstance(value, str) else repr(value)
