"""nginx and Caddy with the examples of `deploy/`, run in front of server processes for tests."""

from __future__ import annotations

import datetime
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from daysong.commands.environment import HOST, free_port
from rehearsal.processes.server import ROOT

DEPLOY = ROOT / "deploy"
# Around the file of sites that a distribution's nginx.conf includes.
# As root, its workers would run as another account, which cannot read the folders of a test.
AROUND = """
    {user}
    daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
    events {{ worker_connections 64; }}
    http {{
        access_log off;
        client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
        uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
        include {folder}/daysong.conf;
    }}"""
STOPS_WITHIN = 20.0  # seconds


class Proxy(NamedTuple):
    """A running proxy: its address, and the certificate that clients trust, if it has one."""

    origin: str
    certificate: Path | None

    @property
    def trusted(self) -> ssl.SSLContext | bool:
        """What an HTTP client takes as `verify`."""
        return True if self.certificate is None else ssl.create_default_context(cafile=self.certificate)


def program(name: str) -> str | None:
    """Return the path of `nginx` or `caddy`, if it is installed."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def running(name: str, folder: Path, behind: Sequence[int], *, files: Path | None = None) -> Iterator[Proxy]:
    """Run `nginx` or `caddy`, which is installed, in front of one or two ports of this machine.

    `files` is the folder of stored files, for MEDIA_ACCEL.
    """
    folder.mkdir(exist_ok=True)
    if name == "nginx":
        command, environ, proxy = _nginx(program(name) or name, folder, behind, files)
    else:
        command, environ, proxy = _caddy(program(name) or name, folder, behind)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log)  # noqa: S603
    try:
        yield proxy
    finally:
        process.terminate()
        process.wait(STOPS_WITHIN)


def nginx(program: str, folder: Path) -> list[str]:
    """Return how to run an nginx with the sites of `folder / "daysong.conf"`."""
    settings = folder / "nginx.conf"
    settings.write_text(AROUND.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    return [program, "-p", str(folder), "-c", str(settings)]


def _nginx(
    program: str, folder: Path, behind: Sequence[int], files: Path | None
) -> tuple[list[str], dict[str, str], Proxy]:
    """Return how to run deploy/nginx/daysong.conf, with other ports, names and certificates."""
    certificate = _write_certificate(folder)
    port, plain = free_port(), free_port()
    text = (DEPLOY / "nginx/daysong.conf").read_text()
    for old, new in (
        *((f"{HOST}:{8000 + at}", f"{HOST}:{upstream}") for at, upstream in enumerate(behind)),
        ("listen 80;", f"listen {HOST}:{plain};"),
        ("listen 443 ssl", f"listen {HOST}:{port} ssl"),
        ("/etc/letsencrypt/live/api.example.com", str(folder)),
        ("/var/lib/daysong/files/", f"{files or folder}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "daysong.conf").write_text(text)
    command = nginx(program, folder)
    assert subprocess.run([*command, "-t"], capture_output=True, check=False).returncode == 0  # noqa: S603
    return command, {}, Proxy(f"https://{HOST}:{port}", certificate)


def _caddy(program: str, folder: Path, behind: Sequence[int]) -> tuple[list[str], dict[str, str], Proxy]:
    """Return how to run deploy/caddy/Caddyfile, without TLS: it would ask for a certificate."""
    port = free_port()
    environ = {
        "SITE_ADDRESS": f"http://{HOST}:{port}",
        "UPSTREAMS": " ".join(f"{HOST}:{upstream}" for upstream in behind),
        "CADDY_ADMIN": f"unix/{folder}/admin",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [program, "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "caddy/Caddyfile")]
    return command, environ, Proxy(f"http://{HOST}:{port}", None)


def _write_certificate(folder: Path) -> Path:
    """Write a certificate for this machine's address, and its key; return the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )  # fmt: skip
    certificate = folder / "fullchain.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate
