"""Jinja for templates out of untrusted files: no access to Python, and bounds on what a template costs.

Only public hooks of Jinja are used. The environment's own methods see every call, operator, attribute, item
and output. The rest is done to the tree that `Environment.parse` gives and `Environment.compile` takes:
`template_tree` puts filters into it that count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache, partial, wraps
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

from zigai_core.contracts.errors import TemplateError, escape
from zigai_core.text.budget import DEEPEST, Budget, PartsText, RefusedError
from zigai_core.text.filters import CHECKED_FILTERS, CHECKED_TESTS, OWN_FILTERS, OWN_TESTS
from zigai_core.text.operations import TEXT_COSTS, Formatter, calculate, call_text, compare, join, text_bytes
from zigai_core.text.template_tree import prepared

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.lexer import Token, TokenStream
    from jinja2.parser import Parser
    from jinja2.runtime import Context

LONGEST_TEXT = 100_000
"""Characters of a template; the longest ones in use have 17,000."""
MOST_TOKENS = 12_000
"""Tokens of a template; the longest ones in use have 4,000."""
LONGEST_ERROR = 300
"""Characters of an error that a template's text may have a say in."""

_FILENAME = "<chat template>"


@cache
def environment_type() -> type[Any]:
    """The environment's class; made at its first use, because importing Jinja takes a tenth of a second."""
    from jinja2 import TemplateSyntaxError, pass_context
    from jinja2.ext import Extension, LoopControlExtension
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Syntax(Extension):
        """Bounds the number of tokens. `{% generation %}`, which marks text for training, is passed over."""

        tags = {"generation"}  # noqa: RUF012 - Jinja's own interface

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

        def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
            for count, token in enumerate(stream):
                if count > MOST_TOKENS:
                    raise TemplateSyntaxError(
                        f"the template has more than {MOST_TOKENS} tokens", token.lineno
                    )
                yield token

    class ShyNamespace(Namespace):
        """A namespace whose representation does not show what it holds: that may be another one."""

        def __repr__(self) -> str:
            return "<Namespace>"

    class Sandbox(ImmutableSandboxedEnvironment):
        """The environment of one compilation or one rendering, with its budget."""

        intercepted_binops = frozenset(["+", "-", "*", "/", "//", "**", "%"])

        def __init__(self, budget: Budget) -> None:
            super().__init__(
                trim_blocks=True,
                lstrip_blocks=True,
                optimized=False,  # nothing of a template is computed while it is compiled
                cache_size=0,
                extensions=[LoopControlExtension, Syntax],
                # A function that needs the context keeps constants from being written out early.
                finalize=pass_context(lambda context, value: context.environment.output(value)),
            )
            self.budget = budget
            self._depth = 0
            filters, tests = dict[str, Any](self.filters), dict[str, Any](self.tests)
            self.filters: dict[str, Any] = {
                **{name: partial(function, self) for name, function in OWN_FILTERS.items()},
                **{name: partial(function, budget) for name, function in TREE_FILTERS.items()},
                **_checked(filters, CHECKED_FILTERS, budget),
            }
            self.tests: dict[str, Any] = {
                **{name: partial(function, self) for name, function in OWN_TESTS.items()},
                **_checked(tests, CHECKED_TESTS, budget),
            }
            self.globals: dict[str, Any] = {
                "range": self.globals["range"],
                "dict": self._dict,
                "namespace": lambda *args, **kwargs: ShyNamespace(self._dict(*args, **kwargs)),
                "cycler": self.globals["cycler"],
                "joiner": self.globals["joiner"],
                "raise_exception": self._raise_exception,
                "strftime_now": _strftime_now,
            }

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            """The arithmetic operators."""
            return calculate(self.budget, operator, self.binop_table[operator], left, right)

        def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            """Every call of a macro, a global function, or a method."""
            __self.budget.spend(1500, 100 + 20 * (len(args) + len(kwargs)))
            if __self._depth >= DEEPEST:
                raise RefusedError(f"nests more than {DEEPEST} calls")
            __self._depth += 1
            try:
                return super().call(__context, __obj, *args, **kwargs)
            finally:
                __self._depth -= 1

        def getattr(self, obj: Any, attribute: str) -> Any:
            """`obj.attribute`: of Python's own types, nothing but items and the methods that are listed."""
            self.budget.spend(0)
            if isinstance(obj, (str, PartsText)) and attribute in (*TEXT_COSTS, "join", "format"):
                return self._text_method(self.budget.text(obj), attribute)
            if isinstance(obj, Mapping):
                if attribute in ("get", "items", "keys", "values"):
                    return self._keyed(obj.get) if attribute == "get" else getattr(obj, attribute)
                return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
            if isinstance(obj, (list, tuple)) and attribute in ("count", "index"):
                return self._search(obj, attribute)
            if type(obj).__module__ == "builtins" and not isinstance(obj, FunctionType):
                return self.undefined(obj=obj, name=attribute)
            return super().getattr(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            """`obj[argument]`, else the attribute of that name; slices do not come here."""
            self.budget.spend(0)
            if not isinstance(argument, (str, int)):
                self.budget.weigh(self.budget.key(argument))
            try:
                return obj[argument]
            except (TypeError, LookupError):
                if isinstance(argument, str):
                    return self.getattr(obj, str(argument))
            return self.undefined(obj=obj, name=argument)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            """Whether what is no value of Python's own types gives an attribute."""
            # `loop.changed` compares its arguments, however large they are.
            return attr != "changed" and super().is_safe_attribute(obj, attr, value)

        def output(self, value: Any) -> str:
            """What `{{ value }}` writes."""
            text = self.budget.text(value)
            self.budget.spend(len(text), text_bytes(text))
            return text

        def _text_method(self, text: str, name: str) -> Callable[..., Any]:
            # A function, and no partial one, whose representation would show the text.
            def method(*args: Any, **kwargs: Any) -> Any:
                if name == "join":
                    return join(self.budget, text, *args)
                if name == "format":
                    return Formatter(self.budget).vformat(text, args, kwargs)
                return call_text(self.budget, text, name, *args, **kwargs)

            return method

        def _keyed(self, get: Callable[..., Any]) -> Callable[..., Any]:
            return lambda key, default=None: get(self.budget.key(key), default)

        def _search(self, values: Any, name: str) -> Callable[..., Any]:
            def method(value: Any) -> Any:
                self.budget.weigh([value, values])
                return getattr(values, name)(value)

            return method

        def _dict(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            made = {}
            for arg in args:
                for key, value in self.budget.each(arg.items() if isinstance(arg, Mapping) else arg):
                    made[self.budget.key(key)] = value
            self.budget.made(made)
            return {**made, **kwargs}

        def _raise_exception(self, message: Any = "") -> NoReturn:
            raise RefusedError(f"refuses these messages: {self.budget.text(message)}")

    return Sandbox


def _checked(
    originals: Mapping[str, Any], checks: Mapping[str, Callable[..., None]], budget: Budget
) -> dict[str, Any]:
    """Jinja's own filters or tests, each with a check before it is called and a count of what it made."""

    def checked(original: Any, check: Callable[..., None]) -> Any:
        @wraps(original)  # which keeps Jinja's mark of what it passes before the value
        def run(*args: Any, **kwargs: Any) -> Any:
            check(budget, *(args[1:] if hasattr(run, "jinja_pass_arg") else args), **kwargs)
            result = original(*args, **kwargs)
            return budget.made(result) if isinstance(result, (str, list, int)) else result

        return run

    return {name: checked(originals[name], check) for name, check in checks.items()}


def _tick(budget: Budget, made: int) -> bool:
    budget.spend(500, made)
    return True


def _concat(budget: Budget, parts: tuple[Any, ...]) -> str:
    return join(budget, "", parts)


def _slice(budget: Budget, value: Any) -> Any:
    if isinstance(value, (str, list, tuple)):
        budget.spend(len(value))
    return budget.made(value)


TREE_FILTERS: Mapping[str, Callable[..., Any]] = {
    "tick ": _tick,
    "concat ": _concat,
    "compare ": compare,
    "made ": _slice,
    "key ": Budget.key,
}
"""Filters that stand in trees only: a template cannot write a name that ends with a space."""


def parse_template(text: str, origin: str) -> tuple[Any, Any]:
    """The environment and the tree of a template; `TemplateError` for one that is wrong or too long."""
    if len(text) > LONGEST_TEXT:
        raise TemplateError(
            f"{origin} has {len(text)} characters; {LONGEST_TEXT} are the most that are taken"
        )
    environment = environment_type()(Budget(None))
    try:
        return environment, environment.parse(text)
    except Exception as error:
        raise _explained(error, origin) from None


def compile_template(text: str, origin: str) -> CodeType:
    """Compile a template. `TemplateError` with the line for one that is wrong or too long."""
    environment, tree = parse_template(text, origin)
    try:
        code: CodeType = environment.compile(prepared(tree, environment), filename=_FILENAME)
    except Exception as error:
        raise _explained(error, origin) from None
    return code


def read_names(text: str, origin: str) -> tuple[frozenset[str], bool]:
    """The names that a template reads and does not set, and whether it reads `text` of anything."""
    from jinja2 import nodes

    _, tree = parse_template(text, origin)
    names = list(tree.find_all(nodes.Name))
    written = {name.name for name in names if name.ctx != "load"}
    attributes = {node.attr for node in tree.find_all(nodes.Getattr)}
    attributes |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    return frozenset({name.name for name in names} - written), "text" in attributes


def render_template(code: CodeType, origin: str, variables: Mapping[str, Any]) -> str:
    """Render what `compile_template` gave. `TemplateError` with the line for whatever goes wrong."""
    from jinja2 import Template

    try:
        environment = environment_type()(Budget(variables))
        template = Template.from_code(environment, code, environment.make_globals(None))
        return "".join(template.generate(variables))
    except Exception as error:
        raise _explained(error, origin) from None


def _explained(error: Exception, origin: str) -> TemplateError:
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:  # Jinja has put the template's lines in place of those of its code
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
