"""Settings come from an explicit mapping and are never guessed."""

from pathlib import Path

import pytest

from contract.errors import SettingsError
from contract.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_nothing_set_gives_defaults_that_fit_together() -> None:
    settings = Settings.from_mapping({})
    assert settings.embedded_redis
    assert settings.redis_url == "redis://127.0.0.1:6399/0"
    assert settings.models_dir == settings.data_dir / "models"
    assert settings.url == "http://127.0.0.1:8000"


def test_derived_defaults_follow_what_they_derive_from() -> None:
    settings = Settings.from_mapping(
        {
            "MILLRACE_DATA_DIR": "/srv/m",
            "MILLRACE_REDIS_PORT": "7000",
            "MILLRACE_HOST": "0.0.0.0",
            "MILLRACE_PORT": "9000",
        }
    )
    assert settings.models_dir == Path("/srv/m/models")
    assert settings.redis_url == "redis://127.0.0.1:7000/0"
    assert settings.url == "http://127.0.0.1:9000"


def test_every_bad_value_and_unknown_name_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_mapping(
            {
                "MILLRACE_PORT": "http",
                "MILLRACE_LEASE_S": "nan",
                "MILLRACE_SLOT": "8",
                "MILLRACE_DEVICE": "gpu",
                "PATH": "/bin",
            }
        )
    for name in ("MILLRACE_PORT", "MILLRACE_LEASE_S", "MILLRACE_SLOT ", "MILLRACE_DEVICE"):
        assert name in raised.value.detail
    assert "PATH" not in raised.value.detail


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTS", "-1"), ("SLOTS", "1.5"), ("SLOTS", ""), ("PORT", "65536"), ("LEASE_S", "inf"),
        ("LEASE_S", "0"), ("REQUIRE_WORKER", "maybe"), ("MODEL", " , "), ("DEVICE", "cuda:x"),
        ("LOG_FORMAT", "xml"), ("URL", "ftp://x"), ("MAX_BODY_BYTES", "-1"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"MILLRACE_{name}"):
        Settings.from_mapping({f"MILLRACE_{name}": value})


def test_a_password_in_the_redis_url_is_shown_nowhere() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.from_mapping({"MILLRACE_REDIS_URL": "http://:hunter2@host"})
    assert "hunter2" not in raised.value.detail
    for url in ("redis://:hunter2@host:6379/0", "redis+sentinel://me:hunter2@one,two:1/primary"):
        settings = Settings.from_mapping({"MILLRACE_REDIS_URL": url})
        assert settings.redis_url == url
        assert "hunter2" not in repr(settings)


def test_waiting_for_replicas_needs_a_redis_that_may_have_some() -> None:
    with pytest.raises(SettingsError, match="MILLRACE_MIN_REPLICAS needs MILLRACE_REDIS_URL"):
        Settings.from_mapping({"MILLRACE_MIN_REPLICAS": "1"})
    there = {"MILLRACE_MIN_REPLICAS": "1", "MILLRACE_REDIS_URL": "redis://host"}
    assert Settings.from_mapping(there).min_replicas == 1


def test_several_models_are_separated_by_commas() -> None:
    assert Settings.from_mapping({"MILLRACE_MODEL": "a, b@canary,c:3"}).model == (
        "a", "b@canary", "c:3",
    )  # fmt: skip


def test_the_documentation_has_exactly_the_settings_of_the_code() -> None:
    rows = [
        f"| `{name}` | `{default}` | {text} |" for name, default, text in Settings.documentation()
    ]
    written = [line for line in DOCS.read_text().splitlines() if line.startswith("| `MILLRACE_")]
    assert written == rows
