"""The page for people shows names as text, and loads nothing."""

from producer.index_page import HEADERS, render_index


def test_what_a_name_contains_is_shown_as_text() -> None:
    page = render_index(
        version="<script>1</script>",
        url='http://host"><script>/',
        missing="<script>2</script>",
        dead=False,
        lists={},
        counters={"<script>": 3},
    )

    assert "<script" not in page
    assert "&lt;script&gt;2" in page


def test_the_page_may_load_nothing_but_its_own_style() -> None:
    assert HEADERS["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_a_page_without_anything_says_what_to_do() -> None:
    page = render_index(version="1", url="http://h/", missing="", dead=False, lists={}, counters={})

    assert "millrace models import smollm2" in page
    assert "no worker lives" in page


def test_dead_letters_are_shown_without_being_asked_for() -> None:
    page = render_index(version="1", url="http://h/", missing="", dead=True, lists={}, counters={})

    assert '<a class="bad" href="/api/v1/dead">dead letters: there are some</a>' in page
