"""The one error tree.

Every class has a stable ``code`` (a client may switch on it) and says whether the same
request can succeed later (``retryable``). Foreign exceptions are translated into this tree
where the foreign library is imported. How a code becomes an HTTP status is the producer's
business.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class MillraceError(Exception):
    """The root. ``detail`` says what was wrong, where, and what to do about it."""

    code = "internal_error"
    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class SettingsError(MillraceError):
    """One or more settings are wrong; the detail names each."""

    code = "invalid_settings"


class MissingDependencyError(MillraceError):
    """An optional part of the installation is needed and absent; the detail says how to get it."""

    code = "missing_dependency"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One wrong place in a request: a JSON pointer (RFC 6901) and what is wrong there."""

    pointer: str
    detail: str


class InvalidRequestError(MillraceError):
    """The request does not say something that can be done."""

    code = "invalid_request"

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


class MalformedBodyError(InvalidRequestError):
    """The body is not UTF-8 encoded JSON."""

    code = "malformed_body"


class BodyTooLargeError(MillraceError):
    """The body has more bytes than MILLRACE_MAX_BODY_BYTES."""

    code = "body_too_large"


class EmptyPromptError(InvalidRequestError):
    """The prompt has no text."""

    code = "empty_prompt"


class PromptTooLongError(InvalidRequestError):
    """The prompt has more tokens than the model can take."""

    code = "prompt_too_long"


class IdempotencyConflictError(MillraceError):
    """The Idempotency-Key was used before, with another body."""

    code = "idempotency_conflict"


class AuthenticationError(MillraceError):
    """The server wants credentials that were not given or are not right."""

    code = "authentication_failed"


class UnknownJobError(MillraceError):
    """No job has this id."""

    code = "unknown_job"


class JobGoneError(MillraceError):
    """The job existed; its record has passed its retention time."""

    code = "job_gone"


class NoResultError(MillraceError):
    """The job ended without a result (failed, cancelled or expired) and never will have one."""

    code = "no_result"


class NotDeadError(MillraceError):
    """Only a dead letter can be redriven."""

    code = "not_dead"


class QueueFullError(MillraceError):
    """The model's backlog is at its limit."""

    code = "queue_full"
    retryable = True

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NoWorkerError(MillraceError):
    """No worker for the model is alive, and MILLRACE_REQUIRE_WORKER asks for one."""

    code = "no_worker"
    retryable = True


class StoreUnavailableError(MillraceError):
    """Redis did not answer, or refused the write.

    ``silent``: nothing came back, so Redis may be at work for others all the same.
    """

    code = "store_unavailable"
    retryable = True

    def __init__(self, detail: str, *, silent: bool = False) -> None:
        super().__init__(detail)
        self.silent = silent


class StoreReplacedError(StoreUnavailableError):
    """Redis is not the store that this process knows: its jobs are gone. An operator must act."""

    code = "store_replaced"


class NotReplicatedError(StoreUnavailableError):
    """A submit or cancel is done, but too few replicas know: repeated, it waits for them again."""

    code = "not_replicated"


class PoisonedJobError(MillraceError):
    """The job was alone on its worker, twice, when the worker was lost."""

    code = "poisoned"


class DeadlineExceededError(MillraceError):
    """The job's deadline passed before it was done."""

    code = "deadline_exceeded"


class UnknownFileError(MillraceError):
    """No file has this id."""

    code = "unknown_file"


class UnknownResponseError(MillraceError):
    """No response has this id, or it was not stored."""

    code = "unknown_response"


class UnknownBatchError(MillraceError):
    """No batch has this id."""

    code = "unknown_batch"


class BatchEndedError(MillraceError):
    """The batch has ended, or all of its lines have: there is nothing to cancel."""

    code = "batch_ended"


class StorageUnavailableError(MillraceError):
    """The storage of files did not do what was asked: no room, no permission, no connection."""

    code = "storage_unavailable"
    retryable = True


class UnknownModelError(MillraceError):
    """No model has this name, version or alias; the detail lists the known ones."""

    code = "unknown_model"


class InvalidModelError(MillraceError):
    """A model, or a version's files, are not what they must be."""

    code = "invalid_model"


class ModelTamperedError(InvalidModelError):
    """A file of a version is missing or is not the one that was imported; the detail names it."""

    code = "model_tampered"


class ModelImportError(MillraceError):
    """A source could not be turned into a version that passes validation."""

    code = "model_import_failed"


class ModelInUseError(MillraceError):
    """The version is the target of an alias, so it cannot be removed."""

    code = "model_in_use"


class EngineError(MillraceError):
    """The engine could not run a request; another attempt may."""

    code = "engine_error"
    retryable = True


class EngineFailedError(EngineError):
    """The engine is beyond use: its process must be replaced."""

    code = "engine_failed"


class RunCancelledError(MillraceError):
    """The run was cancelled before it ended."""

    code = "cancelled"


class DeviceUnavailableError(MillraceError):
    """The device that was asked for is not there, or the runtime fell back to another."""

    code = "device_unavailable"


class UnfitWorkerError(MillraceError):
    """A golden prompt was not answered as recorded, so the worker must not serve."""

    code = "unfit_worker"


class ServerUnreachableError(MillraceError):
    """No Millrace answers at the address; the detail says how to start one or name another."""

    code = "unreachable"
    retryable = True


class UnexpectedAnswerError(MillraceError):
    """What answered is not Millrace, or not one that this client understands."""

    code = "unexpected_answer"


class JobFailedError(MillraceError):
    """The job failed for a reason that has no class of its own here."""

    code = "job_failed"


class JobUnfinishedError(MillraceError):
    """The result was asked of a job that has not ended."""

    code = "job_unfinished"
    retryable = True


class WaitTimeoutError(MillraceError):
    """The job was not done within the time that the caller gave; it goes on."""

    code = "wait_timeout"
    retryable = True


class StreamDivergedError(MillraceError):
    """A repeated attempt gave other text than what the caller was already given."""

    code = "stream_diverged"
