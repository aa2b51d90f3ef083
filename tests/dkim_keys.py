"""Keys for tests, what is published for them, and an independent verifier (dkimpy)."""

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import dkim

from mailworkers.adapters.dkim_keys import KeyFile, key_path, load_key, make_key, write_key
from mailworkers.core.dkim import Algorithm
from mailworkers.core.dkim_records import record_for

DOMAIN = "example.com"
Published = Mapping[str, str]


@cache
def pem(algorithm: Algorithm, number: int = 1) -> bytes:
    """Return a key in PEM form: the same for the same *number*, since making one takes long."""
    return make_key(algorithm)


def put_key(
    directory: Path, domain: str, selector: str, algorithm: Algorithm = Algorithm.RSA
) -> KeyFile:
    """Write a key to where MAIL_DKIM_DIR=*directory* has it; return it as it is read again."""
    path = key_path(directory, domain, selector)
    write_key(path, pem(algorithm))
    return load_key(path, domain, selector)


@cache
def key(domain: str, selector: str, algorithm: Algorithm = Algorithm.RSA) -> KeyFile:
    """Return a key as it is after reading; its file is gone."""
    with TemporaryDirectory() as directory:
        return put_key(Path(directory), domain, selector, algorithm)


def published(*keys: KeyFile) -> dict[str, str]:
    """Return the TXT records that publish *keys*, by their names."""
    records = [record_for(k.signing.domain, k.signing.selector, k.public) for k in keys]
    return {record.name: record.text for record in records}


def verifies(mime: bytes, records: Published) -> list[bool]:
    """Return, for each signature of *mime* from the top, whether dkimpy finds it valid."""

    def look_up(name: bytes, timeout: int = 5) -> bytes | None:
        text = records.get(name.decode().removesuffix("."))
        return text.encode() if text else None

    header = mime.partition(b"\r\n\r\n")[0]
    count = (b"\r\n" + header).lower().count(b"\r\ndkim-signature:")
    return [_verifies(mime, index, look_up) for index in range(count)]


def _verifies(mime: bytes, index: int, look_up: object) -> bool:
    try:
        return bool(dkim.DKIM(mime).verify(idx=index, dnsfunc=look_up))
    except dkim.DKIMException:
        return False


def signed_names(mime: bytes) -> list[str]:
    """Return the names in the first signature's `h=`."""
    return tags(mime)["h"].split(":")


def tags(mime: bytes) -> dict[str, str]:
    """Return the tags of the first signature, without blanks."""
    field = mime.replace(b"\r\n ", b"").split(b"\r\n", 1)[0].decode()
    value = field.partition(":")[2].replace(" ", "")
    return dict(part.split("=", 1) for part in value.split(";"))


def body_hash(mime: bytes) -> bytes:
    """Return the body hash that the first signature claims."""
    return base64.b64decode(tags(mime)["bh"])
