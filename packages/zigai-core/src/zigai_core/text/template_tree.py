"""The tree of a chat template, bounded in size, with counting filters put into it.

Jinja's environment has no method that sees comparisons, `~`, literals, slices, or the beginning of a body.
"""

from __future__ import annotations

from collections.abc import Sequence
from sys import getsizeof
from typing import TYPE_CHECKING, Any

from zigai_core.text.budget import LARGEST_NUMBER

if TYPE_CHECKING:
    from jinja2 import nodes

MOST_NODES = 6_000
"""Nodes of a template's tree; the largest ones in use have 1,300."""
DEEPEST_TREE = 80
"""How deep a template's tree may nest; the deepest ones in use have 30 levels."""

_STATEMENTS = "Template Output For If Macro CallBlock FilterBlock With Assign AssignBlock Continue Break"
_MACRO_BYTES = 2000


def prepared(tree: nodes.Template, environment: Any) -> nodes.Template:
    """The tree, changed so that what costs something and no method of the environment sees is counted.

    `TemplateSyntaxError` for a tree that is too large or deep, or holds what has no place in a chat template.
    """
    from jinja2 import TemplateSyntaxError, nodes

    def counted(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, name, [*args], [], None, None, lineno=node.lineno, environment=environment)

    def tick(body: list[nodes.Node], lineno: int) -> nodes.Filter:
        made = _bytes_of(body, (nodes.For, nodes.Macro, nodes.CallBlock))
        return counted(nodes.Const(made, lineno=lineno, environment=environment), "tick ")

    def statement(node: nodes.Filter) -> nodes.ExprStmt:
        return nodes.ExprStmt(node, lineno=node.lineno, environment=environment)

    def walk(node: Any) -> Any:
        if isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock)):
            node.body.insert(0, statement(tick(node.body, node.lineno)))
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(
                tick([], node.lineno), node.test, lineno=node.lineno, environment=environment
            )
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, walk(value))
            elif isinstance(value, list):
                setattr(node, field, [walk(item) if isinstance(item, nodes.Node) else item for item in value])
        if isinstance(node, nodes.Compare):
            parts = [
                part
                for operand in node.ops
                for part in (
                    nodes.Const(operand.op, lineno=node.lineno, environment=environment),
                    operand.expr,
                )
            ]
            return counted(node.expr, "compare ", *parts)
        if isinstance(node, nodes.Concat):
            return counted(
                nodes.Tuple(node.nodes, "load", lineno=node.lineno, environment=environment), "concat "
            )
        if isinstance(node, nodes.Pair):
            node.key = counted(node.key, "key ")
        elif isinstance(node, (nodes.List, nodes.Dict)) or (
            (isinstance(node, nodes.Tuple) and node.ctx == "load")
            or (isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice))
        ):
            return counted(node, "made ")
        return node

    level: list[Any] = [tree]
    count = depth = 0
    while level:
        count += len(level)
        depth += 1
        for node in level:
            if count > MOST_NODES or depth > DEEPEST_TREE:
                raise TemplateSyntaxError(
                    f"the template has more than {MOST_NODES} parts, or nests more than {DEEPEST_TREE} deep",
                    node.lineno,
                )
            if (
                isinstance(node, (nodes.Stmt, nodes.Template))
                and type(node).__name__ not in _STATEMENTS.split()
            ):
                raise TemplateSyntaxError(
                    f"{type(node).__name__.lower()} has no place in a chat template", node.lineno
                )
            if isinstance(node, nodes.Const) and isinstance(node.value, int) and node.value > LARGEST_NUMBER:
                raise TemplateSyntaxError("an integer has more than 61 bits", node.lineno)
        level = [child for node in level for child in node.iter_child_nodes()]
    walk(tree)
    return tree


def _bytes_of(body: Sequence[nodes.Node], inner: tuple[type, ...]) -> int:
    """Bytes that one pass through a body makes of the template's own text, and of the macros in it."""
    made = 0
    stack: list[Any] = [*body]
    while stack:
        node = stack.pop()
        name = type(node).__name__
        if name == "TemplateData":
            made += getsizeof(node.data)
        elif name in ("Macro", "CallBlock"):
            made += _MACRO_BYTES
        if not isinstance(node, inner):
            stack.extend(node.iter_child_nodes())
    return made
