"""Files of DKIM keys: what is refused at start, what is doubted, what is never told."""

import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mailworkers.adapters.dkim_keys import (
    key_path,
    load_key,
    load_keys,
    make_key,
    write_key,
)
from mailworkers.adapters.settings import Settings, load
from mailworkers.core.dkim import Algorithm
from mailworkers.core.errors import ConfigError
from tests.dkim_keys import pem, put_key

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
OPEN = serialization.NoEncryption()
BODY_OF_KEY = re.compile(rb"[A-Za-z0-9+/]{20,}")


def rsa_pem(bits: int, form: serialization.PrivateFormat = PKCS8) -> bytes:
    """Return an RSA key of *bits*."""
    return rsa.generate_private_key(65537, bits).private_bytes(PEM, form, OPEN)


def put(directory: Path, content: bytes, *, mode: int = 0o600, selector: str = "s1") -> Path:
    """Write *content* where the key of example.org is looked for."""
    path = key_path(directory, "example.org", selector)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(directory: Path, *selectors: str) -> list[str]:
    """Return the lines of the ConfigError at start."""
    with pytest.raises(ConfigError) as caught:
        load_keys(directory, {"example.org": selectors or ("s1",)})
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value).splitlines()


# What is read.


def test_both_kinds_are_read_with_what_they_publish(tmp_path: Path) -> None:
    """The order of the setting is the order of the signatures."""
    put_key(tmp_path, "example.org", "s1")
    put_key(tmp_path, "example.org", "s2", Algorithm.ED25519)

    keys = load_keys(tmp_path, {"example.org": ("s1", "s2")})

    assert [(file.signing.selector, file.signing.algorithm) for file in keys.files] == [
        ("s1", Algorithm.RSA),
        ("s2", Algorithm.ED25519),
    ]
    assert [len(file.public.encoded) for file in keys.files] == [294, 32]
    assert keys.doubts() == []
    assert list(keys.keyring().keys) == ["example.org"]


@pytest.mark.parametrize("form", [PKCS8, PKCS1])
def test_keys_of_other_tools_are_read(tmp_path: Path, form: serialization.PrivateFormat) -> None:
    """What openssl and opendkim-genkey write: PKCS #8, and before it PKCS #1."""
    path = put(tmp_path, rsa_pem(2048, form))

    assert load_key(path, "example.org", "s1").doubt == ""


def test_a_key_that_its_group_may_read_is_taken(tmp_path: Path) -> None:
    """Like other files of secrets: root owns it, the service's group reads it."""
    path = put(tmp_path, pem(Algorithm.ED25519), mode=0o640)

    assert load_key(path, "example.org", "s1").path == path


# What is refused.


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_key_that_others_can_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that closes it."""
    path = put(tmp_path, pem(Algorithm.ED25519), mode=mode)

    (line,) = refusal(tmp_path)

    assert line.startswith(f"MAIL_DKIM_SELECTORS names example.org:s1, but {path} is open to every")
    assert line.endswith(f"chmod o-rwx {path}")


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A typing mistake in a selector must not mean unsigned mail."""
    (line,) = refusal(tmp_path)

    assert f"{tmp_path}/example.org/s1.pem cannot be read (No such file or directory)" in line


def public_pem() -> bytes:
    """Return the half that does not sign."""
    private = serialization.load_pem_private_key(pem(Algorithm.RSA), None)
    return private.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def encrypted_pem() -> bytes:
    """Return a key that wants a passphrase."""
    private = serialization.load_pem_private_key(pem(Algorithm.RSA), None)
    return private.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"pass"))


