"""The folder of a template catalog, read whole: which templates, locales and contracts it holds.

catalog.toml                      default_locale = "en"
_shared/layout.html               what templates extend or include
login-code/contract.toml          its variables (core/contracts.py)
login-code/en/subject.txt         one line
login-code/en/body.txt
login-code/en/body.html           may be missing, but then in every locale
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

import mailworkers
from mailworkers.core.contracts import ContractError, TemplateContract, parse_contract
from mailworkers.core.errors import ConfigError
from mailworkers.core.locales import canonical_locale

SHARED = "_shared"
CONTRACT = "contract.toml"
SETTINGS = "catalog.toml"
SUBJECT, TEXT, HTML = "subject.txt", "body.txt", "body.html"

_PACKAGE = Path(mailworkers.__file__).parent
_TEMPLATE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
# In HTML: an attribute's value without quotes; the variable that a link starts with.
_UNQUOTED = re.compile(r"\s[\w-]+\s*=\s*\{\{")
_LINK = re.compile(
    r"""\b(?:href|src|action|background)\s*=\s*["']\s*\{\{-?\s*(\w+)""", re.IGNORECASE
)


def packaged_directory() -> Path:
    """Return the catalog that comes with the package, in a checkout and in a wheel."""
    return next(d for d in (_PACKAGE / "templates", _PACKAGE.parent / "templates") if d.is_dir())


class TemplateFolder(msgspec.Struct, frozen=True):
    """One template's folder: its contract, and the files it has in each locale."""

    template_id: str
    contract: TemplateContract
    files: Mapping[str, frozenset[str]]


class TemplateFiles(msgspec.Struct, frozen=True):
    """A catalog's folder as text: `sources` by name, relative to *directory* and with slashes."""

    directory: Path
    sources: Mapping[str, str]
    default_locale: str
    folders: tuple[TemplateFolder, ...]


def read_templates(directory: Path) -> TemplateFiles:
    """Return all that is in *directory*; ConfigError says `file:line: what is wrong`."""
    if not directory.is_dir():
        raise ConfigError(f"{directory}: there is no such directory (MAIL_TEMPLATE_DIR)")
    reader = _Reader(directory, dict(_sources(directory)))
    folders = tuple(reader.folder(template_id) for template_id in reader.template_ids())
    if not folders:
        raise ConfigError(f"{directory}: there is no template in it")
    return TemplateFiles(directory, reader.sources, reader.default_locale, folders)


def markup_fault(source: str, contract: TemplateContract) -> tuple[int, str]:
    """Return the line and reason why the HTML *source* is not safe to fill in, or (0, "")."""
    if unquoted := _UNQUOTED.search(source):
        return _line(source, unquoted.start() + 1), "an attribute's value needs quotes"
    for link in _LINK.finditer(source):
        variable = contract.variables.get(link[1])
        if variable is not None and variable.type != "url":
            return _line(source, link.start()), f"{link[1]} starts a link, so its type must be url"
    return 0, ""


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def wrong(directory: Path, name: str, line: int, reason: str) -> ConfigError:
    """Return the error for *line* of the file *name* in *directory*, in the form compilers use."""
    return ConfigError(f"{directory / name}:{line}: {reason}")


def _sources(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each file; hidden ones, backups and `__pycache__` are none."""
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        hidden = any(part.startswith((".", "__")) for part in name.parts)
        if hidden or path.name.endswith("~") or not path.is_file():
            continue
        try:
            yield name.as_posix(), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise wrong(directory, name.as_posix(), 1, f"cannot be read: {error}") from None


class _Reader:
    """Makes folders of *sources*; whatever cannot be meant is an error."""

    def __init__(self, directory: Path, sources: Mapping[str, str]) -> None:
        self.directory = directory
        self.sources = sources
        try:
            settings = tomllib.loads(sources.get(SETTINGS, ""))
            self.default_locale = canonical_locale(str(settings.pop("default_locale", "en")))
        except ValueError as error:  # TOMLDecodeError is one
            raise self.wrong(SETTINGS, f"default_locale {error}") from None
        if settings:
            raise self.wrong(SETTINGS, f"only default_locale can stand here, not {min(settings)}")

    def wrong(self, name: str, reason: str, line: int = 1) -> ConfigError:
        return wrong(self.directory, name, line, reason)

    def template_ids(self) -> list[str]:
        folders = {name.split("/")[0] for name in self.sources if "/" in name}
        return sorted(folders - {SHARED})

    def folder(self, template_id: str) -> TemplateFolder:
        if not _TEMPLATE_ID.fullmatch(template_id):
            raise self.wrong(template_id, "a template's folder is named in a-z, 0-9, dot, _ and -")
        contract = self._contract(f"{template_id}/{CONTRACT}")
        files = {locale: self._files(template_id, locale) for locale in self._locales(template_id)}
        if self.default_locale not in files:
            raise self.wrong(template_id, f"the default locale {self.default_locale} is missing")
        for locale, names in files.items():
            missing = files[self.default_locale] - names
            if missing:
                reason = f"is missing, but there is one in {self.default_locale}"
                raise self.wrong(f"{template_id}/{locale}/{min(missing)}", reason)
        return TemplateFolder(template_id, contract, files)

    def _contract(self, name: str) -> TemplateContract:
        if name not in self.sources:
            raise self.wrong(name, "is missing")
        try:
            return parse_contract(self.sources[name])
        except ContractError as error:
            raise self.wrong(name, error.reason, error.line) from None

    def _locales(self, template_id: str) -> list[str]:
        within = [name.split("/") for name in self.sources if name.startswith(f"{template_id}/")]
        locales = sorted({parts[1] for parts in within if len(parts) > 2})
        for locale in locales:
            try:
                canonical = canonical_locale(locale)
            except ValueError as error:
                raise self.wrong(f"{template_id}/{locale}", str(error)) from None
            if canonical != locale:
                raise self.wrong(f"{template_id}/{locale}", f"is written {canonical}")
        return locales

    def _files(self, template_id: str, locale: str) -> frozenset[str]:
        prefix = f"{template_id}/{locale}/"
        files = {name.removeprefix(prefix) for name in self.sources if name.startswith(prefix)}
        for needed in (SUBJECT, TEXT):
            if needed not in files:
                raise self.wrong(f"{prefix}{needed}", "is missing")
        if surplus := files - {SUBJECT, TEXT, HTML}:
            reason = f"only {SUBJECT}, {TEXT} and {HTML} can be here"
            raise self.wrong(f"{prefix}{min(surplus)}", reason)
        return frozenset(files)
