"""DKIM keys: files that hold them, and what signs with them.

A key of a domain is the file `<MAIL_DKIM_DIR>/<domain>/<selector>.pem`: RSA or Ed25519, in PEM form
without a passphrase. Which of them sign is said by MAIL_DKIM_SELECTORS alone, so a file that is put
there does nothing until it is named. Keys are read once, when a role starts. An error names the
file and shows nothing of what is in it.
"""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from mailworkers.adapters.secrets import read_secret
from mailworkers.core.dkim import Algorithm, Keyring, SigningKey
from mailworkers.core.dkim_records import PublicKey
from mailworkers.core.errors import ConfigError

SETTING = "MAIL_DKIM_SELECTORS"
WEAKEST_BITS = 1024  # RFC 8301 section 3.2: signers must not use less
WEAK_BITS = 2048  # and should not use less
STRONGEST_BITS = 4096  # verifiers need not take more

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class KeyFile(msgspec.Struct, frozen=True):
    """A key as its file holds it: *public* half, *signing* half, and what is doubtful about it."""

    path: Path
    public: PublicKey
    signing: SigningKey
    doubt: str = ""


class LoadedKeys(msgspec.Struct, frozen=True):
    """Every key that signs, in the order of the setting."""

    files: tuple[KeyFile, ...]

    def keyring(self) -> Keyring:
        """Return what signs messages."""
        keys: dict[str, tuple[SigningKey, ...]] = {}
        for file in self.files:
            key = file.signing
            keys[key.domain] = (*keys.get(key.domain, ()), key)
        return Keyring(keys)

    def doubts(self) -> list[str]:
        """Return a line for each thing that works but is probably not meant."""
        lines = [f"{SETTING}: {file.path} {file.doubt}" for file in self.files if file.doubt]
        for domain, keys in self.keyring().keys.items():
            if all(key.algorithm is Algorithm.ED25519 for key in keys):
                lines.append(
                    f"{SETTING} has no RSA key for {domain}: receivers that do not know Ed25519 "
                    "take its mail for unsigned"
                )
        return lines


def key_path(directory: Path, domain: str, selector: str) -> Path:
    """Return the file of one key."""
    return directory / domain / f"{selector}.pem"


def load_keys(directory: Path | None, selectors: Mapping[str, tuple[str, ...]]) -> LoadedKeys:
    """Return the keys that *selectors* name by domain, read and tried.

    Raises ConfigError with a line for each that cannot be used, which names its file.
    """
    files, problems = [], []
    for domain, selector in ((d, s) for d, names in selectors.items() for s in names):
        path = key_path(directory or Path(), domain, selector)
        try:
            files.append(load_key(path, domain, selector))
        except ValueError as error:
            problems.append(f"{SETTING} names {domain}:{selector}, but {error}")
    problems += _repeated(files)
    if problems:
        raise ConfigError("\n".join(problems))
    return LoadedKeys(tuple(files))


def _repeated(files: list[KeyFile]) -> Iterator[str]:
    seen: dict[tuple[str, Algorithm], Path] = {}
    for file in files:
        key = file.signing
        first = seen.setdefault((key.domain, key.algorithm), file.path)
        if first != file.path:
            yield (
                f"{SETTING} names two {key.algorithm} keys of {key.domain}, {first} and "
                f"{file.path}; one signature of a kind is enough, leave the older one out"
            )


def load_key(path: Path, domain: str, selector: str) -> KeyFile:
    """Return the key in the file *path*; raise ValueError, naming the file, if it cannot be used.

    It has signed once when this returns: a key that cannot would refuse every command.
    """
    text = read_secret(str(path))
    try:
        private = serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise ValueError(f"{path} is encrypted; store the key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"{path} is not a private key in PEM form; `mailworkers dkim keygen` makes one"
        ) from None
    match private:
        case rsa.RSAPrivateKey():
            algorithm, sign, doubt = Algorithm.RSA, _rsa(private), _judge_size(path, private)
        case ed25519.Ed25519PrivateKey():
            algorithm, sign, doubt = Algorithm.ED25519, private.sign, ""
        case _:
            raise ValueError(f"{path} is neither an RSA nor an Ed25519 key; DKIM knows no other")
    signing = SigningKey(domain, selector, algorithm, sign)
    _try(path, signing)
    return KeyFile(path, _public(private), signing, doubt)


def _judge_size(path: Path, private: rsa.RSAPrivateKey) -> str:
    """Return what is doubtful about the size; raise ValueError where it cannot be used."""
    bits = private.key_size
    if not WEAKEST_BITS <= bits <= STRONGEST_BITS:
        raise ValueError(
            f"{path} is an RSA key of {bits} bits; verifiers take {WEAKEST_BITS} to "
            f"{STRONGEST_BITS} (RFC 8301), use {WEAK_BITS}"
        )
    return f"has only {bits} bits; use {WEAK_BITS}" if bits < WEAK_BITS else ""


def _rsa(private: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    scheme, hashed = padding.PKCS1v15(), Prehashed(hashes.SHA256())
    return lambda digest: private.sign(digest, scheme, hashed)


def _try(path: Path, key: SigningKey) -> None:
    try:
        key.sign(bytes(hashes.SHA256.digest_size))
    except Exception:  # whatever the library finds: its message might say something of the key
        raise ValueError(f"{path} cannot sign; make another key") from None


def _public(private: PrivateKey) -> PublicKey:
    """Return the public half: of RSA with its algorithm named around it, as everybody does."""
    public = private.public_key()
    encoding, form = serialization.Encoding, serialization.PublicFormat
    if isinstance(public, rsa.RSAPublicKey):
        return PublicKey(
            Algorithm.RSA,
            public.public_bytes(encoding.DER, form.SubjectPublicKeyInfo),
            public.public_bytes(encoding.DER, form.PKCS1),
        )
    return PublicKey(Algorithm.ED25519, public.public_bytes(encoding.Raw, form.Raw))


def make_key(algorithm: Algorithm, bits: int = WEAK_BITS) -> bytes:
    """Return a new private key in PEM form; *bits* count for RSA."""
    private: PrivateKey
    if algorithm is Algorithm.RSA:
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_key(path: Path, pem: bytes) -> None:
    """Write a new key file that only its owner can read, whole or not at all.

    Raises FileExistsError where there is one already: signatures made with it are still on the way.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename, never over another
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
