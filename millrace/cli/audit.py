"""``millrace audit``."""

from typing import TYPE_CHECKING, Any

import click

from contract.errors import StoreUnavailableError
from contract.job import TERMINAL, JobState
from millrace.cli.display import Display
from millrace.cli.failures import FAILED, OK
from millrace.cli.invocation import Invocation, JsonCommand, pass_invocation
from millrace.extras import needs

if TYPE_CHECKING:
    from contract.store.audit_report import Audit, Totals


@click.command(cls=JsonCommand)
@pass_invocation
def audit(invocation: Invocation) -> int:
    """Prove on the live Redis that no job is lost; exits with 1 when something is found.

    It looks at MILLRACE_REDIS_URL itself, in small steps, while the system works; it writes
    nothing. Set MILLRACE_LEASE_S as for the workers.
    """
    settings = invocation.settings
    with needs("local"):
        from contract.store import Connection
        from contract.store.audit import audit as examine
        from millrace.up.redis_facts import public_address

    connection = Connection(settings.redis_url)
    try:
        with invocation.display.progress("looking at everything") as progress:
            report = examine(connection, settings, progress=progress)
    except StoreUnavailableError as error:
        place = public_address(settings.redis_url)
        raise StoreUnavailableError(f"{error.detail} (at {place})") from error
    finally:
        connection.redis.close()
    if invocation.as_json:
        invocation.display.json(_record(report))
    else:
        _show(invocation.display, report)
    return OK if report.clean else FAILED


def _record(report: "Audit") -> dict[str, Any]:
    totals = report.totals
    return {
        "ok": report.clean,
        "totals": {
            "submitted": totals.submitted,
            "redriven": totals.redriven,
            "unaccounted": totals.unaccounted,
            "removed": totals.removed,
            "vanished": None if totals.removed is None else totals.vanished,
            "dead": totals.dead,
            "ended": totals.ended,
            "present": totals.present,
        },
        "findings": report.findings,
        "records": report.records,
        "keys": report.keys,
        "reaped_s_ago": totals.reaped_s_ago,
        "seconds": round(report.seconds, 2),
    }


def _show(display: Display, report: "Audit") -> None:
    totals = report.totals
    rows = [(state.value, totals.present[state], totals.ended.get(state, "")) for state in JobState]
    rows.append(("dead letters", totals.dead, ""))
    display.table(("jobs", "in Redis", "ever"), rows, empty="")
    display.text(_equation(totals))
    if totals.removed is None:
        display.text("records: nothing is known of removed ones before the reaper has looked once")
    else:
        display.text(
            f"records: {totals.submitted} submitted - {totals.removed} past their retention"
            f" = {totals.indexed} in Redis" + _off_by(totals.vanished)
        )
    findings = [
        (each.kind, each.count, each.meaning, "\n".join(each.ids)) for each in report.findings
    ]
    display.table(("finding", "count", "what it means", "ids"), findings, empty="")
    looked = f"{report.records} records and {report.keys} keys in {report.seconds:.1f} s"
    verdict = "nothing is lost" if report.clean else "NOT CLEAN"
    display.text(f"{verdict}: looked at {looked}, {_reaper(totals.reaped_s_ago)}")


def _equation(totals: "Totals") -> str:
    left = f"{totals.submitted} submitted + {totals.redriven} redriven"
    ended = " + ".join(f"{totals.ended[s]} {s}" for s in JobState if s in TERMINAL)
    live = " + ".join(f"{totals.present[s]} {s}" for s in JobState if s not in TERMINAL)
    return f"jobs: {left} = {ended} + {live}" + _off_by(totals.unaccounted)


def _off_by(number: int) -> str:
    return f", WRONG by {number}" if number else ", exactly"


def _reaper(seconds: float | None) -> str:
    if seconds is None:
        return "no reaper has looked yet"
    return f"the reaper looked {max(seconds, 0.0):.1f} s ago"
