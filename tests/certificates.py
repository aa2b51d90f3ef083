"""Certificates for the tests of TLS, made by the openssl program when they are needed."""

import shutil
import subprocess
from pathlib import Path

import pytest

_FROM, _UNTIL = "20200101000000Z", "20991231000000Z"


class Certificates:
    """A CA of its own and what it signed: `localhost`, `elsewhere` (wrong name), `expired`."""

    def __init__(self, directory: Path) -> None:
        if not shutil.which("openssl"):
            raise RuntimeError("the tests of TLS need the openssl program: install package openssl")
        self._directory = directory
        self.ca = directory / "ca.pem"
        self._make_ca()
        self._issue("localhost", "DNS:localhost,IP:127.0.0.1", _FROM, _UNTIL)
        self._issue("elsewhere", "DNS:elsewhere.test", _FROM, _UNTIL)
        self._issue("expired", "DNS:localhost,IP:127.0.0.1", _FROM, "20210101000000Z")

    def chain(self, identity: str) -> tuple[Path, Path]:
        """Return the files of certificate and key of *identity*."""
        return self._directory / f"{identity}.pem", self._directory / f"{identity}.key"

    def _make_ca(self) -> None:
        (self._directory / "index.txt").touch()
        (self._directory / "ca.cnf").write_text(_CA_CONFIG.format(directory=self._directory))
        self._openssl(
            "req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=test CA", "-days", "3650", "-config", "ca.cnf",
        )  # fmt: skip

    def _issue(self, identity: str, names: str, start: str, end: str) -> None:
        self._openssl(
            "req", *_NEW_KEY, "-keyout", f"{identity}.key", "-out", f"{identity}.csr",
            "-subj", f"/CN={identity}", "-addext", f"subjectAltName={names}", "-config", "ca.cnf",
        )  # fmt: skip
        self._openssl(
            "ca", "-batch", "-notext", "-config", "ca.cnf", "-in", f"{identity}.csr",
            "-out", f"{identity}.pem", "-startdate", start, "-enddate", end,
        )  # fmt: skip

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments],
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"openssl {arguments[0]}: {done.stderr}")


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_CA_CONFIG = """
[ca]
default_ca = test
[test]
database = {directory}/index.txt
new_certs_dir = {directory}
certificate = {directory}/ca.pem
private_key = {directory}/ca.key
default_md = sha256
rand_serial = yes
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates made for this run."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
