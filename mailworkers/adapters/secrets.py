"""Secrets: strings that do not show themselves, files that hold them, connection strings masked."""

import os
import re
import stat

HIDDEN = "***"
MAX_SECRET_BYTES = 64 * 1024

_URL_PASSWORD = re.compile(r"(?<=://)([^/@:]*):[^/@]*(?=@)")
_KEY_PASSWORD = re.compile(r"(?i)\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)")


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
    """Return the connection string *dsn*, URL or key=value form, with its passwords hidden."""
    return _KEY_PASSWORD.sub(rf"\1{HIDDEN}", _URL_PASSWORD.sub(rf"\1:{HIDDEN}", dsn))


def dsn_secrets(dsn: str) -> tuple[str, ...]:
    """Return the passwords that stand in *dsn*, as written there and as libpq reads them."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(dsn)
    read = [str(parts[key]) for key in ("password", "sslpassword") if parts.get(key)]
    written = [found.group(0).partition(":")[2] for found in _URL_PASSWORD.finditer(dsn)]
    return tuple(dict.fromkeys(word for word in (*read, *written) if word))
