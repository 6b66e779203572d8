"""The Celery application that Flower looks at: ``celery --app millrace.cli.flower_app flower``.

Workers take no remote control, so Flower cannot ask them for their queues: it is told those of
the models in production.
"""

import os
from typing import Any

from contract.queues import make_celery, queue_name
from contract.settings import Settings
from model_store import ModelStore

_settings = Settings.from_mapping(os.environ)
_queues: dict[str, Any] = {
    queue_name(version.name, version.digest): {}
    for version in ModelStore(_settings.models_dir).served()
}

app = make_celery(_settings)
app.conf.task_queues = list(app.amqp.Queues(_queues).values())
