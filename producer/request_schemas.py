"""What the front accepts: one strict pydantic model per body, query string and set of headers."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from contract.job import JobState
from producer.json_schemas import JsonSchema

MAX_WAIT_S = 60
WEEK_S = 7 * 24 * 3600
MAX_TEXTS = 256
#: JavaScript and most JSON readers keep integers up to this exact; engines take 31 bits.
MAX_SEED = 2**31 - 1

_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,32})?([eE][+-]?\d{1,3})?")

_BLANK = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000\ufeff"
_TEXT = rf"^[^\x00]*[^{_BLANK}][^\x00]*$"
_NO_NUL = r"^[^\x00]*$"
VISIBLE = r"^[\x21-\x7e]{1,255}$"
_JOB_ID = r"^[A-Za-z0-9_-]{1,64}$"
WINDOW = r"^([1-9][0-9]{0,5}s|[1-9][0-9]{0,3}m|([1-9][0-9]?|[1-6][0-9]{2})h|([1-9]|[12][0-9]|30)d)$"
_EVENT_ID = r"^[0-9]{1,16}-[0-9]{1,16}$"
_EVENT_ID_OR_NONE = r"^([0-9]{1,16}-[0-9]{1,16})?$"

#: What to say of a value that does not have the form of a pattern.
PATTERN_WORDS = {
    _TEXT: "must have some visible text, and no NUL character",
    _NO_NUL: "must have no NUL character",
    WINDOW: "must be a time such as 24h, in s, m, h or d, of at most 30d",
    VISIBLE: "must be 1 to 255 visible ASCII characters",
    _JOB_ID: "must be the id of a job",
    _EVENT_ID: "must be the id of an event, such as 1700000000000-0",
    _EVENT_ID_OR_NONE: "must be the id of an event, such as 1700000000000-0",
}

Text = Annotated[str, Field(pattern=_TEXT)]


def _whole(value: Any) -> Any:
    # In JSON, 8.0 is the integer 8.
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, WHOLE]


class Body(BaseModel):
    """A JSON body: nothing is converted, nothing unknown is taken."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


class Message(Body):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text


StopText = Annotated[str, Field(min_length=1, max_length=64, pattern=_NO_NUL)]


class GenerateParameters(Body):
    """How to generate. Temperature 0 is greedy and repeatable, and so is any seed."""

    max_tokens: Whole = Field(default=256, ge=1, le=131_072)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: Whole = Field(default=0, ge=0, le=100_000, description="0 considers every token.")
    seed: Annotated[int, Field(ge=0, le=MAX_SEED), WHOLE] | None = None
    stop: list[StopText] = Field(
        default=[], max_length=4, description="The answer ends before the first of these."
    )
    json_schema: JsonSchema | None = Field(
        default=None,
        description="A JSON Schema (an object) that the answer is made to hold; {} is any JSON.",
    )


class EmbedParameters(Body):
    """Embedding has no parameters."""


#: What :func:`kind_of_input` says; they are no parts of a pointer.
INPUT_KINDS = frozenset(
    {"<text>", "<list>", "<tokens>", "<token lists>", "<prompt>", "<messages>", "<texts>"}
)


def kind_of_input(value: Any) -> str:
    """The tag of an input: a text, token ids, or a list of something else."""
    if isinstance(value, str):
        return "<text>"
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, int | float):
        return "<tokens>"
    return "<token lists>" if isinstance(first, list) else "<list>"


#: The tags tell text from list, so that an error points into the one that was meant; they are
#: taken out of its pointer again.
_BY_KIND = Discriminator(kind_of_input)
Tokens = Annotated[
    list[Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE]],
    Field(min_length=1, max_length=131_072),
]
GenerateInput = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[list[Message], Field(min_length=1, max_length=1024), Tag("<list>")],
    _BY_KIND,
]
EmbedInput = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[Tokens, Tag("<tokens>")]
    | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_TEXTS), Tag("<token lists>")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), Tag("<list>")],
    _BY_KIND,
]

MetadataKey = Annotated[str, Field(min_length=1, max_length=64, pattern=_NO_NUL)]
MetadataValue = Annotated[str, Field(max_length=512, pattern=_NO_NUL)]


ModelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=_NO_NUL,
        description="NAME (its production version), NAME@ALIAS or NAME:VERSION.",
    ),
]


class JobRequest(Body):
    """What every job says."""

    model: ModelName
    priority: Whole = Field(default=5, ge=0, le=9, description="0 is the most urgent.")
    deadline_s: float | None = Field(
        default=None, gt=0, le=WEEK_S, description="The job expires when it is not done by then."
    )
    metadata: dict[MetadataKey, MetadataValue] = Field(default={}, max_length=16)
    cache: bool = Field(
        default=True, description="Whether an equal request's answer may be shared."
    )


class GenerateRequest(JobRequest):
    """A prompt, chat messages, or token ids."""

    task: Literal["generate"] | None = Field(
        default=None, description="Null takes the model's own."
    )
    input: GenerateInput
    template: bool = Field(
        default=True,
        description="False gives a string to the model as it is, without its chat template;"
        " messages always need it.",
    )
    parameters: GenerateParameters = Field(default_factory=GenerateParameters)


class EmbedRequest(JobRequest):
    """One text, or up to 256, to embed; also as token ids."""

    task: Literal["embed"] | None = Field(default=None, description="Null takes the model's own.")
    input: EmbedInput
    parameters: EmbedParameters = Field(default_factory=EmbedParameters)


class Query(BaseModel):
    """A query string: values are text, so numbers are read from it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, protected_namespaces=()
    )


def _number(value: Any) -> Any:
    # pydantic alone would also take " 5", "5_0" and "inf".
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("is not a number")
    return value


Number = BeforeValidator(_number)


class NoQuery(Query):
    """No parameters."""


class WaitQuery(Query):
    """Long polling."""

    wait: Annotated[float | None, Number] = Field(
        default=None,
        ge=0,
        le=MAX_WAIT_S,
        allow_inf_nan=False,
        description="Seconds to wait for the job to finish before answering.",
    )


JobId = Annotated[str, Field(pattern=_JOB_ID)]
EventId = Annotated[str, Field(pattern=_EVENT_ID)]


class PageQuery(Query):
    """Which part of a list."""

    limit: Annotated[int, Number] = Field(default=20, ge=1, le=100)
    after: JobId | None = Field(default=None, description="The last id of the page before.")


class JobsQuery(PageQuery):
    """Which jobs."""

    status: JobState | None = None
    model: str | None = Field(
        default=None, min_length=1, max_length=200, description="A model's name."
    )


class EventsQuery(Query):
    """Where to go on."""

    after: EventId | None = Field(default=None, description="As the header Last-Event-ID.")


class Headers(BaseModel):
    """The headers of a request that mean something to an operation."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class NoHeaders(Headers):
    """None."""


class PreferHeaders(Headers):
    """RFC 7240."""

    prefer: str | None = Field(
        default=None, alias="Prefer", description="`wait=N` waits up to N seconds (at most 60)."
    )


class SubmitHeaders(PreferHeaders):
    """Headers of a submit."""

    idempotency_key: str | None = Field(
        default=None,
        alias="Idempotency-Key",
        pattern=VISIBLE,
        description="The same key with the same body gives the same job, for 24 hours.",
    )


class EventsHeaders(Headers):
    """Headers of a stream."""

    last_event_id: Annotated[str, Field(pattern=_EVENT_ID_OR_NONE)] | None = Field(
        default=None, alias="Last-Event-ID", description="Go on behind this event."
    )
