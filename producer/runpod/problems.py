"""Errors as RunPod's clients read them."""

from http import HTTPStatus

from contract.errors import InvalidRequestError, MillraceError
from producer.dialect import Dialect, Refusal
from producer.problems import status_of
from producer.response_schemas import Sent


class RunPodError(Sent):
    """Why a call was not done."""

    error: str
    code: str


def _tell(refusal: Refusal) -> RunPodError:
    return RunPodError(error=refusal.detail, code=refusal.code)


def _status(error: type[MillraceError]) -> int:
    # What is wrong with a request is 400; there is no 422 for it here.
    return HTTPStatus.BAD_REQUEST if issubclass(error, InvalidRequestError) else status_of(error)


RUNPOD = Dialect(media_type="application/json", body=RunPodError, status=_status, tell=_tell)
