"""What the calls for responses take."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Tag, model_validator

from contract.errors import FieldError, InvalidRequestError
from producer.json_schemas import JsonSchema
from producer.openai.fields import (
    BY_KIND,
    MOST_TOKENS,
    Ignored,
    Length,
    Only,
    message_of,
    sampling,
)
from producer.request_schemas import (
    Body,
    GenerateParameters,
    GenerateRequest,
    Message,
    MetadataKey,
    MetadataValue,
    ModelName,
    Number,
    Query,
    Text,
)

MOST_MESSAGES = 1024


class InputText(Body):
    """A part of a message."""

    type: Literal["input_text", "output_text"]
    text: Text
    annotations: Ignored = None
    logprobs: Ignored = None


class InputMessage(Body):
    """One turn of what came before."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[InputText], Field(min_length=1, max_length=1024), Tag("<list>")],
        BY_KIND,
    ]
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None

    def message(self) -> Message:
        """As the models' templates know it."""
        return message_of(self.role, self.content)


class TextFormat(Body):
    """Free text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Body):
    """JSON that holds a schema."""

    type: Literal["json_schema"]
    name: Annotated[str, Field(max_length=64)]
    schema_: Annotated[JsonSchema, Field(alias="schema")]
    description: str | None = None
    strict: Ignored = None


class TextOptions(Body):
    """The form of the answer."""

    format: TextFormat | SchemaFormat | None = None
    verbosity: Annotated[Any, Only("medium")] = None


class ResponseStreamOptions(Body):
    """Of no effect here."""

    include_obfuscation: Ignored = None


class ResponseRequest(Body):
    """A question to answer, at once or in the background."""

    model: ModelName
    input: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[InputMessage], Field(min_length=1, max_length=1024), Tag("<list>")],
        BY_KIND,
    ]
    instructions: Text | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    max_output_tokens: Length | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    text: TextOptions | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    user: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    max_tool_calls: Ignored = None
    parallel_tool_calls: Annotated[Any, Only(True, False)] = None
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    include: Annotated[Any, Only([])] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    truncation: Annotated[Any, Only("disabled")] = None
    reasoning: Annotated[Any, Only({}, {"effort": None}, {"effort": "none"})] = None
    conversation: Annotated[Any, Only()] = None
    prompt: Annotated[Any, Only()] = None

    @property
    def messages(self) -> list[Message]:
        """What this request says, without what came before."""
        if isinstance(self.input, str):
            return [Message(role="user", content=self.input)]
        return [each.message() for each in self.input]

    def generation(self, before: Sequence[Mapping[str, str]]) -> GenerateRequest:
        """The native request, behind the messages of a conversation."""
        system = [] if self.instructions is None else [_system(self.instructions)]
        # A model may end at once; no template has a place for an answer without a word.
        said = [Message.model_validate(each) for each in before if each["content"].strip()]
        if len(system) + len(said) + len(self.messages) > MOST_MESSAGES:
            detail = f"must have, with all before it, at most {MOST_MESSAGES} messages"
            wrong = FieldError(pointer="/input", detail=detail)
            raise InvalidRequestError("the conversation has too many messages", [wrong])
        return GenerateRequest(
            model=self.model,
            task="generate",
            input=[*system, *said, *self.messages],
            parameters=GenerateParameters(
                max_tokens=min(self.max_output_tokens or MOST_TOKENS, MOST_TOKENS),
                json_schema=self.schema_of_answer,
                **sampling(temperature=self.temperature, top_p=self.top_p),
            ),
            metadata=self.metadata or {},
        )

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The schema that the engine is given; None for free text."""
        wanted = self.text.format if self.text else None
        if isinstance(wanted, SchemaFormat):
            return wanted.schema_
        return {"type": "object"} if wanted and wanted.type == "json_object" else None

    def asked(self, before: Sequence[Mapping[str, str]]) -> Mapping[str, Any]:
        """What is kept of the request, and shown of it."""
        form: Any = {"type": "text"}
        if self.text and self.text.format:
            form = self.text.format.model_dump(by_alias=True, exclude_none=True)
        return {
            "background": bool(self.background),
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "previous_response_id": self.previous_response_id,
            "store": self.kept,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": {"format": form},
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "messages": [*before, *(each.model_dump() for each in self.messages)],
        }

    @property
    def kept(self) -> bool:
        """Whether the response can be read later."""
        return self.store is not False

    @model_validator(mode="after")
    def _kept_in_the_background(self) -> Self:
        if self.background and not self.kept:
            raise ValueError("background needs store: nobody could read the answer")
        return self


def _system(text: str) -> Message:
    return Message(role="system", content=text)


class ResponseQuery(Query):
    """How a response is read."""

    stream: Literal["true", "false"] | None = None
    starting_after: Annotated[int, Field(ge=0, le=2**31), Number] | None = Field(
        default=None, description="Of a stream, the events behind this number."
    )
    include_obfuscation: str | None = Field(default=None, description="Of no effect here.")
    include: str | None = Field(
        default=None, alias="include[]", description="Of no effect here: there is nothing to add."
    )


class InputItemsQuery(Query):
    """Which part of what was asked."""

    limit: Annotated[int, Number] = Field(default=20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = Field(default=None, min_length=1, max_length=64)
