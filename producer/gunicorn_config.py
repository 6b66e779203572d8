"""gunicorn's configuration, from the same settings as everything else.

Part of the composition root: gunicorn reads it in its master process, before any worker. What
uses sockets is imported in the worker alone, after gevent has patched it.
"""

import contextlib
import gc
import os
import resource
import signal
import sys
from types import FrameType
from typing import Any

from contract.errors import SettingsError
from contract.logs import configure_logs
from contract.settings import Settings
from contract.threads import when_a_thread_dies

_EXIT_UNFIT = 70  # EX_SOFTWARE: the master forks another

try:
    _settings = Settings.from_mapping(os.environ)
except SettingsError as error:
    sys.exit(f"millrace: {error.detail}")

configure_logs(_settings.log_level, _settings.log_format)

_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"
workers = _settings.web_processes
worker_class = "gevent"
worker_connections = 10_000
backlog = 2048
keepalive = 15
timeout = 60  # of a process that hangs; requests may take as long as they like
graceful_timeout = 2  # streams and waits end at once when told to
logger_class = "producer.gunicorn_logs.GunicornLogs"
accesslog = None
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
control_socket_disable = True
proc_name = "millrace-front"


def post_worker_init(worker: Any) -> None:
    """Make the application."""
    from producer import wsgi

    serve(worker, wsgi.process())


def serve(worker: Any, process: Any) -> None:
    """Take many streams at once, and end them as soon as the process is told to."""
    import gevent

    # A full collection holds up every client: for 70 ms if it looks through all that was imported,
    # and as long again for 2,000 streams. Hardly any garbage gets to be old here.
    gc.freeze()
    gc.set_threshold(700, 10, 100)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # every stream is a descriptor
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def end(signum: int, frame: FrameType | None) -> None:
        worker.handle_exit(signum, frame)
        gevent.spawn(process.hub.close)  # a signal's handler must not wait for a lock

    signal.signal(signal.SIGTERM, end)
    when_a_thread_dies(lambda _: os._exit(_EXIT_UNFIT))


def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Leave nothing behind."""
    from producer import wsgi

    if wsgi.process.cache_info().currsize:
        wsgi.process().close()
