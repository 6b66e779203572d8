"""Every check, one after the other."""

from collections.abc import Callable, Iterator, Mapping

from contract.errors import MillraceError, MissingDependencyError, SettingsError
from contract.settings import Settings
from millrace.doctor import machine, storage
from millrace.doctor.finding import Finding, Level

CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    machine.disk,
    machine.ports,
    machine.embedded_valkey,
    storage.redis,
    storage.models,
    storage.device,
    machine.front,
)


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Findings as they are made. Wrong settings end it, as nothing else can be judged then."""
    yield from machine.python_version()
    yield from machine.packages()
    try:
        settings = Settings.from_mapping(environ)
    except SettingsError as error:
        yield Finding(
            check="settings", level=Level.FAIL, detail=error.detail, advice="unset or correct them"
        )
        return
    given = sorted(name for name in environ if name.startswith("MILLRACE_"))
    yield Finding(
        check="settings", level=Level.OK, detail=", ".join(given) or "all at their defaults"
    )
    for check in CHECKS:
        yield from _guarded(check, settings)


def _guarded(
    check: Callable[[Settings], Iterator[Finding]], settings: Settings
) -> Iterator[Finding]:
    name = check.__name__.replace("_", " ")
    try:
        yield from check(settings)
    except MissingDependencyError as error:
        yield Finding(check=name, level=Level.WARN, detail="not looked at", advice=error.detail)
    except MillraceError as error:
        yield Finding(check=name, level=Level.FAIL, detail=error.detail)
