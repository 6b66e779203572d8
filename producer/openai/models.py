"""GET /v1/models."""

from datetime import datetime

from contract import errors
from model_store.manifest import ModelVersion
from producer.api import Answer, Api, Reply
from producer.front import Front
from producer.openai.answers import OpenAIModel, OpenAIModelList
from producer.openai.problems import OPENAI


def add_models(api: Api, front: Front) -> None:
    """Serve the list of models."""

    @api.operation(
        "GET",
        "/v1/models",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="What is in production.", body=OpenAIModelList),),
    )
    def list_openai_models() -> Answer:
        """List models."""
        return Answer(
            body=OpenAIModelList(data=[_view(each.name, each) for each in front.catalog.served()])
        )

    @api.operation(
        "GET",
        "/v1/models/<model>",
        tag="openai",
        dialect=OPENAI,
        replies=(Reply(status=200, meaning="The model.", body=OpenAIModel),),
        errors=(errors.UnknownModelError,),
    )
    def retrieve_openai_model(model: str) -> Answer:
        """Read a model by whatever a call may name it."""
        return Answer(body=_view(model, front.catalog.resolve(model)))


def _view(name: str, version: ModelVersion) -> OpenAIModel:
    created = datetime.fromisoformat(version.manifest.created_at)
    return OpenAIModel(id=name, created=int(created.timestamp()))
