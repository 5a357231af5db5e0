"""Refuses names of packages whose generated code would define the same name twice."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import typer

from zigai_cli.new.naming import PackageName


def refuse_collisions(name: PackageName, defined: Iterable[str], files: Mapping[str, str]) -> None:
    """Raises `typer.BadParameter` if a module binds more than once a name that the package defines.

    `defined` are the names that are made of the package's; `files` are texts by path, of which those that end
    in `.py` are looked at. A second binding is a definition, an import, a parameter or a variable of a
    template.
    """
    for place, text in files.items():
        if not place.startswith(("src/", "tests/")) or not place.endswith(".py"):
            continue
        count = Counter(_bound(ast.parse(text)))
        for own in defined:
            if count[own] > 1:
                raise typer.BadParameter(
                    f"the name {name.name!r} is not valid: the package's own code uses {own} for something "
                    f"else, in {place}; use another, such as my-{name.name}"
                )


def _bound(module: ast.Module) -> Iterator[str]:
    """Every name that a statement, parameter or comprehension of the module gives a value, at any depth."""
    for node in ast.walk(module):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
