"""The Celery application that Flower looks at: ``celery --app millrace.cli.flower_app flower``."""

import os

from contract.queues import make_celery
from contract.settings import Settings

app = make_celery(Settings.from_mapping(os.environ))
