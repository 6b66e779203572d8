"""A Jinja sandbox in which a template also ends: its steps and its products have a limit."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Rounds of loops and calls in one rendering; the longest chats take some thousands.
_MOST_STEPS = 200_000
#: Characters, items or bits that one product may have.
_MOST_ITEMS = 1_000_000
_COUNTED = "millrace_counted"


class _CountedContext(Context):
    """What one rendering knows, and how far it may go on."""

    steps_left = _MOST_STEPS

    def step(self) -> None:
        """Take one step. Raises TemplateError when there are none left."""
        self.steps_left -= 1
        if self.steps_left < 0:
            _refuse(f"it takes more than {_MOST_STEPS} steps")

    def call(self, called: Any, /, *args: Any, **options: Any) -> Any:
        """Call what the template calls, as one step."""
        self.step()
        return super().call(called, *args, **options)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """An environment with what Hugging Face's templates expect, and no more."""

    intercepted_binops = frozenset({"*", "**"})
    context_class = _CountedContext

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        self.filters["tojson"] = _to_json
        self.filters[_COUNTED] = _counted
        self.globals["raise_exception"] = _refuse
        self.globals["strftime_now"] = lambda form: datetime.now().strftime(form)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno)
        return tree.set_environment(self)  # type: ignore[return-value]  # it returns itself

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply, unless the product is out of all proportion."""
        factor = abs(right) if operator == "**" and isinstance(right, int) else _size(right)
        if isinstance(left, str | list | tuple) and isinstance(right, int):
            factor = right
        elif isinstance(right, str | list | tuple) and isinstance(left, int):
            left, right, factor = right, left, left
        if _size(left) * factor > _MOST_ITEMS:
            _refuse("a product is too great")
        return super().call_binop(context, operator, left, right)


@jinja2.pass_context
def _counted(context: _CountedContext, items: Iterable[Any]) -> Iterator[Any]:
    for each in items:
        context.step()
        yield each


def _size(value: Any) -> int:
    """Bits of a whole number, items of anything that has them."""
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str | list | tuple) else 1


def _to_json(value: Any, **options: Any) -> str:
    # The filter that comes with Jinja escapes for HTML, which would change the prompt.
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
