"""/v1/responses: questions that are answered at once, or in the background."""

from collections.abc import Mapping
from typing import Any

from flask import Response, request

from contract import errors
from contract.errors import (
    FieldError,
    InvalidRequestError,
    UnknownJobError,
    UnknownResponseError,
)
from contract.job import Job, JobState
from producer.api import Answer, Api, BodyChoice, Reply
from producer.events import EVENT_STREAM
from producer.front import Front
from producer.openai.calls import (
    client_of,
    ending_with_its_client,
    follow,
    pieces_of,
    results_of,
    submit_one,
)
from producer.openai.chat import SUBMIT_ERRORS
from producer.openai.file_schemas import edge
from producer.openai.problems import OPENAI
from producer.openai.response_answers import (
    InputItem,
    InputItems,
    InputPart,
    ResponseDeleted,
    ResponseObject,
    id_of_response,
    job_id_of,
    response_object,
)
from producer.openai.response_events import response_events
from producer.openai.response_requests import InputItemsQuery, ResponseQuery, ResponseRequest
from producer.request_schemas import SubmitHeaders

PATH = "/v1/responses"
_READING = (UnknownResponseError, errors.JobGoneError, errors.StoreUnavailableError)


def add_responses(api: Api, front: Front) -> None:
    """Serve responses."""

    @api.operation(
        "POST",
        PATH,
        tag="openai",
        dialect=OPENAI,
        headers=SubmitHeaders,
        body=BodyChoice(models=(ResponseRequest,), choose=lambda _: ResponseRequest),
        replies=(
            Reply(
                status=200,
                meaning="The response; with `stream`, numbered server-sent events.",
                body=ResponseObject,
                streamed=True,
            ),
        ),
        errors=(UnknownResponseError, *SUBMIT_ERRORS),
    )
    def create_response(
        headers: SubmitHeaders, body: ResponseRequest, raw: Any
    ) -> Answer | Response:
        """Answer a question.

        With `background` it is answered whether anybody listens or not; `GET` tells how far it
        is. Otherwise a client that leaves before the end cancels it.
        """
        before = _conversation(front, body.previous_response_id)
        native = body.generation(before)
        submission = submit_one(front, native, raw=raw, idempotency_key=headers.idempotency_key)
        job, asked = submission.job, body.asked(before)
        gone = client_of(request.environ)
        if body.kept:
            with ending_with_its_client(front, submission):
                front.responses.put(id_of_response(job.id), asked)
        if body.stream:
            pieces = (
                follow(front, job, gone, replay=True)
                if body.background
                else pieces_of(front, submission, gone)
            )
            return _stream(job, asked, pieces)
        if not body.background:
            (job,) = results_of(front, [submission], gone)
            front.responses.ended(id_of_response(job.id))
        return Answer(body=response_object(job, asked))

    @api.operation(
        "GET",
        f"{PATH}/<response_id>",
        tag="openai",
        dialect=OPENAI,
        query=ResponseQuery,
        replies=(
            Reply(
                status=200,
                meaning="The response as it is now; with `stream`, its events from the first.",
                body=ResponseObject,
                streamed=True,
            ),
        ),
        errors=_READING,
    )
    def retrieve_response(response_id: str, query: ResponseQuery) -> Answer | Response:
        """Read a response, or follow it from behind an event."""
        job, asked = _find(front, response_id)
        if query.stream != "true":
            return Answer(body=response_object(job, asked))
        if request.method == "HEAD":
            return Response(content_type=EVENT_STREAM)
        pieces = follow(front, job, client_of(request.environ), replay=True)
        after = -1 if query.starting_after is None else query.starting_after
        return _stream(job, asked, pieces, after)

    @api.operation(
        "POST",
        f"{PATH}/<response_id>/cancel",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="As it is now.", body=ResponseObject),),
        errors=_READING,
    )
    def cancel_response(response_id: str) -> Answer:
        """Cancel a response in the background; one that has ended stays as it is."""
        _, asked = _find(front, response_id)
        return Answer(body=response_object(front.cancel(job_id_of(response_id)), asked))

    @api.operation(
        "DELETE",
        f"{PATH}/<response_id>",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The response is gone.", body=ResponseDeleted),),
        errors=_READING,
    )
    def delete_response(response_id: str) -> Answer:
        """Delete a response; one that runs is cancelled."""
        job, _ = _find(front, response_id)
        if not job.finished:
            front.cancel(job.id)
        front.store.forget([job.id])
        front.responses.drop(response_id)
        return Answer(body=ResponseDeleted(id=response_id))

    @api.operation(
        "GET",
        f"{PATH}/<response_id>/input_items",
        tag="openai",
        dialect=OPENAI,
        query=InputItemsQuery,
        replies=(Reply(status=200, meaning="A page of what was asked.", body=InputItems),),
        errors=_READING,
    )
    def list_input_items(response_id: str, query: InputItemsQuery) -> Answer:
        """List what a response was asked, with the conversation before it."""
        items = [
            _item(response_id, *each)
            for each in enumerate(front.responses.get(response_id)["messages"])
        ]
        if query.order == "desc":
            items.reverse()
        ids = [each.id for each in items]
        if query.after is not None and query.after not in ids:
            raise UnknownResponseError(f"no item has the id {query.after!r}, given as 'after'")
        first = 0 if query.after is None else ids.index(query.after) + 1
        page = items[first : first + query.limit]
        return Answer(
            body=InputItems(
                data=page,
                first_id=edge(page[:1]),
                last_id=edge(page[-1:]),
                has_more=first + len(page) < len(items),
            )
        )


def _find(front: Front, response_id: str) -> tuple[Job, Mapping[str, Any]]:
    asked = front.responses.get(response_id)
    try:
        job = front.store.get(job_id_of(response_id))
    except UnknownJobError:
        raise UnknownResponseError(f"no response has the id {response_id!r}") from None
    if job.finished:
        front.responses.ended(response_id)
    return job, asked


def _conversation(front: Front, previous: str | None) -> list[Mapping[str, str]]:
    """The messages up to a previous response, with its answer."""
    if previous is None:
        return []
    job, asked = _find(front, previous)
    if job.state is not JobState.COMPLETED:
        raise _wrong("/previous_response_id", f"is {job.state}: it has no answer to go on from")
    answer = {"role": "assistant", "content": job.output["text"]}
    return [*asked["messages"], answer]


def _stream(job: Job, asked: Mapping[str, Any], pieces: Any, after: int = -1) -> Response:
    response = Response(response_events(pieces, job, asked, after=after), content_type=EVENT_STREAM)
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response


def _item(response_id: str, number: int, message: Mapping[str, str]) -> InputItem:
    kind: Any = "output_text" if message["role"] == "assistant" else "input_text"
    return InputItem(
        id=f"msg_{response_id.removeprefix('resp_')}_{number}",
        role=message["role"],
        content=[InputPart(type=kind, text=message["content"])],
    )


def _wrong(pointer: str, detail: str) -> InvalidRequestError:
    name = pointer.rpartition("/")[2]
    return InvalidRequestError(f"{name} {detail}", [FieldError(pointer=pointer, detail=detail)])