def ec_pem() -> bytes:
    """Return a key of a kind that DKIM does not know."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, OPEN)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "no PEM": (lambda: b"v=DKIM1; p=abc", "not a private key in PEM form"),
    "cut": (lambda: pem(Algorithm.RSA)[:600], "not a private key in PEM form"),
    "binary": (lambda: bytes(range(128, 256)), "is not UTF-8 text"),
    "the public half": (public_pem, "not a private key in PEM form"),
    "encrypted": (encrypted_pem, "is encrypted; store the key without a passphrase"),
    "another kind": (ec_pem, "neither an RSA nor an Ed25519 key"),
    "too large": (
        lambda: rsa_pem(4104),
        "RSA key of 4104 bits; verifiers take 1024 to 4096 (RFC 8301)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_sign_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, case: str
) -> None:
    """Exit 78 at start; what stands in the file is not told."""
    make, told = REFUSED[case]
    content = make()
    path = put(tmp_path, content)

    (line,) = refusal(tmp_path)

    assert f"{path} " in line
    assert told in line
    assert not any(part.decode() in line for part in BODY_OF_KEY.findall(content))


def test_an_rsa_key_below_1024_bits_is_refused(tmp_path: Path) -> None:
    """RFC 8301 section 3.2. Made by openssl: the library refuses to."""
    made = subprocess.run(["openssl", "genrsa", "768"], capture_output=True, check=True, text=True)
    put(tmp_path, made.stdout.encode())

    (line,) = refusal(tmp_path)

    assert re.search(r"768 bits|not a private key", line)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """A line for each key."""
    put(tmp_path, b"", selector="s1")

    assert len(refusal(tmp_path, "s1", "s2")) == 2


def test_two_keys_of_a_kind_for_one_domain_are_refused(tmp_path: Path) -> None:
    """What is left of a rotation: the old key would go on signing for nothing."""
    put(tmp_path, pem(Algorithm.RSA), selector="s1")
    put(tmp_path, pem(Algorithm.RSA), selector="s2")

    (line,) = refusal(tmp_path, "s1", "s2")

    assert "two rsa keys of example.org" in line
    assert line.endswith("leave the older one out")


# What is doubted.


def test_an_rsa_key_below_2048_bits_is_doubted(tmp_path: Path) -> None:
    """RFC 8301 section 3.2: should not be used."""
    path = put(tmp_path, rsa_pem(1024))

    (line,) = load_keys(tmp_path, {"example.org": ("s1",)}).doubts()

    assert line == f"MAIL_DKIM_SELECTORS: {path} has only 1024 bits; use 2048"


def test_ed25519_alone_is_doubted(tmp_path: Path) -> None:
    """The largest receivers take such mail for unsigned."""
    put(tmp_path, pem(Algorithm.ED25519))

    (line,) = load_keys(tmp_path, {"example.org": ("s1",)}).doubts()

    assert line.startswith("MAIL_DKIM_SELECTORS has no RSA key for example.org")


def test_a_key_does_not_show_itself(tmp_path: Path) -> None:
    """In no repr of what holds it."""
    put_key(tmp_path, "example.org", "s1")
    keys = load_keys(tmp_path, {"example.org": ("s1",)})

    shown = repr(keys) + repr(keys.keyring())

    secret = b"".join(pem(Algorithm.RSA).splitlines()[1:-1])
    assert not any(secret[i : i + 20].decode() in shown for i in range(0, len(secret) - 20, 20))


# Writing.


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_new_key_is_for_its_owner_only(tmp_path: Path, algorithm: Algorithm) -> None:
    """Whatever the umask is; nothing else stays behind."""
    path = key_path(tmp_path, "example.org", "s1")
    before = os.umask(0)
    try:
        write_key(path, make_key(algorithm))
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path, "example.org", "s1").signing.algorithm is algorithm
    assert list(path.parent.iterdir()) == [path]


def test_a_key_is_never_overwritten_by_many_at_once(tmp_path: Path) -> None:
    """Mail signed with the first is still on its way."""
    path = key_path(tmp_path, "example.org", "s1")
    contents = [b"%d" % n for n in range(16)]
    written: list[bytes] = []

    def write(content: bytes) -> None:
        try:
            write_key(path, content)
            written.append(content)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert written == [path.read_bytes()]
    assert list(path.parent.iterdir()) == [path]


# Settings.


def settings(**changes: str) -> Settings:
    """Return settings that load."""
    return load(
        {
            "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:1",
            "MAIL_POSTGRES_PRIMARY_DSN": "dbname=mail",
            "MAIL_SMTP_ADDR": "127.0.0.1:25",
            "MAIL_SMTP_FROM_EMAIL": "shop@example.com",
            **changes,
        }
    )


def test_nothing_is_signed_unless_it_is_asked_for() -> None:
    """And nothing is doubted then."""
    assert (settings().dkim_selectors, settings().dkim_dir) == ({}, None)
    assert settings().warnings == ()


def test_selectors_without_a_directory_are_refused() -> None:
    """Half of it is a mistake."""
    with pytest.raises(ConfigError, match=r"^MAIL_DKIM_DIR is not set; MAIL_DKIM_SELECTORS names"):
        settings(MAIL_DKIM_SELECTORS="example.com:s1")


def test_selectors_of_a_wrong_form_say_what_to_write() -> None:
    """As all settings do."""
    with pytest.raises(ConfigError, match=r"^MAIL_DKIM_SELECTORS='s1' has .*write example.org:"):
        settings(MAIL_DKIM_SELECTORS="s1")


def test_a_directory_without_selectors_is_doubted(tmp_path: Path) -> None:
    """Keys that nothing names do not sign; perhaps on purpose, before the record is out."""
    (warning,) = settings(MAIL_DKIM_DIR=str(tmp_path)).warnings

    assert warning.startswith("MAIL_DKIM_SELECTORS is not set: nothing is signed")


def test_a_sender_identity_without_a_key_is_doubted(tmp_path: Path) -> None:
    """Signing for others only is hardly meant; a parent domain covers it."""
    place = {"MAIL_DKIM_DIR": str(tmp_path)}

    (warning,) = settings(MAIL_DKIM_SELECTORS="example.org:s1", **place).warnings

    assert "no key for example.com" in warning
    assert "its mail leaves unsigned" in warning
    for covering in ("example.com:s1", "com:s1"):
        assert settings(MAIL_DKIM_SELECTORS=covering, **place).warnings == ()


def test_the_library_is_loaded_only_where_something_is_signed() -> None:
    """Memory and start-up are paid by every process; senders never need it."""
    program = (
        "import sys; import mailworkers.roles.sender, mailworkers.adapters.intake\n"
        "print([m for m in ('cryptography.hazmat', 'dns') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert found.stdout.strip() == b"[]"
