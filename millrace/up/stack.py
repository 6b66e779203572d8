"""The whole of ``millrace up``, from checks to the last child's end."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from contract.errors import MillraceError, StoreUnavailableError
from contract.settings import Settings
from millrace.up import services, valkey
from millrace.up.data_folder import DataFolder
from millrace.up.demo import Demo
from millrace.up.errors import ProcessFailedError
from millrace.up.imports import ensure_models
from millrace.up.ports import is_listening, require_free
from millrace.up.probes import FrontProbe, local_url
from millrace.up.redis_facts import public_address, read_facts, require_fit
from millrace.up.screen import Screen
from millrace.up.stops import StopRequests
from millrace.up.supervisor import TICK_S, Supervisor

_LOOK_S = 1.0
_START_S = 180.0  # longest wait for the stack; a large model takes its time to load


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was asked of ``up``; ``command`` is how the user can call ``millrace``."""

    workers: int = 1
    demo: bool = False
    exit: bool = False
    flower: bool = True
    command: str = "millrace"


class Stack:
    """One run of all parts on this machine."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], plan: Plan, screen: Screen
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._screen = screen
        self._environ = {**environ, "PYTHONUNBUFFERED": "1"}
        self._folder = DataFolder(settings.data_dir)
        self._supervisor = Supervisor(say=screen.warn)
        self._probe = FrontProbe(settings)
        self._began_s = time.monotonic()
        self._looked_s = self._began_s
        self._lost_jobs = False

    def run(self) -> None:
        """Start, serve until told to stop, stop.

        Raises:
            MillraceError: it could not be started or kept up, or the sample prompt failed; every
                child has been stopped.
        """
        with StopRequests() as stops, self._folder.owned():
            try:
                self._prepare(stops)
                self._start(stops)
                self._serve(stops)
            except KeyboardInterrupt:
                pass
            finally:
                self._stop(stops)

    def _prepare(self, stops: StopRequests) -> None:
        """Everything that can be refused before a process is started."""
        settings, screen = self._settings, self._screen
        services.require_installed(flower=self._plan.flower)
        require_free(settings.host, settings.port, setting="MILLRACE_PORT", use="the front")
        if self._plan.flower:
            host, port = services.FLOWER_HOST, settings.flower_port
            require_free(host, port, setting="MILLRACE_FLOWER_PORT", use="Flower")
        if settings.embedded_redis:
            left = valkey.clear_port(settings, self._folder)
            if left is not None:
                screen.warn(f"stopped a Valkey (pid {left}) that an earlier run had left behind")
        else:
            self._check_redis()
        screen.line(", ".join(services.versions()), event="versions")
        with stops.interruptible():
            self._speaker = ensure_models(settings, screen)

    def _check_redis(self) -> None:
        url = self._settings.redis_url
        try:
            facts = read_facts(url)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(
                f"{error.detail}: start it, or unset MILLRACE_REDIS_URL to have one started"
            ) from error
        for warning in require_fit(facts, self._settings):
            self._screen.warn(warning)
        self._screen.done(
            f"{facts.name} {facts.version} at {public_address(url)} answers", event="redis"
        )

    def _start(self, stops: StopRequests) -> None:
        settings, supervisor, probe = self._settings, self._supervisor, self._probe
        if settings.embedded_redis:
            spec = valkey.valkey_spec(settings, self._folder, self._environ)
            supervisor.start(spec, lambda _pid: valkey.is_serving(settings))
            self._await_children(stops)
            facts = read_facts(settings.redis_url)
            when = "before each answer" if settings.appendfsync == "always" else "every second"
            self._done(
                "valkey",
                f"{facts.name} {facts.version} on {valkey.HOST}:{settings.redis_port},"
                f" append-only file synced {when}",
            )
        supervisor.start(
            services.front_spec(self._folder, self._environ), lambda _pid: probe.front_lives()
        )
        supervisor.start(services.feeder_spec(self._folder, self._environ), lambda _pid: True)
        for spec in services.worker_specs(
            settings, self._folder, self._environ, count=self._plan.workers
        ):
            supervisor.start(spec, lambda pid: probe.worker(pid) is not None)
        if self._plan.flower:
            supervisor.start(
                services.flower_spec(settings, self._folder, self._environ),
                lambda _pid: is_listening(services.FLOWER_HOST, settings.flower_port),
            )
        self._await_children(stops, told=self._tell_ready)
        self._await(stops, probe.is_ready, lambda: "waiting for the front to see a worker")

    def _tell_ready(self, name: str) -> None:
        if name == "front":
            text = f"front on {local_url(self._settings)}"
        elif name == "feeder":
            text = f"feeder of batches, files in {self._settings.files_url}"
        elif name == "flower":
            text = (
                f"Flower on http://{services.FLOWER_HOST}:{self._settings.flower_port}, read-only"
            )
        else:
            worker = self._probe.worker(self._supervisor.pid(name))
            text = f"{name}, pid {self._supervisor.pid(name)}"
            if worker is not None:
                text += f": {', '.join(self._settings.model)} on {worker.device}"
                text += f", {worker.slots} slots"
        self._done(name, text)

    def _done(self, name: str, text: str) -> None:
        took_s = self._supervisor.ready_after_s(name)
        self._screen.done(text, took_s, event="ready", name=name, pid=self._supervisor.pid(name))

    def _serve(self, stops: StopRequests) -> None:
        plan, screen = self._plan, self._screen
        took_s = time.monotonic() - self._began_s
        screen.line(f"ready after {took_s:.1f} s", event="serving", took_s=round(took_s, 2))
        demo = None
        if plan.demo and self._speaker is not None:
            demo = Demo(local_url(self._settings), self._speaker, screen)
            demo.start()
        elif plan.demo:
            screen.warn("no sample prompt: none of the models generates text")
        while demo is not None and demo.is_alive():
            self._tick(stops)
        if demo is not None and demo.error is not None:
            if plan.exit:
                raise demo.error
            screen.warn(f"the sample prompt failed: {demo.error.detail}")
        if plan.exit:
            return
        self._tell_urls()
        while True:
            self._tick(stops)
            self._watch_jobs()

    def _watch_jobs(self) -> None:
        """Say it once when Redis lost the jobs: the parts live, and all submits are refused."""
        if time.monotonic() - self._looked_s < _LOOK_S:
            return
        self._looked_s = time.monotonic()
        lost = self._probe.has_lost_jobs()
        if lost and not self._lost_jobs:
            self._screen.warn(
                "Redis lost its jobs: it was emptied, or came back without its append-only file."
                " Submits are refused until its data is restored, or Millrace is started anew"
            )
        self._lost_jobs = lost

    def _tell_urls(self) -> None:
        url, screen = local_url(self._settings), self._screen
        if screen.as_json:
            return
        screen.line(f"  API     {url}/api/v1/jobs   (described by {url}/openapi.json)")
        screen.line(f"  OpenAI  {url}/v1   (base_url of its clients)")
        if self._plan.flower:
            screen.line(f"  Flower  http://{services.FLOWER_HOST}:{self._settings.flower_port}")
        screen.line(f"  logs    {self._folder.logs}")
        screen.line("In a second terminal:")
        where = "" if self._settings.port == 8000 else f" --url {url}"
        screen.line(f'  {self._plan.command} submit{where} --stream "Why is the sky blue?"')
        screen.line("Ctrl-C stops everything.")

    def _await_children(
        self, stops: StopRequests, told: Callable[[str], None] = lambda _name: None
    ) -> None:
        waiting = set(self._supervisor.waiting_for)

        def all_ready() -> bool:
            for name in sorted(waiting - set(self._supervisor.waiting_for)):
                waiting.discard(name)
                if name in self._supervisor.names:  # else it was given up
                    told(name)
            return not waiting

        self._await(stops, all_ready, lambda: f"starting {', '.join(sorted(waiting))}")

    def _await(
        self, stops: StopRequests, is_done: Callable[[], bool], words: Callable[[], str]
    ) -> None:
        end_s = time.monotonic() + _START_S
        with self._screen.waiting(words()) as change:
            while not is_done():
                if time.monotonic() > end_s:
                    raise ProcessFailedError(
                        f"gave up {words()} after {_START_S:g} s; see {self._folder.logs}"
                    )
                self._tick(stops)
                change(words())

    def _tick(self, stops: StopRequests) -> None:
        if stops.count:
            raise KeyboardInterrupt
        self._supervisor.tick()
        time.sleep(TICK_S)

    def _stop(self, stops: StopRequests) -> None:
        self._probe.close()
        if not self._supervisor.names:
            return
        failed = sys.exc_info()[1]
        noticed = min(stops.count, 1)
        if not isinstance(failed, MillraceError) and not self._plan.exit:
            self._screen.line("\nstopping: running jobs may finish; Ctrl-C again stops at once")
        began_s = time.monotonic()
        self._supervisor.stop(hurry=lambda: stops.count > noticed)
        self._screen.done("stopped", time.monotonic() - began_s, event="stopped")


def command_name(program: str) -> str:
    """How a person in this folder calls the command that runs as ``program``."""
    if program.endswith("__main__.py"):
        return "python -m millrace"
    return "millrace" if shutil.which("millrace") == program else program
