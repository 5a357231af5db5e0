"""Jinja for templates out of untrusted files: nothing of Python to reach, and bounds on time and size.

Jinja's sandbox keeps a template from Python's internals, but not from looping for hours or filling the
memory. Here the code that Jinja makes of a template is interspersed with checks: every statement and every
expression that takes long or makes something looks at the clock, and no value may outgrow `limit`, nor all
that is made some multiple of it.
What could outgrow it within a single operation (`*`, `**`, `%`, `~`, padding, joining, replacing) is checked
before. Between two checks there is only work in proportion to `limit`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from datetime import datetime
from types import CodeType, GeneratorType
from typing import Any, NoReturn

from jinja2 import TemplateSyntaxError, nodes, pass_context
from jinja2.compiler import CodeGenerator, CompilerExit, Frame
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from zigai_core.contracts.errors import TemplateError
from zigai_core.text.template_filters import FILTERS, check_format

RENDER_SECONDS = 0.5
"""Processor time that rendering may take, beside 5 ms for each thousand that the messages `weigh`."""
COMPILE_SECONDS = 2.0
"""Processor time that compiling may take; the longest templates in use take a tenth of a second."""
ROOM = 1_000_000
"""How large anything that a template makes may become, beside four times what the messages weigh."""
LONGEST_TEXT = 100_000
"""Characters of a template; the longest ones in use have 17,000."""

_NODE = 16
_BITS = 4096
# What a template may call of a string: nothing that gives bytes or takes more than linear time.
_STRING_METHODS = """
    capitalize casefold center count endswith find index isalnum isalpha isascii isdecimal isdigit
    isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip
    partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split
    splitlines startswith strip swapcase title upper zfill
"""


class _Checks(CodeGenerator):
    """Jinja's code generator with a check before every statement and around every costly expression."""

    _costly = (
        nodes.BinExpr,
        nodes.Call,
        nodes.Compare,
        nodes.Dict,
        nodes.Filter,
        nodes.Getitem,
        nodes.List,
        nodes.Test,
        nodes.Tuple,
    )
    environment: Sandbox

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        self.environment.tick()
        costly = isinstance(node, self._costly) and getattr(node, "ctx", "load") == "load"
        if not costly or isinstance(node, (nodes.And, nodes.Or)):
            return super().visit(node, *args, **kwargs)
        self.write("environment.checked(")
        super().visit(node, *args, **kwargs)
        self.write(")")
        return None

    def blockvisit(self, nodes: Iterable[nodes.Node], frame: Frame) -> None:
        self.writeline("pass")  # a block may be empty
        try:
            for node in nodes:
                self.writeline("environment.tick()")
                self.visit(node, frame)
        except CompilerExit:
            pass

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_ScopedEvalContextModifier(  # noqa: N802
        self, node: nodes.ScopedEvalContextModifier, frame: Frame
    ) -> None:
        self.fail("autoescape has no place in a chat template", node.lineno)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks, for training, what a model says: here, plain text."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            self.environment.tick()  # type: ignore[attr-defined]
            yield token


class _Namespace(Namespace):
    """Jinja's namespace; its own representation would show what it holds, and that may be another one."""

    def __repr__(self) -> str:
        return "<Namespace>"


