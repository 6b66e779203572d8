"""GET /api/v1/jobs/{id}/events."""

from flask import Response, request

from contract import errors
from producer.api import Answer, Api, Reply
from producer.events import EVENT_STREAM, has_news, stream_events
from producer.front import Front
from producer.request_schemas import EventsHeaders, EventsQuery
from producer.response_schemas import StreamEvent
from producer.routes_jobs import require_id
from producer.views import JOBS_PATH
from producer.wakeups import FROM_START


def add_events(api: Api, front: Front) -> None:
    """Serve streams."""

    @api.operation(
        "GET",
        f"{JOBS_PATH}/<job_id>/events",
        tag="jobs",
        query=EventsQuery,
        headers=EventsHeaders,
        replies=(
            Reply(
                status=200,
                meaning="Events `status`, `token`, `restarted` and, last, `done`.",
                body=StreamEvent,
                media_type=EVENT_STREAM,
            ),
            Reply(status=204, meaning="The job has ended and every event has been read."),
        ),
        errors=(
            errors.UnknownJobError,
            errors.JobGoneError,
            errors.StoreUnavailableError,
            errors.StoreReplacedError,
        ),
    )
    def stream_job_events(
        job_id: str, query: EventsQuery, headers: EventsHeaders
    ) -> Answer | Response:
        """Follow a job as server-sent events.

        Each event has an id; a reader that lost the line goes on behind it with
        `Last-Event-ID`. The data of each carries the `attempt` that it belongs to; after
        `restarted`, the tokens of earlier attempts are void.
        """
        after = headers.last_event_id or query.after  # an empty header is none
        job = front.store.get(require_id(job_id))
        if after is not None and not has_news(front.store, job, after):
            return Answer(status=204)
        if request.method == "HEAD":
            return Response(content_type=EVENT_STREAM)
        response = Response(
            stream_events(front.store, front.hub, job.id, after=after or FROM_START),
            content_type=EVENT_STREAM,
        )
        response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
        return response
