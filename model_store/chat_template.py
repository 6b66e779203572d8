"""Renders chat messages with a model's own Jinja template, in a sandbox."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from contract.errors import InvalidModelError, InvalidRequestError


class ChatTemplate:
    """A compiled chat template with the environment that Hugging Face templates expect.

    Raises:
        InvalidModelError: the template is not valid Jinja.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise InvalidModelError(f"the chat template is not valid: {error}") from error

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt that ends where the assistant begins to speak.

        Raises:
            InvalidRequestError: the template refuses these messages (an unknown role, say).
        """
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=True,
                tools=None,
                **self._special_tokens,
            )
        except (jinja2.TemplateError, TypeError, KeyError, AttributeError) as error:
            raise InvalidRequestError(
                f"the model's chat template refuses these messages: {error}"
            ) from error


def _to_json(value: Any, **options: Any) -> str:
    # The filter that comes with Jinja escapes for HTML, which would change the prompt.
    return json.dumps(value, ensure_ascii=False, indent=options.get("indent"))


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
