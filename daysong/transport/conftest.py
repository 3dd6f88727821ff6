"""The real app over HTTP for the transport's tests: small modules of functions, real tokens, a real database."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from daysong.kernel.database.transactions import Database
from daysong.kernel.functions.registry import Module, Registry
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Queue
from daysong.kernel.settings import Settings, load
from daysong.kernel.time.clock import MovableClock
from daysong.transport.http import app as http
from daysong.vendors.clerk.client import TokenVerifier
from daysong.vendors.storage import FileStore

NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
ISSUER = "https://clerk.daysong.test"
ADMIN_KEY = "prod:daysong|an-admin-key-for-tests"

Token = Callable[..., str]


@pytest.fixture(scope="session")
def signing_key() -> rsa.RSAPrivateKey:
    """The private key that signs session tokens."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def jwks_file(signing_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the public key, as the issuer publishes it."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(signing_key.public_key()))
    path = tmp_path_factory.mktemp("clerk") / "jwks.json"
    path.write_text(json.dumps({"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}))
    return path


@pytest.fixture
def token(signing_key: rsa.RSAPrivateKey) -> Token:
    """Returns a session token: `token("alice")`, optionally with other claims or another key."""

    def sign(subject: str, *, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        standard = {"iss": ISSUER, "aud": "convex", "sub": subject, "iat": NOW, "exp": NOW + timedelta(minutes=1)}
        return jwt.encode(standard | claims, key or signing_key, algorithm="RS256", headers={"kid": "one"})

    return sign


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    """The file store of the app."""
    return FileStore(tmp_path / "files")


class App:
    """An app under test, with its runtime and clock, and an HTTP client."""

    def __init__(self, asgi: http.WebApp, runtime: Runtime, clock: MovableClock, client: httpx2.AsyncClient) -> None:
        self.asgi = asgi
        self.runtime = runtime
        self.clock = clock
        self.client = client

    async def call(self, kind: str, path: str, args: Any = None, **options: Any) -> Any:
        """Call a function as a Convex client does; return the JSON of the response, which must be a 200."""
        headers = options.pop("headers", {})
        body = {"path": path, "args": [args or {}], "format": "convex_encoded_json"} | options
        answer = await self.client.post(f"/api/{kind}", json=body, headers=headers)
        assert answer.status_code == httpx2.codes.OK, answer.text
        return answer.json()


MakeApp = Callable[..., Awaitable[App]]


@pytest.fixture
async def make_app(
    anyio_backend: str, database_url: str, jwks_file: Path, files: FileStore, tmp_path: Path
) -> AsyncIterator[MakeApp]:
    """Builds an app: `await make_app(module, production=True)`; other options are passed to `http.create`."""
    async with AsyncExitStack() as stack:

        async def make(*modules: Module, production: bool = False, test_mode: bool = False, **options: Any) -> App:
            settings = app_settings(jwks_file, tmp_path, production=production, test_mode=test_mode)
            registry, database, clock = Registry(modules), Database(database_url), MovableClock(NOW)
            await database.open()
            stack.push_async_callback(database.close)
            queue = Queue(registry, database)
            runtime = Runtime(
                settings=settings, registry=registry, database=database, queue=queue, clock=clock, services={}
            )
            verifier = TokenVerifier(settings.clerk)
            stack.push_async_callback(verifier.close)
            asgi = http.create(runtime, **cast("Any", {"verifier": verifier, "files": files} | options))
            transport = httpx2.ASGITransport(app=asgi, raise_app_exceptions=False)
            client = httpx2.AsyncClient(transport=transport, base_url="https://daysong.test")
            await stack.enter_async_context(client)
            return App(asgi, runtime, clock, client)

        yield make


def app_settings(jwks_file: Path, data_dir: Path, *, production: bool, test_mode: bool) -> Settings:
    """Settings from `load`, then with `test_mode`, which `load` refuses in production."""
    settings = load(
        {
            "DAYSONG_ENV": "production" if production else "development",
            "DATABASE_URL": "postgresql://elsewhere",
            "DAYSONG_DATA_DIR": str(data_dir),
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_HASH_KEY": "a-hash-key-for-tests",
            "SITE_URL": "https://daysong.test",
            "OPENAI_API_KEY": "none",
            "SUNO_API_KEY": "none",
            "CLERK_FRONTEND_API_URL": ISSUER,
            "CLERK_JWKS_FILE": str(jwks_file),
            "CLERK_WEBHOOK_SIGNING_SECRET": "none",
            "CLERK_SECRET_KEY": "none",
            "REVENUECAT_API_KEY": "none",
            "REVENUECAT_PROJECT_ID": "none",
            "REVENUECAT_WEBHOOK_SECRET": "none",
            "VAPI_API_KEY": "none",
            "VAPI_PHONE_NUMBER_ID": "none",
            "VAPI_WEBHOOK_SECRET": "none",
            "VAPI_CREDENTIAL_ID": "none",
        }
    )
    return replaced(settings, test_mode=test_mode)


def replaced(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with some changed."""
    return Settings(**({name: getattr(settings, name) for name in settings.__struct_fields__} | changes))


def bearer(token: str) -> dict[str, str]:
    """Return the header of a signed-in user."""
    return {"Authorization": f"Bearer {token}"}


def admin(acting_as: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the header with the admin key, optionally acting as a user."""
    identity = f":{base64.b64encode(json.dumps(acting_as).encode()).decode()}" if acting_as else ""
    return {"Authorization": f"Convex {ADMIN_KEY}{identity}"}


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """The log lines of the test."""
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]
