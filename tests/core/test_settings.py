"""What the settings say of themselves."""

from pathlib import Path

import pytest

from passgate.core.settings import CredentialKind, CredentialSettings


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (CredentialSettings(CredentialKind.API_KEY, env="X", env_value="x"), "env"),
        (CredentialSettings(CredentialKind.BEARER, file=Path("x")), "file"),
        (CredentialSettings(CredentialKind.BEARER, command=("x",)), "command"),
        (CredentialSettings(CredentialKind.CLIENT), "client"),
        (CredentialSettings(CredentialKind.NONE), "none"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_source(settings: CredentialSettings, expected: str) -> None:
    """A credential knows what it comes from."""
    assert expected == settings.source


def test_value_of_a_variable_is_not_shown() -> None:
    """Settings can be printed: they hold one secret, and keep it to themselves."""
    got = repr(CredentialSettings(CredentialKind.API_KEY, env="X", env_value="s3cr3t"))

    assert "s3cr3t" not in got