class _Formatter(SandboxedFormatter):
    """`str.format`, with bounds on each field and on all together."""

    _env: Sandbox
    _total = 0

    def format_field(self, value: Any, format_spec: str) -> str:
        if re.search(r"\d{4}", format_spec):
            raise SecurityError("a format is wider than 999 characters")
        text: str = super().format_field(self._env.checked(value), format_spec)
        self._total += len(text)
        self._env.check_size(self._total)
        return text


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one compiling or one rendering, with the clock that runs for it.

    `limit` bounds the weight of each value and the characters of the result; `seconds` are of processor time.
    """

    code_generator_class = _Checks
    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._deadline = time.thread_time() + seconds
        self._until_look = 0
        self._made = 0
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing of a template is computed while it is compiled
            cache_size=0,
            extensions=[LoopControlExtension, _Generation],
        )
        self.filters = dict(FILTERS)
        del self.globals["lipsum"]
        self.globals |= {
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }
        self.finalize = self._finalize

    def tick(self, size: int = 0) -> None:
        """End what takes too long, or makes too much in all; `size` is that of what was made or looked at."""
        self._made += size
        if self._made > 50 * self.limit:
            raise TemplateRuntimeError(f"makes more than {50 * self.limit} characters in all")
        self._until_look -= 1 + (size >> 10)
        if self._until_look < 0:  # the clock costs as much as many a step of a template
            self._until_look = 30
            if time.thread_time() > self._deadline:
                raise TemplateRuntimeError(f"takes more than {self._seconds:.1f} seconds")

    def check_size(self, size: int) -> None:
        """End what grows too large."""
        _check_size(size, self.limit)

    def checked(self, value: Any) -> Any:
        """The value, if it may be as large as it is; a generator becomes a list."""
        if not isinstance(value, GeneratorType):
            self.tick(weigh(value, self.limit))
            return value
        items: list[Any] = []
        size = 0
        for item in value:
            size += weigh(item, self.limit)
            self.check_size(size)
            items.append(item)
        self.tick(size)
        return items

    def text(self, value: Any) -> str:
        """`str(value)`, checked before."""
        return value if isinstance(value, str) else str(self.checked(value))

    def joined(self, parts: Iterable[Any]) -> str:
        """The operator `~`."""
        return self.concat(map(self.text, parts))

    def concat(self, parts: Iterable[str]) -> str:
        """One text of many; Jinja joins all its output by this."""
        pieces: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            self.check_size(size)
            pieces.append(part)
        self.tick(size)
        return "".join(pieces)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The arithmetic operators: refuses at once what would take long or become large."""
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, (str, list, tuple)) and isinstance(times, int):
                    each = len(value) if isinstance(value, str) else weigh(value, self.limit)
                    self.check_size(each * times)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > _BITS:
                raise TemplateRuntimeError(f"makes a number of more than {_BITS} bits")
        elif operator == "%" and isinstance(left, str):
            check_format(left)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Every call in a template: of macros, globals, and methods of strings and containers."""
        __self.checked((args, kwargs))
        receiver = getattr(__obj, "__self__", None)
        if isinstance(receiver, (int, float, bytes)):
            raise SecurityError(f"{__obj.__name__} of {type(receiver).__name__} is not for templates")
        if isinstance(receiver, str):
            name = __obj.__name__
            if name not in _STRING_METHODS.split():
                raise SecurityError(f"{name} of str is not for templates")
            if name == "join" and len(args) == 1:
                return FILTERS["join"](__context, args[0], receiver)
            if name == "replace":
                __self.check_replace(receiver, *args)
            elif name in ("center", "ljust", "rjust", "zfill") and args:
                __self.check_size(args[0] if isinstance(args[0], int) else 0)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` with bounds, in place of the sandbox's own."""
        if super().wrap_str_format(value) is None:
            return None
        if value.__name__ == "format_map":
            raise SecurityError("format_map of str is not for templates")

        def wrapper(*args: Any, **kwargs: Any) -> str:
            return _Formatter(self).vformat(str(value.__self__), args, kwargs)

        return wrapper

    @pass_context
    def _finalize(self, context: Context, value: Any) -> Any:
        return self.text(value)

    def check_replace(self, text: str, old: Any = "", new: Any = "", count: Any = None) -> None:
        """End a replacement that would grow too large, before it is made."""
        if isinstance(old, str) and isinstance(new, str):
            times = text.count(old)
            if isinstance(count, int) and 0 <= count < times:
                times = count
            self.check_size(len(text) + times * len(new))


def weigh(value: Any, limit: int) -> int:
    """How large a value is: its characters, and 16 for it and for each value in it, however deep.

    What is contained twice counts twice, since printing and comparing go through it twice. An error where it
    is more than `limit`.
    """
    size = 0
    stack = [value]
    while stack:
        item = stack.pop()
        size += _NODE
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, int):
            if item.bit_length() > _BITS:
                raise TemplateRuntimeError(f"makes a number of more than {_BITS} bits")
            size += item.bit_length() // 3
        elif isinstance(item, (list, tuple, KeysView, ValuesView, ItemsView)):
            _check_size(size + _NODE * len(item), limit)
            stack.extend(item)
        elif isinstance(item, Mapping):
            _check_size(size + 2 * _NODE * len(item), limit)
            stack.extend(item.keys())
            stack.extend(item.values())
        _check_size(size, limit)
    return size


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TemplateRuntimeError(f"makes something larger than {limit} characters")


def compile_template(text: str, origin: str) -> CodeType:
    """Compile a template. `TemplateError` with the line for one that is wrong or too long."""
    if len(text) > LONGEST_TEXT:
        raise TemplateError(
            f"{origin} has {len(text)} characters; {LONGEST_TEXT} are the most that are taken"
        )
    try:
        return Sandbox(ROOM, COMPILE_SECONDS).compile(text, filename=origin)
    except Exception as error:
        raise _explained(error, origin) from error


def read_variables(text: str, origin: str) -> frozenset[str]:
    """The names that a template reads and does not set. `TemplateError` for a template that is wrong."""
    compile_template(text, origin)  # bounds its size and depth, too
    names = list(Sandbox(ROOM, COMPILE_SECONDS).parse(text).find_all(nodes.Name))
    written = {name.name for name in names if name.ctx != "load"}
    return frozenset({name.name for name in names} - written)


def render_template(code: CodeType, origin: str, variables: Mapping[str, Any]) -> str:
    """Render what `compile_template` gave. `TemplateError` with the line for whatever goes wrong."""
    given = weigh(variables, 2**62)
    sandbox = Sandbox(ROOM + 4 * given, RENDER_SECONDS + 5e-6 * given)
    try:
        template = Template.from_code(sandbox, code, sandbox.make_globals(None))
        return sandbox.concat(template.root_render_func(template.new_context(dict(variables))))
    except Exception as error:
        raise _explained(error, origin) from error


def _explained(error: Exception, origin: str) -> TemplateError:
    line = error.lineno if isinstance(error, TemplateSyntaxError) else None
    trace = error.__traceback__
    while trace is not None:  # the last frame of the template's own code is where it happened
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    what = "nests too deeply" if isinstance(error, RecursionError) else str(error) or type(error).__name__
    return TemplateError(f"{origin}{f', line {line}' if line else ''}: {what}")


def _raise_exception(message: object = "") -> NoReturn:
    raise TemplateRuntimeError(f"refuses these messages: {message}")


def _strftime_now(format: str) -> str:
    if len(format) > 200:
        raise TemplateRuntimeError("asks for the time in a format of more than 200 characters")
    return datetime.now().strftime(format)
