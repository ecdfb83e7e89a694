"""Settings: every mistake is one line that names variable, value, expectation and remedy."""

from pathlib import Path

import pytest

from host.settings import describe, load
from model.errors import SettingsError
from smc.settings import SmcSettings

NEEDED = {
    "SMC_SITE": "DSO-0001",
    "SMC_COUNTRY": "DE",
    "SMC_AREA": "DE-BY",
    "DATABASE_URL": "postgresql://grid@/smc",
    "REDIS_URL": "unix:///run/bus",
}


def test_values_get_their_kinds() -> None:
    more = {"SMC_SIMULATED": "Yes", "SMC_FLUSH_S": "0.5", "SMC_PMUS": "a:1/2, b:3/4", "SMC_DATA": "x/y"}
    settings = load(SmcSettings, "SMC", NEEDED | more | {"PATH": "/bin", "ESMC_DATA": "not ours"})
    assert settings.simulated is True
    assert settings.flush_s == 0.5
    assert settings.pmus == ("a:1/2", "b:3/4")
    assert settings.data == Path("x/y")
    assert settings.database_url == NEEDED["DATABASE_URL"]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}.*set {name} and start again"):
        load(SmcSettings, "SMC", {k: v for k, v in NEEDED.items() if k != name})


def test_a_misspelt_variable_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(SettingsError, match=r"'SMC_FLUSH_ROW'.*did you mean SMC_FLUSH_ROWS\?"):
        load(SmcSettings, "SMC", NEEDED | {"SMC_FLUSH_ROW": "5"})
    with pytest.raises(SettingsError, match=r"known: .*SMC_SITE"):
        load(SmcSettings, "SMC", NEEDED | {"SMC_XYZZY": "5"})


@pytest.mark.parametrize(
    ("name", "value"), [("SMC_SIMULATED", "maybe"), ("SMC_FLUSH_ROWS", "many"), ("SMC_FLUSH_S", "1,5")]
)
def test_a_wrong_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is '{value}', expected .*: correct {name}"):
        load(SmcSettings, "SMC", NEEDED | {name: value})


def test_the_description_lists_every_setting_once() -> None:
    rows = describe(SmcSettings, "SMC")
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names))
    assert ("SMC_SITE", "required") in [(name, default) for name, default, _ in rows]
    assert "DATABASE_URL" in names
