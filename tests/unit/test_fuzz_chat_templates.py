"""Chat templates that mean harm: a template ends, and reaches nothing but the messages."""

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from contract.errors import InvalidRequestError
from model_store.chat_template import ChatTemplate
from tests.support.fuzz_reader import FuzzReader
from tests.support.fuzzing import Fuzzer

_PIECES = (
    "{{", "}}", "{%", "%}", "for m in messages", "endfor", "if", "endif", "else", "set x = ", "x",
    "messages", "m", ".content", "['role']", "[0]", "|tojson", "|join", "|length", "|replace('a',",
    "|format", "~", "+", "*", "**", "//", "%", "0", "1", "9", "99999999", "-1", "'a'", "range(",
    "(", ")", "loop.index", "macro f(x)", "endmacro", "f(", "namespace(", "raise_exception(",
    "strftime_now(", "eos_token", "none", "break", "continue", "is defined", "|map(attribute='",
    "__class__", ".__init__", "|attr('__class__')", "{#", "#}", ",", "=", "'", "|int", "|batch(",
)  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat_template.jinja"


def test_any_template_is_rendered_or_refused(
    reader: FuzzReader, path: Path, fuzzer: Fuzzer
) -> None:
    def check(pieces: list[str]) -> None:
        path.write_text(" ".join(pieces), encoding="utf-8")
        assert reader.read("read_template", path) in (None, "invalid_model", "invalid_request")

    words = st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=3)), max_size=16)
    blocks = st.lists(st.sampled_from(_PIECES), max_size=8).map(lambda each: ["{{", *each, "}}"])
    fuzzer.run(check, st.one_of(words, blocks), examples=60)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{{ 9 ** 999999999 }}",
        "{{ 'a' * 999999999999 }}",
        "{{ 'a' * 2147483647 }}",
        "{{ [0] * 999999999999 }}",
        "{{ 10 ** 5000 }}",
        "{{ 1 // 0 }}",
        "{{ messages[7].content + 1 }}",
        "{{ messages[5] }}{{ none() }}",
        "{{ '%d' % 'a' }}",
        "{{ '%2147483647d' % 1 }}",
        "{{ '{:>2147483647}'.format(1) }}",
        "{{ 'a'|center(2147483647) }}",
        "{{ 'a'.ljust(2147483647) }}",
        "{{ range(999999999) | list }}",
        "{{ strftime_now('\\ud800') }}",
        "{{ raise_exception() }}",
        "{{ namespace | tojson }}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}"
        "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% include 'other' %}",
        "{% import 'other' as x %}",
    ],
)
def test_a_template_that_would_not_end_or_cannot_be_rendered_is_refused(
    reader: FuzzReader, path: Path, template: str
) -> None:
    path.write_bytes(template.encode("utf-8", "surrogatepass"))

    assert reader.read("read_template", path) in ("invalid_request", "invalid_model")


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__[1].__subclasses__()",
        "messages.__class__",
        "messages|attr('__class__')",
        "raise_exception.__globals__['__builtins__']",
        "strftime_now.__globals__",
        "namespace.__init__.__globals__",
        "cycler.__init__.__globals__.os",
        "lipsum.__globals__['os'].popen('id')",
        "self.__init__.__globals__",
        "'{0.__class__}'.format(messages)",
        "'{m.__class__}'.format_map({'m': messages})",
        "messages.append(1)",
        "messages[0].update({'role': 'x'})",
        "(range|attr('__self__'))",
    ],
)
def test_a_template_reaches_nothing_but_the_messages(
    expression: str,
) -> None:
    messages = [{"role": "user", "content": "hello"}]
    template = ChatTemplate("{{ " + expression + " }}", {})
    try:
        shown = template.render(messages)
    except InvalidRequestError:
        return
    assert shown in ("", "{}"), json.dumps(shown)
    assert messages == [{"role": "user", "content": "hello"}]
