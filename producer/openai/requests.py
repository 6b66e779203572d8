"""What the OpenAI calls accept: the harmless is taken, what is not supported refused by name."""

from typing import Annotated, Any, Literal

from pydantic import Field, Tag

from producer.openai.fields import (
    BY_KIND,
    MOST_CHOICES,
    MOST_TOKENS,
    Choices,
    Ignored,
    Length,
    Only,
    ResponseFormat,
    Seed,
    Stop,
    StreamOptions,
    message_of,
    sampling,
)
from producer.request_schemas import (
    MAX_TEXTS,
    Body,
    EmbedRequest,
    GenerateParameters,
    GenerateRequest,
    Message,
    MetadataKey,
    MetadataValue,
    ModelName,
    Text,
    Tokens,
    kind_of_input,
)


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
        BY_KIND,
    ]
    name: Ignored = None
    annotations: Ignored = None
    refusal: Annotated[Any, Only()] = None
    audio: Annotated[Any, Only()] = None
    tool_calls: Annotated[Any, Only([])] = None
    function_call: Annotated[Any, Only()] = None

    def message(self) -> Message:
        """As the models' templates know it."""
        return message_of(self.role, self.content)


class SampledRequest(Body):
    """What chats and completions have in common."""

    n: Choices | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def _sampling(self, number: int) -> dict[str, Any]:
        return sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
            number=number,
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(SampledRequest):
    """A chat to answer."""

    model: ModelName
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1024)]
    max_tokens: Length | None = None
    max_completion_tokens: Length | None = Field(
        default=None, description="As `max_tokens`, and goes before it."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    user: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    response_format: ResponseFormat | None = None
    logprobs: Annotated[Any, Only(False)] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    logit_bias: Annotated[Any, Only({})] = None
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

    def generations(self) -> list[GenerateRequest]:
        """The native request of each answer: as long as the model's context allows, by default."""
        schema = None if self.response_format is None else self.response_format.schema_of_answer
        found = []
        for number in range(self.n or 1):
            parameters = GenerateParameters(
                max_tokens=min(
                    self.max_completion_tokens or self.max_tokens or MOST_TOKENS, MOST_TOKENS
                ),
                json_schema=schema,
                **self._sampling(number),
            )
            found.append(
                GenerateRequest(
                    model=self.model,
                    task="generate",
                    input=[message.message() for message in self.messages],
                    parameters=parameters,
                    metadata=self.metadata or {},
                )
            )
        return found


class CompletionRequest(SampledRequest):
    """Texts to continue, without a chat template."""

    model: ModelName
    prompt: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[Text], Field(min_length=1, max_length=MOST_CHOICES), Tag("<list>")]
        | Annotated[Tokens, Tag("<tokens>")]
        | Annotated[
            list[Tokens], Field(min_length=1, max_length=MOST_CHOICES), Tag("<token lists>")
        ],
        BY_KIND,
    ]
    max_tokens: Length | None = Field(default=None, description="16 if null.")
    user: Ignored = None
    best_of: Annotated[Any, Only(1)] = None
    echo: Annotated[Any, Only(False)] = None
    logprobs: Annotated[Any, Only()] = None
    suffix: Annotated[Any, Only()] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    logit_bias: Annotated[Any, Only({})] = None

    @property
    def prompts(self) -> list[Any]:
        """Each text, or token ids, to continue."""
        one = kind_of_input(self.prompt) in ("<text>", "<tokens>")
        return [self.prompt] if one else list(self.prompt)

    def generations(self) -> list[GenerateRequest]:
        """The native request of each answer: ``n`` for the first prompt, then for the next."""
        return [
            GenerateRequest(
                model=self.model,
                task="generate",
                input=prompt,
                template=False,
                parameters=GenerateParameters(
                    max_tokens=min(self.max_tokens or 16, MOST_TOKENS), **self._sampling(number)
                ),
            )
            for prompt in self.prompts
            for number in range(self.n or 1)
        ]


class EmbeddingsRequest(Body):
    """Texts to embed, also as token ids."""

    model: ModelName
    input: Annotated[
        Annotated[Text, Tag("<text>")]
        | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), Tag("<list>")]
        | Annotated[Tokens, Tag("<tokens>")]
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_TEXTS), Tag("<token lists>")],
        BY_KIND,
    ]
    encoding_format: Literal["float", "base64"] | None = None
    user: Ignored = None
    dimensions: Annotated[Any, Only()] = None

    def embedding(self) -> EmbedRequest:
        """The native request."""
        one = kind_of_input(self.input) in ("<text>", "<tokens>")
        texts: Any = [self.input] if one else self.input
        return EmbedRequest(model=self.model, task="embed", input=texts)
