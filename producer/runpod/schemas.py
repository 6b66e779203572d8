"""What the verbs take and send."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from contract.job import Job, JobState
from producer.openai.fields import Only, Stop
from producer.request_schemas import (
    MAX_TEXTS,
    WEEK_S,
    WHOLE,
    Body,
    EmbedRequest,
    GenerateParameters,
    GenerateRequest,
    Message,
    Number,
    Query,
    Text,
)
from producer.response_schemas import Sent

Status = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]

STATUS: dict[JobState, Status] = {
    JobState.QUEUED: "IN_QUEUE",
    JobState.IN_PROGRESS: "IN_PROGRESS",
    JobState.COMPLETED: "COMPLETED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
    JobState.EXPIRED: "TIMED_OUT",
}
_LOW_PRIORITY = 9


class SamplingParams(GenerateParameters):
    """As the native parameters; a single ``stop`` may be a string."""

    stop: Stop = Field(default=[])  # type: ignore[assignment]

    @property
    def native(self) -> GenerateParameters:
        """The native ones."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return GenerateParameters(**{**self.model_dump(), "stop": stop})


class PromptInput(Body):
    """A text to continue, as it is or as a message of the user."""

    prompt: Text
    apply_chat_template: bool = False
    sampling_params: SamplingParams = Field(default_factory=SamplingParams)

    def native(self, **about: Any) -> GenerateRequest:
        """The native request."""
        return GenerateRequest(
            task="generate",
            input=self.prompt,
            template=self.apply_chat_template,
            parameters=self.sampling_params.native,
            **about,
        )


class MessagesInput(Body):
    """A chat to answer."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    sampling_params: SamplingParams = Field(default_factory=SamplingParams)

    def native(self, **about: Any) -> GenerateRequest:
        """The native request."""
        return GenerateRequest(
            task="generate",
            input=self.messages,
            parameters=self.sampling_params.native,
            **about,
        )


class TextInput(Body):
    """A text to embed."""

    text: Text

    def native(self, **about: Any) -> EmbedRequest:
        """The native request."""
        return EmbedRequest(task="embed", input=self.text, **about)


class TextsInput(Body):
    """Texts to embed."""

    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]

    def native(self, **about: Any) -> EmbedRequest:
        """The native request."""
        return EmbedRequest(task="embed", input=self.texts, **about)


def _kind(value: Any) -> str:
    names = value if isinstance(value, dict) else ()
    return next(
        (f"<{name}>" for name in ("messages", "text", "texts") if name in names), "<prompt>"
    )


RunInput = Annotated[
    Annotated[PromptInput, Tag("<prompt>")]
    | Annotated[MessagesInput, Tag("<messages>")]
    | Annotated[TextInput, Tag("<text>")]
    | Annotated[TextsInput, Tag("<texts>")],
    Discriminator(_kind),
]


class Policy(Body):
    """How long it may take, in ms, and how urgent it is."""

    ttl: Annotated[int, Field(ge=1000, le=WEEK_S * 1000), WHOLE] | None = None
    execution_timeout: Annotated[int, Field(ge=1000, le=WEEK_S * 1000), WHOLE] | None = Field(
        default=None, alias="executionTimeout", description="As `ttl`: the lesser of both counts."
    )
    low_priority: bool = Field(default=False, alias="lowPriority")


class RunRequest(Body):
    """A job."""

    input: RunInput
    policy: Policy | None = None
    webhook: Annotated[Any, Only()] = None
    s3Config: Annotated[Any, Only()] = None  # noqa: N815

    def native(self, model: str) -> GenerateRequest | EmbedRequest:
        """The native request."""
        policy = self.policy or Policy()
        times = [each for each in (policy.ttl, policy.execution_timeout) if each is not None]
        about: dict[str, Any] = {
            "model": model,
            "priority": _LOW_PRIORITY if policy.low_priority else 5,
            "deadline_s": min(times) / 1000 if times else None,
        }
        return self.input.native(**about)


class RunsyncQuery(Query):
    """How long to hold the line."""

    wait: Annotated[int, Field(ge=1000, le=300_000), Number] = Field(
        default=60_000, description="In ms; a minute at most is waited."
    )


class Run(Sent):
    """A job as it is at one moment; times in ms."""

    id: str
    status: Status
    delayTime: int | None = None  # noqa: N815
    executionTime: int | None = None  # noqa: N815
    workerId: str | None = None  # noqa: N815
    output: Any = None
    error: str | None = None


class StreamPart(Sent):
    """A piece of the output."""

    output: str


class RunStream(Sent):
    """What has come since the last call."""

    status: Status
    stream: list[StreamPart]


class JobCounts(Sent):
    """Jobs of a model now; those that have ended, of all models since the store began."""

    completed: int
    failed: int
    inProgress: int  # noqa: N815
    inQueue: int  # noqa: N815
    retried: int


class WorkerCounts(Sent):
    """Workers of a model."""

    idle: int
    running: int
    initializing: Literal[0] = 0
    throttled: Literal[0] = 0


class EndpointHealth(Sent):
    """How a model is served."""

    jobs: JobCounts
    workers: WorkerCounts


def run_of(job: Job) -> Run:
    """A job as it is sent."""
    started, ended = job.started_ms, job.finished_ms
    return Run(
        id=job.id,
        status=STATUS[job.state],
        delayTime=None if started is None else started - job.created_ms,
        executionTime=None if started is None or ended is None else ended - started,
        workerId=job.worker,
        output=job.output,
        error=str(job.error.get("message")) if job.error else None,
    )
