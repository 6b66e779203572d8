"""Renders chat messages with a model's own Jinja template, in a sandbox."""

from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from contract.errors import InvalidModelError, InvalidRequestError
from model_store.template_sandbox import TemplateSandbox

#: What the sandbox raises, and what an expression of a template may raise inside of it.
_FAILURES = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


class ChatTemplate:
    """A compiled chat template with the environment that Hugging Face templates expect.

    Raises:
        InvalidModelError: the template is not valid Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self._special_tokens = dict(special_tokens)
        try:
            self._template = TemplateSandbox().from_string(source)
        except _FAILURES as error:
            raise InvalidModelError(f"the chat template is not valid: {error}") from error

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt that ends where the assistant begins to speak.

        Raises:
            InvalidRequestError: the template refuses these messages (an unknown role, say), or
                does not end within its steps.
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=True,
                tools=None,
                **self._special_tokens,
            )
        except _FAILURES as error:
            raise InvalidRequestError(
                f"the model's chat template refuses these messages: {error}"
            ) from error
