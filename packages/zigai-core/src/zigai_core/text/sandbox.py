"""Jinja for templates from untrusted files: no access to Python, and limits on what a template costs.

Only public hooks of Jinja are used: methods of the environment, and changes to the tree between
`Environment.parse` and `Environment.compile`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import CodeType
from typing import Any, NoReturn

from zigai_core.contracts.errors import TemplateError, escape
from zigai_core.text.budget import DEEPEST, Budget, RefusedError
from zigai_core.text.operations import MAPPING_METHODS, TEXT_METHODS, Filters, calculate, call_method

LONGEST_TEXT = 100_000  # characters of a template; the longest in use have 17,000
MOST_TOKENS = 12_000  # the longest templates in use have 4,000
MOST_NODES = 6_000  # of a template's tree; the largest in use have 1,300
LONGEST_NUMBER = 1_000  # digits; Jinja's lexer takes 270 bytes of memory for each
LONGEST_ERROR = 300  # characters of an error message, which may repeat text of a template

_FILENAME = "<chat template>"
_LONG_NUMBER = re.compile(rf"(?<![0-9A-Fa-f_])[0-9A-Fa-f_]{{{LONGEST_NUMBER + 1}}}")
_STATEMENTS = "output for if macro filterblock with assign assignblock continue break"


@cache
def jinja_types() -> tuple[type[Any], type[Any]]:
    """The classes `Sandbox` and `Charges`. Made at first use: importing Jinja takes a tenth of a second."""
    from jinja2 import TemplateSyntaxError, nodes, pass_context
    from jinja2.ext import Extension, LoopControlExtension
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace
    from jinja2.visitor import NodeTransformer

    class Generation(Extension):
        """The tag `{% generation %}`, which marks text for training. It has no effect."""

        tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

        def parse(self, parser: Any) -> list[nodes.Node]:
            next(parser.stream)
            return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))

    def charged(node: Any, name: str) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None)

    class Charges(NodeTransformer):
        """Adds filters that charge the budget to the parts of a tree that no method of `Sandbox` sees."""

        def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
            kind = type(node).__name__.lower()
            if isinstance(node, nodes.Stmt) and kind not in _STATEMENTS.split():
                raise TemplateSyntaxError(f"chat templates may not contain {kind}", node.lineno)
            self.generic_visit(node)
            if isinstance(node, nodes.For):
                if node.find(nodes.Macro):
                    raise TemplateSyntaxError("a macro may not be defined in a loop", node.lineno)
                node.body.insert(0, nodes.ExprStmt(charged(nodes.Const(0), "step "), lineno=node.lineno))
                if node.test is not None:  # `loop.length` makes a list of the items that pass
                    node.test = nodes.And(charged(nodes.Const(16), "step "), node.test, lineno=node.lineno)
            elif isinstance(node, (nodes.Compare, nodes.Operand)):
                within = isinstance(node, nodes.Operand) and node.op in ("in", "notin")
                node.expr = charged(node.expr, "within " if within else "weigh ")
            elif isinstance(node, nodes.Concat):
                node.nodes = [charged(part, "output ") for part in node.nodes]
            elif isinstance(node, nodes.Pair):
                node.key = charged(node.key, "key ")
            elif isinstance(node, nodes.TemplateData):
                return nodes.Const(node.data, lineno=node.lineno)  # Jinja calls `finalize` for constants only
            elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
                return charged(node, "slice ")
            elif isinstance(node, nodes.Literal) and getattr(node, "ctx", "load") == "load":
                return node if isinstance(node, nodes.Const) else charged(node, "new ")
            return node

    class OpaqueNamespace(Namespace):
        """A namespace whose representation leaves out its values, which may be large."""

        def __repr__(self) -> str:
            return "<Namespace>"

    class Sandbox(ImmutableSandboxedEnvironment):
        """The environment of one compilation or one rendering, with its budget."""

        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])

        def __init__(self, budget: Budget) -> None:
            super().__init__(
                trim_blocks=True,
                lstrip_blocks=True,
                optimized=False,  # no expression is evaluated during compilation
                cache_size=0,
                extensions=[LoopControlExtension, Generation],
                # `pass_context` keeps Jinja from evaluating constants during compilation.
                finalize=pass_context(lambda context, value: context.environment.output(value)),
            )
            self.budget = budget
            self._depth = 0
            filters = Filters(self)
            self.tests: dict[str, Any] = filters.tests
            # The filters of `Charges` end with a space: neither a template nor `map` can name them.
            self.filters: dict[str, Any] = {
                **filters.filters,
                "step ": lambda memory: budget.spend(1000, memory),
                "weigh ": lambda value: budget.weigh(value) and value,
                "within ": lambda value: (isinstance(value, Mapping) or budget.weigh(value)) and value,
                "output ": self.output,
                "key ": budget.key,
                "slice ": budget.made,
                "new ": lambda value: budget.spend(0, 80 * len(value)) and budget.made(value),
            }
            self.globals = {
                "range": self.globals["range"],
                "namespace": lambda **kwargs: budget.spend(0, 500) and OpaqueNamespace(kwargs),
                "raise_exception": self._raise_exception,
                "strftime_now": _strftime_now,
            }

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """An arithmetic operator."""
            return calculate(self.budget, operator, self.binop_table[operator], left, right)

        def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            """A call of a macro, a global function or a method."""
            __self.budget.spend(1500, 500 + 80 * (len(args) + len(kwargs)))
            if __self._depth >= DEEPEST:
                raise RefusedError(f"nests more than {DEEPEST} calls")
            __self._depth += 1
            try:
                return super().call(__context, __obj, *args, **kwargs)
            finally:
                __self._depth -= 1

        def getattr(self, obj: Any, attribute: str) -> Any:
            """`obj.attribute`. Of Python's own types, only items and the methods in `operations` exist."""
            methods = TEXT_METHODS if isinstance(obj, str) else MAPPING_METHODS
            if isinstance(obj, (str, Mapping)) and attribute in methods:
                self.budget.spend(0, 400)  # the function's size; a `partial` would print `obj`
                return lambda *args, **kwargs: call_method(self.budget, attribute, obj, *args, **kwargs)
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            opaque = isinstance(obj, (str, Mapping, list, tuple)) or type(obj).__module__ == "builtins"
            if opaque or attribute == "changed":  # `loop.changed` compares values without charging
                return self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            """`obj[argument]`, or else `obj.argument`. Slices do not call this."""
            if not isinstance(argument, (str, int)):
                self.budget.key(argument)
            try:
                return obj[argument]
            except (TypeError, LookupError):
                if isinstance(argument, str):
                    return self.getattr(obj, argument)
            return self.undefined(obj=obj, name=argument)

        def output(self, value: Any) -> str:
            """The text that `{{ value }}` writes."""
            text = self.budget.text(value)
            self.budget.spend(len(text), 64 + 4 * len(text))  # a wide character makes the others wide
            return text

        def _raise_exception(self, message: Any = "") -> NoReturn:
            raise RefusedError(f"refuses these messages: {self.budget.text(message)}")

    return Sandbox, Charges


