"""What the OpenAI calls accept: the harmless is taken, what is not supported refused by name."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, GetCoreSchemaHandler, Tag, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from producer.request_schemas import (
    MAX_SEED,
    MAX_TEXTS,
    Body,
    EmbedRequest,
    GenerateParameters,
    GenerateRequest,
    Message,
    MetadataKey,
    MetadataValue,
    ModelName,
    StopText,
    Text,
    Whole,
    kind_of_input,
)

_MOST_TOKENS = 131_072
_BY_KIND = Discriminator(kind_of_input)

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


class TextPart(Body):
    """A part of a message's content."""

    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    """One turn. ``developer`` is what ``system`` is called now."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[TextPart], Field(min_length=1, max_length=1024), Tag("<list>")],
        _BY_KIND,
    ]
    name: Ignored = None
    annotations: Ignored = None
    refusal: Annotated[Any, Only()] = None
    audio: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only()] = None

    def message(self) -> Message:
        """As the models' templates know it."""
        role = "system" if self.role == "developer" else self.role
        if isinstance(self.content, str):
            return Message(role=role, content=self.content)
        return Message(role=role, content="\n".join(part.text for part in self.content))


class StreamOptions(Body):
    """What a stream says beside the text."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = None


class ChatRequest(Body):
    """A chat to answer."""

    model: ModelName
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Whole, Field(ge=1)] | None = Field(
        default=None, description="As `max_tokens`, and goes before it."
    )
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: (
        Annotated[
            Annotated[StopText, Tag("<text>")]
            | Annotated[list[StopText], Field(max_length=4), Tag("<list>")],
            _BY_KIND,
        ]
        | None
    ) = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    user: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    n: Annotated[Any, Only(1)] = None
    logprobs: Annotated[Any, Only(False)] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    logit_bias: Annotated[Any, Only({})] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    modalities: Annotated[Any, Only(["text"])] = None
    tools: Annotated[Any, Only([])] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    parallel_tool_calls: Annotated[Any, Only(True, False)] = None
    functions: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    audio: Annotated[Any, Only()] = None
    prediction: Annotated[Any, Only()] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    verbosity: Annotated[Any, Only()] = None
    web_search_options: Annotated[Any, Only()] = None

    def generation(self) -> GenerateRequest:
        """The native request: an answer as long as the model's context allows, by default."""
        greedy = self.top_p == 0  # the smallest set of tokens is the best one
        temperature = 1.0 if self.temperature is None else self.temperature
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        parameters = GenerateParameters(
            max_tokens=min(
                self.max_completion_tokens or self.max_tokens or _MOST_TOKENS, _MOST_TOKENS
            ),
            temperature=0.0 if greedy else temperature,
            top_p=self.top_p or 1.0,
            seed=None if self.seed is None else self.seed & MAX_SEED,
            stop=stop or [],
        )
        return GenerateRequest(
            model=self.model,
            task="generate",
            input=[message.message() for message in self.messages],
            parameters=parameters,
            metadata=self.metadata or {},
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class EmbeddingsRequest(Body):
    """Texts to embed."""

    model: ModelName
    input: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), Tag("<list>")],
        _BY_KIND,
    ]
    encoding_format: Literal["float", "base64"] | None = None
    user: Ignored = None
    dimensions: Annotated[Any, Only()] = None

    def embedding(self) -> EmbedRequest:
        """The native request."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return EmbedRequest(model=self.model, task="embed", input=texts)
