"""Secrets: strings that do not show themselves, files that hold them, connection strings masked."""

import os
import re
import stat
from urllib.parse import unquote

HIDDEN = "***"
MAX_SECRET_BYTES = 64 * 1024

_URL_PASSWORD = re.compile(r"://[^/@:]*:([^/@]*)@")
_URL_PARAMETER = re.compile(r"[?&]([^=&]*)=([^&]*)")
_KEY_VALUE = re.compile(r"(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)", re.DOTALL)


class Secret(str):
    """A string whose `repr` is `'***'`, so that reprs of settings and tracebacks do not tell it.

    Everything else is a plain `str`: the libraries that need the value format and encode it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(HIDDEN)


def read_secret(path: str) -> Secret:
    """Return what the file at *path* holds, without its final line break.

    Raises ValueError, without a word of the content, when it cannot be read, is empty or larger
    than 64 KiB, is no regular file, or can be read by users outside its owner and group.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is not a regular file")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise ValueError(f"{path} is open to every user; close it with: chmod o-rwx {path}")
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{path} is larger than {MAX_SECRET_BYTES} bytes")
    return _text_of(path, content)


def _text_of(path: str, content: bytes) -> Secret:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{path} is empty")
    return Secret(text)


def mask_dsn(dsn: str) -> str:
    """Return the connection string *dsn* as libpq reads it, key=value, its passwords hidden."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parts = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    return make_conninfo(**parts | dict.fromkeys(_read_secrets(dsn), HIDDEN))


def dsn_secrets(dsn: str) -> tuple[str, ...]:
    """Return the passwords that stand in *dsn*, as libpq reads them and as written there."""
    read = _read_secrets(dsn)
    pairs = _URL_PARAMETER.findall(dsn) if "://" in dsn else _KEY_VALUE.findall(dsn)
    written = [value.strip("'") for name, value in pairs if unquote(name) in read]
    written += _URL_PASSWORD.findall(dsn)
    return tuple(dict.fromkeys(word for word in (*read.values(), *written) if word))


def _read_secrets(dsn: str) -> dict[str, str]:
    """Return the secrets in *dsn* by the keyword libpq has for them, which it says is one (`*`)."""
    from psycopg.pq import Conninfo

    options = Conninfo.parse(dsn.encode())
    return {
        option.keyword.decode(): option.val.decode()
        for option in options
        if option.val and (option.dispchar == b"*" or option.keyword.startswith(b"scram_"))
    }