JINJAS_NAMES = frozenset({"loop", "caller", "varargs", "kwargs", "self", "super"})
"""Names that Jinja sets itself in loops, macros and blocks
(https://jinja.palletsprojects.com/en/stable/templates/)."""


def compile_template(text: str, origin: str) -> tuple[CodeType, frozenset[str], bool]:
    """Compiles a template.

    Returns its code, the names that it reads from outside, and whether it reads an attribute `text`.
    Raises `TemplateError`, with the line, if the template is invalid or too large.
    """
    from jinja2 import TemplateSyntaxError, nodes

    if len(text) > LONGEST_TEXT:
        raise TemplateError(f"{origin} has {len(text)} characters; at most {LONGEST_TEXT} are allowed")
    sandbox, charges = jinja_types()
    environment = sandbox(Budget(None))
    try:
        if long := _LONG_NUMBER.search(text):
            line = text.count("\n", 0, long.start()) + 1
            raise TemplateSyntaxError(f"the template has a number of more than {LONGEST_NUMBER} digits", line)
        if sum(kind != "whitespace" for _, kind, _ in environment.lex(text)) > MOST_TOKENS:
            raise TemplateSyntaxError(f"the template has more than {MOST_TOKENS} tokens", 1)
        tree = environment.parse(text)
        if sum(1 for _ in tree.find_all(nodes.Node)) > MOST_NODES:
            raise TemplateSyntaxError(f"the template has more than {MOST_NODES} parts", 1)
        variables = _variables(tree) - JINJAS_NAMES
        reads_text = _reads_text(tree)
        code = environment.compile(charges().visit(tree), filename=_FILENAME)
    except Exception as error:
        raise _explained(error, origin) from None
    return code, frozenset(variables - environment.globals.keys()), reads_text


def _variables(tree: Any) -> set[str]:
    """The names that a template reads and does not set, or to which it gives a value if they have none."""
    from jinja2 import meta, nodes

    written = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    given = [test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
    given += [each.node for each in tree.find_all(nodes.Filter) if each.name in ("default", "d")]
    optional = {node.name for node in given if isinstance(node, nodes.Name)}
    for each in tree.find_all(nodes.Assign):  # `set x = x or 1`
        if isinstance(each.target, nodes.Name):
            optional |= {name.name for name in each.node.find_all(nodes.Name)} & {each.target.name}
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    found: set[str] = meta.find_undeclared_variables(tree)
    return found - macros - (written - optional)


def _reads_text(tree: Any) -> bool:
    """Whether a tree reads an attribute `text` of anything but an item of `documents`."""
    from jinja2 import nodes

    of_documents = {
        loop.target.name
        for loop in tree.find_all(nodes.For)
        if isinstance(loop.iter, nodes.Name)
        and loop.iter.name == "documents"
        and hasattr(loop.target, "name")
    }
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        name = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if name == "text" and getattr(node.node, "name", None) not in of_documents:
            return True
    calls = tree.find_all((nodes.Call, nodes.Filter))  # `part.get('text')`, `map(attribute='text')`
    arguments = (value for call in calls for value in [*call.args, *(word.value for word in call.kwargs)])
    return any(isinstance(value, nodes.Const) and value.value == "text" for value in arguments)


def render_template(code: CodeType, origin: str, variables: Mapping[str, Any], budget: Budget) -> str:
    """Renders a compiled template. Raises `TemplateError`, with the line, if anything fails."""
    from jinja2 import Template

    try:
        environment = jinja_types()[0](budget)
        template = Template.from_code(environment, code, environment.make_globals(None))
        return "".join(template.generate(variables))
    except Exception as error:
        raise _explained(error, origin) from None


def _explained(error: Exception, origin: str) -> TemplateError:
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:  # Jinja replaces line numbers of its code by the template's
        if trace.tb_frame.f_code.co_filename == _FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    what = getattr(error, "message", None) or str(error) or type(error).__name__
    if isinstance(error, (RecursionError, SyntaxError)):
        what = "nests too deeply"
    return TemplateError(f"{origin}{f', line {line}' if line else ''}: {escape(what, LONGEST_ERROR)}")


def _strftime_now(format: str) -> str:
    if len(format) > 200:
        raise RefusedError("asks for the time in a format of more than 200 characters")
    return datetime.now().strftime(format)
