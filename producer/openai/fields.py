"""Fields that several OpenAI calls take, and what they mean to a job."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import (
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from producer import json_schemas
from producer.request_schemas import MAX_SEED, WHOLE, Body, Message, StopText, kind_of_input

MOST_TOKENS = 131_072
#: Answers that one call may ask for; each is a job.
MOST_CHOICES = 64
BY_KIND = Discriminator(kind_of_input)

Ignored = Annotated[Any, WithJsonSchema({"description": "Accepted, and of no effect here."})]
"""A field that changes no answer."""


class Only:
    """Of a field that may say nothing but what holds anyway: ``neutral``, or null."""

    def __init__(self, *neutral: Any) -> None:
        self._neutral = (*neutral, None)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, _: CoreSchema, __: Any) -> dict[str, Any]:
        return {"enum": list(self._neutral)}

    def _check(self, value: Any) -> Any:
        # In Python, unlike in JSON, False is 0.
        if not any(
            value == each and isinstance(value, bool) == isinstance(each, bool)
            for each in self._neutral
        ):
            raise ValueError("is not supported by this server: leave it out")
        return value


class JsonSchema(Body):
    """A schema that the answer holds, and what it is called."""

    name: Annotated[str, Field(max_length=64)] | None = None
    description: str | None = None
    schema_: Annotated[json_schemas.JsonSchema, Field(alias="schema")]
    strict: Ignored = None


class ResponseFormat(Body):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        described = handler.resolve_ref_schema(handler(schema))
        plain, bound = dict(described), dict(described)
        fields = described["properties"]
        plain["properties"] = {
            "type": {"enum": ["text", "json_object"]}, "json_schema": {"type": "null"},
        }  # fmt: skip
        bound["properties"] = {
            "type": {"const": "json_schema"}, "json_schema": fields["json_schema"]["anyOf"][0],
        }  # fmt: skip
        bound["required"] = ["type", "json_schema"]
        return {"anyOf": [plain, bound]}

    @model_validator(mode="after")
    def _with_its_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with the type json_schema")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The schema that the engine is given; None for free text."""
        if self.json_schema is not None:
            return self.json_schema.schema_
        return {"type": "object"} if self.type == "json_object" else None


def sampling(
    *,
    temperature: float | None,
    top_p: float | None,
    seed: int | None = None,
    stop: str | list[str] | None = None,
    number: int = 0,
) -> dict[str, Any]:
    """The native parameters of the ``number``-th answer; with a seed, each has one of its own."""
    greedy = top_p == 0  # the smallest set of tokens is the best one
    return {
        "temperature": 0.0 if greedy else 1.0 if temperature is None else temperature,
        "top_p": top_p or 1.0,
        "seed": None if seed is None else (seed + number) & MAX_SEED,
        "stop": [stop] if isinstance(stop, str) else stop or [],
    }


class StreamOptions(Body):
    """What a stream says beside the text."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


Choices = Annotated[int, Field(ge=1, le=MOST_CHOICES), WHOLE]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1), WHOLE]
Length = Annotated[int, Field(ge=1), WHOLE]
Stop = Annotated[
    Annotated[StopText, Tag("<text>")]
    | Annotated[list[StopText], Field(max_length=4), Tag("<list>")],
    BY_KIND,
]


class HasText(Protocol):
    """A part of a message's content."""

    text: str


def message_of(
    role: Literal["system", "developer", "user", "assistant"], content: str | Sequence[HasText]
) -> Message:
    """A turn as the models' templates know it; ``developer`` is what ``system`` is called now."""
    text = content if isinstance(content, str) else "\n".join(part.text for part in content)
    return Message(role="system" if role == "developer" else role, content=text)
