"""`daysong serve` as separate processes, and keys that sign session tokens, for tests from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx2
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from daysong.commands.environment import HOST, free_port

ISSUER = "https://harness.example.test"
AUDIENCE = "convex"
KEY_ID = "rehearsal-1"
ADMIN_KEY = "an-admin-key-for-tests"
ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
STARTS_WITHIN = 40.0  # seconds
# The command line. Tests that run in the background inherit ignored signals, which a child process keeps ignoring.
CODE = """
import signal
for number in (1, 2, 3):
    signal.signal(number, signal.SIG_DFL)
from daysong.cli import main
main()
"""
DAYSONG = [sys.executable, "-c", CODE]
# Added to `settings_for`: a server without test mode.
NO_TEST_MODE = {"DAYSONG_TEST": "", "DAYSONG_TEST_FUNCTIONS": ""}


class Keys:
    """The keys of an issuer of session tokens, in a folder; existing ones are kept.

    jwks     the public keys, as the server's settings name them
    private  the private key (PEM), for clients that sign tokens themselves
    wrong    a private key that is not trusted
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.jwks, self.private, self.wrong = folder / "jwks.json", folder / "private.pem", folder / "wrong.pem"
        if self.private.exists():
            key = serialization.load_pem_private_key(self.private.read_bytes(), password=None)
            assert isinstance(key, rsa.RSAPrivateKey)
            self._key = key
            return
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
        self.jwks.write_text(json.dumps({"keys": [public | {"kid": KEY_ID, "use": "sig", "alg": "RS256"}]}))
        self.private.write_bytes(_pem(self._key))
        self.wrong.write_bytes(_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))

    def token(self, subject: str, *, lasts: float = 3600, **claims: Any) -> str:
        """Return a session token of that person, valid for so many seconds; no two are the same."""
        now = int(time.time())
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + lasts, "jti": uuid.uuid4().hex}
        return jwt.encode(said | claims, self._key, algorithm="RS256", headers={"kid": KEY_ID})


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip


def settings_for(database_url: str, folder: Path, keys: Keys) -> dict[str, str]:
    """Return an environment to serve in: test mode, tokens signed by `keys`, unreachable vendors."""
    return {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}},
        "DATABASE_URL": database_url,
        "DAYSONG_DATA_DIR": str(folder),
        "DAYSONG_TEST": "1",
        "DAYSONG_TEST_FUNCTIONS": "rehearsal.conformance",
        "PYTHONPATH": str(ROOT),
        "DAYSONG_ADMIN_KEY": ADMIN_KEY,
        "DAYSONG_HASH_KEY": "a-hash-key-for-tests",
        "SITE_URL": NOWHERE,
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": NOWHERE,
        "SUNO_API_KEY": "none",
        "SUNO_BASE_URL": NOWHERE,
        "CLERK_FRONTEND_API_URL": ISSUER,
        "CLERK_JWKS_FILE": str(keys.jwks),
    }


class Server:
    """A `daysong serve` process on its own port: `with Server(environ, folder) as server`.

    `module` runs in place of the command line, if given; `program` is a command line elsewhere. Output goes to
    a file in `folder`; `complaints` returns the lines of it that report errors.
    """

    def __init__(
        self,
        environ: dict[str, str],
        folder: Path,
        name: str = "server",
        *,
        processes: int = 1,
        port: int = 0,
        module: str | None = None,
        stdin: int | None = None,
        program: Sequence[str] = DAYSONG,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        self.origin = f"http://{HOST}:{self.port}"
        self.log = folder / f"{name}.log"
        command = [sys.executable, "-m", module] if module else [*program, "serve"]
        command += ["--port", str(self.port), "--processes", str(processes), *arguments]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                # A process session of its own: several server processes form a group and are killed together.
                command, env=environ, stdin=stdin, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Wait until it answers; RuntimeError with its output if it exits or never answers."""
        deadline = time.monotonic() + STARTS_WITHIN
        with httpx2.Client(base_url=self.origin, trust_env=False) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    if client.get("/healthz").is_success:
                        return
                except httpx2.TransportError:
                    pass
                time.sleep(0.05)
        self.kill()
        raise RuntimeError(self.log.read_text())

    def stop(self) -> None:
        """Stop it with SIGTERM, and with SIGKILL if that takes too long."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """Kill it and its workers with SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    def workers(self) -> list[int]:
        """Return the ids of the serving processes: of several, or of the only one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] or [self.process.pid]

    def complaints(self) -> list[str]:
        """Return unexpected lines of its log: errors, tracebacks, Python warnings."""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace")).splitlines()
        unexpected = re.compile(
            r"Traceback|\[error|\[critical|\[warning|\bERROR\b|Exception|never (retrieved|awaited)|RuntimeWarning"
        )
        # Tests send wrong keys on purpose.
        return [line for line in lines if unexpected.search(line) and "wrong admin key" not in line]
