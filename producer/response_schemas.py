"""What the front sends: one pydantic model per JSON object. Times are seconds since the epoch."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from contract.job import JobState, WaitingReason


class Sent(BaseModel):
    """A part of a response."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Usage(Sent):
    """Tokens that a job read and wrote."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = Field(default=0, description="Prompt tokens found in the prefix cache.")


class GeneratedText(Sent):
    """The output of `generate`."""

    text: str
    finish_reason: Literal["stop", "length"]


class Embedding(Sent):
    """The output of `embed` for one string: a unit vector."""

    embedding: list[float]


class Embeddings(Sent):
    """The output of `embed` for a list: one unit vector for each string, in order."""

    embeddings: list[list[float]]


Output = GeneratedText | Embedding | Embeddings


class Progress(Sent):
    """How far a running job is."""

    completion_tokens: int


class JobError(Sent):
    """Why a job has no result."""

    code: str
    message: str
    retryable: bool = False


class JobView(Sent):
    """A job as it is now."""

    id: str
    object: Literal["job"] = "job"
    status: JobState
    model: str
    model_version: int
    task: str
    priority: int
    created_at: float
    started_at: float | None
    completed_at: float | None = Field(description="When the job reached its final status.")
    expires_at: float | None = Field(description="When the record of a finished job goes away.")
    deadline_at: float | None
    queue_position: int | None = Field(description="1 for the job that is taken next.")
    eta_s: float | None = Field(description="Expected seconds to the end; null when unknown.")
    waiting_reason: WaitingReason | None
    attempts: int
    progress: Progress | None
    usage: Usage | None
    output: Output | None = Field(description="Null in lists; read the job or its result.")
    error: JobError | None
    result_url: str
    events_url: str
    worker: str | None
    cached: bool = Field(description="Whether another run of the same request gave the answer.")
    dead: bool = Field(description="Whether the job is a dead letter, which can be redriven.")
    metadata: dict[str, str]


class ResultView(Sent):
    """What a completed job gave."""

    id: str
    object: Literal["result"] = "result"
    model: str
    model_version: int
    task: str
    completed_at: float | None
    output: Output
    usage: Usage | None
    cached: bool
    metadata: dict[str, str]


class JobList(Sent):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[JobView]
    has_more: bool


class ModelView(Sent):
    """One model that jobs can name, with the version that its bare name means."""

    id: str
    object: Literal["model"] = "model"
    version: int
    versions: list[int]
    aliases: dict[str, int]
    task: str
    form: str
    digest: str
    context_length: int
    dimensions: int | None
    created_at: str
    workers: int = Field(description="Live workers that serve this version.")


class ModelList(Sent):
    """Every model in production."""

    object: Literal["list"] = "list"
    data: list[ModelView]
    has_more: bool = False


class WorkerModel(Sent):
    """A model version that a worker serves."""

    model: str
    version: int
    digest: str
    task: str
    queue: str
    slots: int


class WorkerView(Sent):
    """One live worker."""

    id: str
    object: Literal["worker"] = "worker"
    host: str
    pid: int
    device: str
    models: list[WorkerModel]
    slots: int
    running: int
    state: str
    started_at: float
    last_seen: float


class WorkerList(Sent):
    """Every live worker."""

    object: Literal["list"] = "list"
    data: list[WorkerView]
    has_more: bool = False


class QueueView(Sent):
    """The queue of one model version."""

    id: str
    object: Literal["queue"] = "queue"
    model: str
    model_version: int
    digest: str
    pending: int
    following: int = Field(description="Jobs that wait for an identical one that runs.")
    retrying: int = Field(description="Jobs that wait for their next attempt.")
    running: int
    hints: int
    workers: int
    slots: int
    drain_rate: float | None = Field(description="Finished jobs per second over the last minute.")


class QueueList(Sent):
    """Every queue that has had a job."""

    object: Literal["list"] = "list"
    data: list[QueueView]
    has_more: bool = False


class Health(Sent):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(Sent):
    """Whether a job that is sent now can be run, and what is missing if not."""

    status: Literal["ready", "unavailable"]
    missing: list[Annotated[str, Field(examples=["redis", "jobs", "worker"])]]


class StreamEvent(Sent):
    """One server-sent event of a job."""

    id: str = Field(default="", description="Where to go on; the last event may be without.")
    event: Literal["status", "token", "restarted", "done"]
    data: str = Field(
        description="JSON with the `attempt` and: of `token` text, offset and completion_tokens;"
        " of `status` and `done` status; of `restarted` cause.",
        json_schema_extra={"contentMediaType": "application/json"},
    )


class Document(Sent):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
