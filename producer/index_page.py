"""The page at `/`: what is served, by whom, and how long the queues are. Plain HTML, no script."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment
from pydantic import BaseModel

#: Nothing but the page's own style is loaded, whatever a name in it may contain.
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>Millrace</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 }
h2 { margin: 1.8rem 0 .3rem; font-size: 1.1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8884 }
th { font-weight: 600; opacity: .7 }
pre { padding: .8rem; background: #8882; overflow-x: auto }
.bad { color: #c33; font-weight: 600 }
.good { color: #2a2; font-weight: 600 }
nav a { margin-right: 1rem }
</style>
</head>
<body>
<h1>Millrace</h1>
<p>Version {{ version }} ·
{% if missing %}
<span class="bad">not ready</span>: {{ missing }}
{% else %}
<span class="good">ready</span>
{% endif %}
</p>
<nav>
<a href="/api/v1/jobs">jobs</a>
<a href="/api/v1/jobs?status=queued">queued</a>
{% if dead %}
<a class="bad" href="/api/v1/dead">dead letters: there are some</a>
{% else %}
<a href="/api/v1/dead">dead letters</a>
{% endif %}
<a href="/openapi.json">OpenAPI</a>
<a href="/readyz">readyz</a>
</nav>
{% for name, columns, rows, empty in tables %}
<h2><a href="/api/v1/{{ name }}">{{ name | capitalize }}</a></h2>
{% if rows %}
<table>
<tr>{% for title in columns %}<th>{{ title }}</th>{% endfor %}</tr>
{% for row in rows %}
<tr>{% for cell in row %}<td>{{ "-" if cell is none else cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% else %}
<p>{{ empty }}</p>
{% endif %}
{% endfor %}
{% if counters %}
<h2>Since Redis was new</h2>
<p>
{% for name, count in counters %}
{{ name }}: {{ count }}{{ " · " if not loop.last }}
{% endfor %}
</p>
{% endif %}
<h2>Ask it</h2>
<pre>curl -s {{ url }}api/v1/jobs -H 'Content-Type: application/json' -H 'Prefer: wait=30' \\
  -d '{"model": "{{ example }}", "input": "What is the capital of France?"}'</pre>
</body>
</html>
""")

_TABLES = {
    "models": (
        {
            "model": "id",
            "version": "version",
            "task": "task",
            "form": "form",
            "context": "context_length",
            "workers": "workers",
        },
        "no model yet: run `millrace models import smollm2`",
    ),
    "workers": (
        {
            "worker": "id",
            "host": "host",
            "pid": "pid",
            "device": "device",
            "state": "state",
            "running": "running",
            "slots": "slots",
        },
        "no worker lives: jobs are accepted and wait",
    ),
    "queues": (
        {
            "queue": "id",
            "waiting": "pending",
            "retrying": "retrying",
            "running": "running",
            "workers": "workers",
            "jobs/s": "drain_rate",
        },
        "no queue yet: each begins with its first job",
    ),
}


def render_index(
    *,
    version: str,
    url: str,
    missing: str,
    dead: bool,
    lists: Mapping[str, Sequence[BaseModel]],
    counters: Mapping[str, int],
) -> str:
    """The page as HTML.

    ``lists`` has the rows of ``models``, ``workers`` and ``queues`` as the API gives them;
    ``missing`` says why no job can run now, or is empty; ``dead`` whether there are dead letters;
    ``url`` is that of this page.
    """
    tables = [
        (name, columns, [_cells(row, columns) for row in lists.get(name, ())], empty)
        for name, (columns, empty) in _TABLES.items()
    ]
    models: Sequence[Any] = lists.get("models", ())
    generating = (model.id for model in models if model.task == "generate")
    return _PAGE.render(
        version=version,
        url=url,
        missing=missing,
        dead=dead,
        tables=tables,
        counters=[(name.replace("_", " "), count) for name, count in sorted(counters.items())],
        example=next(generating, "smollm2"),
    )


def _cells(row: BaseModel, columns: Mapping[str, str]) -> list[Any]:
    values = (getattr(row, field) for field in columns.values())
    return [round(each, 2) if isinstance(each, float) else each for each in values]
