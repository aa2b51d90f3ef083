"""The folder of a template catalog, read whole: which templates, locales and contracts it holds.

catalog.toml                      default_locale = "en"
_shared/layout.html               what templates extend or include
login-code/contract.toml          its variables and its kind of mail (core/contract_files.py)
login-code/en/subject.txt         one line
login-code/en/body.txt            may be missing where there is HTML: then it is made of that
login-code/en/body.html           or body.mjml; may be missing, but then in every locale
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

import mailworkers
from mailworkers.core.contract_files import ContractError, parse_contract
from mailworkers.core.contracts import TemplateContract
from mailworkers.core.errors import ConfigError
from mailworkers.core.locales import canonical_locale

SHARED = "_shared"
CONTRACT = "contract.toml"
SETTINGS = "catalog.toml"
SUBJECT, TEXT, HTML, MJML = "subject.txt", "body.txt", "body.html", "body.mjml"
_PARTS = frozenset({SUBJECT, TEXT, HTML, MJML})

_PACKAGE = Path(mailworkers.__file__).parent
_TEMPLATE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def packaged_directory() -> Path:
    """Return the catalog that comes with the package, in a checkout and in a wheel."""
    return next(d for d in (_PACKAGE / "templates", _PACKAGE.parent / "templates") if d.is_dir())


class Problem(msgspec.Struct, frozen=True):
    """What is wrong on a *line* of a *file*, named relative to the catalog; or only doubtful."""

    file: str
    line: int
    reason: str
    is_warning: bool = False

    def __str__(self) -> str:
        """Return it in the form compilers use."""
        return f"{self.file}:{self.line}: {self.reason}"


class Fault(Exception):  # noqa: N818  it carries a problem to where problems are kept
    """Something cannot be used because of a *problem*."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(reason)
        self.problem = Problem(file, line, reason)


class TemplateFolder(msgspec.Struct, frozen=True):
    """One template's folder: its contract, and the files it has in each locale."""

    template_id: str
    contract: TemplateContract
    files: Mapping[str, frozenset[str]]


class TemplateFiles(msgspec.Struct, frozen=True):
    """A catalog's folder as text: `sources` by name, relative to *directory* and with slashes.

    Templates that cannot be read are not among the *folders* but in the *problems*.
    """

    directory: Path
    sources: Mapping[str, str]
    default_locale: str
    folders: tuple[TemplateFolder, ...]
    problems: tuple[Problem, ...]


def read_templates(directory: Path) -> TemplateFiles:
    """Return all that is in *directory*; ConfigError when there is no such directory."""
    if not directory.is_dir():
        raise ConfigError(f"{directory}: there is no such directory (MAIL_TEMPLATE_DIR)")
    reader = _Reader(directory)
    folders = [reader.folder(template_id) for template_id in reader.template_ids()]
    if not folders:
        raise ConfigError(f"{directory}: there is no template in it")
    return TemplateFiles(
        directory,
        reader.sources,
        reader.default_locale,
        tuple(folder for folder in folders if folder is not None),
        tuple(reader.problems),
    )


def _paths(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of each file; hidden ones, backups and `__pycache__` are none."""
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        is_hidden = any(part.startswith((".", "__")) for part in name.parts)
        if not is_hidden and not path.name.endswith("~") and path.is_file():
            yield name.as_posix(), path


class _Reader:
    """Makes folders of files; whatever cannot be meant is noted, and the rest read on."""

    def __init__(self, directory: Path) -> None:
        self.sources: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.default_locale = "en"
        for name, path in _paths(directory):
            try:
                self.sources[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                self.sources[name] = ""
                self.note(name, f"cannot be read: {error}")
        self._read_settings()

    def note(self, name: str, reason: str, line: int = 1) -> None:
        """Keep a problem."""
        self.problems.append(Problem(name, line, reason))

    def _read_settings(self) -> None:
        try:
            settings = tomllib.loads(self.sources.get(SETTINGS, ""))
            self.default_locale = canonical_locale(str(settings.pop("default_locale", "en")))
        except ValueError as error:  # TOMLDecodeError is one
            self.note(SETTINGS, f"default_locale {error}")
            return
        if settings:
            self.note(SETTINGS, f"only default_locale can stand here, not {min(settings)}")

    def template_ids(self) -> list[str]:
        """Return the names of all folders that must be templates."""
        folders = {name.split("/")[0] for name in self.sources if "/" in name}
        return sorted(folders - {SHARED})

    def folder(self, template_id: str) -> TemplateFolder | None:
        """Return what is in a folder, None when it is of no use."""
        before = len(self.problems)
        if not _TEMPLATE_ID.fullmatch(template_id):
            self.note(template_id, "a template's folder is named in a-z, 0-9, dot, _ and -")
        contract = self._contract(f"{template_id}/{CONTRACT}")
        files = {locale: self._files(template_id, locale) for locale in self._locales(template_id)}
        if self.default_locale in files:
            self._compare(template_id, files)
        else:
            self.note(template_id, f"the default locale {self.default_locale} is missing")
        if contract is None or len(self.problems) > before:
            return None
        return TemplateFolder(template_id, contract, files)

    def _compare(self, template_id: str, files: Mapping[str, frozenset[str]]) -> None:
        """Note what other locales lack."""
        for locale, names in files.items():
            missing = files[self.default_locale] - names
            if HTML in names or MJML in names:
                missing -= {HTML, MJML}
            for name in sorted(missing):
                reason = f"is missing, but there is one in {self.default_locale}"
                self.note(f"{template_id}/{locale}/{name}", reason)

    def _contract(self, name: str) -> TemplateContract | None:
        if name not in self.sources:
            self.note(name, "is missing")
            return None
        try:
            return parse_contract(self.sources[name])
        except ContractError as error:
            for fault in (error, *error.others):
                self.note(name, fault.reason, fault.line)
            return None

    def _locales(self, template_id: str) -> list[str]:
        """Return the locales of a template; note folders that are none."""
        within = [name.split("/") for name in self.sources if name.startswith(f"{template_id}/")]
        locales = []
        for locale in sorted({parts[1] for parts in within if len(parts) > 2}):
            try:
                canonical = canonical_locale(locale)
            except ValueError as error:
                self.note(f"{template_id}/{locale}", str(error))
                continue
            if canonical != locale:
                self.note(f"{template_id}/{locale}", f"is written {canonical}")
            else:
                locales.append(locale)
        return locales

    def _files(self, template_id: str, locale: str) -> frozenset[str]:
        prefix = f"{template_id}/{locale}/"
        files = {name.removeprefix(prefix) for name in self.sources if name.startswith(prefix)}
        for surplus in sorted(files - _PARTS):
            reason = f"only {SUBJECT}, {TEXT} and {HTML} or {MJML} can be here"
            self.note(f"{prefix}{surplus}", reason)
        if SUBJECT not in files:
            self.note(f"{prefix}{SUBJECT}", "is missing")
        if not files & {TEXT, HTML, MJML}:
            self.note(f"{prefix}{TEXT}", f"is missing, and there is no {HTML} to make it of")
        if {HTML, MJML} <= files:
            self.note(f"{prefix}{MJML}", f"there is a {HTML} already")
        return frozenset(files & _PARTS)
