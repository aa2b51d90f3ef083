"""Find the text of each setting in an environment and turn it into a value.

Every complaint is one line that names the variable, shows the text unless it is a secret, and
says what to write instead.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mailworkers.adapters.secrets import HIDDEN, Secret, mask_dsn, read_secret
from mailworkers.adapters.setting_table import TABLE, Setting
from mailworkers.core.errors import ConfigError

FALLBACK_DSN = "DATABASE_URL"


class Reading(msgspec.Struct, frozen=True):
    """One setting as found: its text ('' when unset), where it came from, the value it means."""

    setting: Setting
    text: str
    origin: str
    value: Any = None

    @property
    def masked(self) -> str:
        """Return the text as it may be shown to anybody."""
        if not self.setting.is_secret or not self.text:
            return self.text
        return mask_dsn(self.value) if self.setting.name.endswith("DSN") else HIDDEN


def read_all(environ: Mapping[str, str]) -> dict[str, Reading]:
    """Return every setting by its variable; an unset one without default has the value None.

    Raises ConfigError with a line for each setting that is missing or has the wrong form.
    """
    readings, problems = {}, []
    for setting in TABLE:
        try:
            readings[setting.name] = _read(setting, environ)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return readings


def _read(setting: Setting, environ: Mapping[str, str]) -> Reading:
    text, origin = _find(setting, environ)
    if not text:
        return Reading(setting, text, origin)
    try:
        value = setting.form(text)
    except ValueError as error:
        raise ConfigError(f"{_describe(setting, text, origin)} {error}") from None
    return Reading(setting, text, origin, value)


def _find(setting: Setting, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return text and origin: the variable, its file, `DATABASE_URL`, the default."""
    text = environ.get(setting.name, "")
    if setting.is_secret:
        text, origin = _find_secret(setting, environ)
        if text:
            return Secret(text), origin
    if text:
        return text, "environment"
    if setting.default is None:
        raise ConfigError(f"{setting.name} is required and not set: {setting.means}")
    return setting.default, "default"


def _find_secret(setting: Setting, environ: Mapping[str, str]) -> tuple[str, str]:
    name = setting.name
    text, path = environ.get(name, ""), environ.get(f"{name}_FILE", "")
    if text and path:
        raise ConfigError(f"{name} and {name}_FILE are both set; keep one of them")
    if path:
        try:
            return read_secret(path), f"file {path}"
        except ValueError as error:
            raise ConfigError(f"{name}_FILE: {error}") from None
    if not text and setting.field == "postgres_dsn":
        return environ.get(FALLBACK_DSN, ""), FALLBACK_DSN
    return text, "environment"


def _describe(setting: Setting, text: str, origin: str) -> str:
    """Return the variable with its text, or only the length of a secret."""
    if not setting.is_secret:
        return f"{setting.name}={text[:80]!r}"
    name = setting.name if origin == "environment" else f"{setting.name} ({origin})"
    return f"{name} (hidden, {len(text)} characters)"
