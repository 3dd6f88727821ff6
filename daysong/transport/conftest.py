"""The real app over HTTP for the tests of the transport: small rooms, real tokens, a real database."""

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
from litestar import Litestar

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
    """The key of our people's Clerk."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def jwks_file(signing_key: rsa.RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its public half, as the issuer publishes it."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(signing_key.public_key()))
    path = tmp_path_factory.mktemp("clerk") / "jwks.json"
    path.write_text(json.dumps({"keys": [public | {"kid": "one", "use": "sig", "alg": "RS256"}]}))
    return path


@pytest.fixture
def token(signing_key: rsa.RSAPrivateKey) -> Token:
    """Signs a user in: `token("alice")`, with other claims or another key where a test asks for them."""

    def sign(subject: str, *, key: rsa.RSAPrivateKey | None = None, **claims: Any) -> str:
        said = {"iss": ISSUER, "aud": "convex", "sub": subject, "iat": NOW, "exp": NOW + timedelta(minutes=1)}
        return jwt.encode(said | claims, key or signing_key, algorithm="RS256", headers={"kid": "one"})

    return sign


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    """Where the app keeps files."""
    return FileStore(tmp_path / "files")


class App:
    """An app under test: what it was made of, and a client that talks to it."""

    def __init__(self, litestar: Litestar, runtime: Runtime, clock: MovableClock, client: httpx2.AsyncClient) -> None:
        self.litestar = litestar
        self.runtime = runtime
        self.clock = clock
        self.client = client

    async def call(self, kind: str, path: str, args: Any = None, **options: Any) -> Any:
        """What a Convex client would get for the call: the JSON of the answer, which must be a 200."""
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
    """Builds an app of some rooms: `await make_app(room, production=True)`; other options go to `http.create`."""
    async with AsyncExitStack() as stack:

        async def make(*rooms: Module, production: bool = False, test_mode: bool = False, **options: Any) -> App:
            settings = app_settings(jwks_file, tmp_path, production=production, test_mode=test_mode)
            registry, database, clock = Registry(rooms), Database(database_url), MovableClock(NOW)
            await database.open()
            stack.push_async_callback(database.close)
            queue = Queue(registry, database)
            runtime = Runtime(
                settings=settings, registry=registry, database=database, queue=queue, clock=clock, services={}
            )
            verifier = TokenVerifier(settings.clerk)
            stack.push_async_callback(verifier.close)
            litestar = http.create(runtime, **cast("Any", {"verifier": verifier, "files": files} | options))
            transport = httpx2.ASGITransport(app=litestar, raise_app_exceptions=False)  # type: ignore[arg-type]
            client = httpx2.AsyncClient(transport=transport, base_url="https://daysong.test")
            await stack.enter_async_context(client)
            return App(litestar, runtime, clock, client)

        yield make


def app_settings(jwks_file: Path, data_dir: Path, *, production: bool, test_mode: bool) -> Settings:
    """Settings as `load` would have them; test mode in production is not to be had that way."""
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
    """The settings with some of them different."""
    return Settings(**({name: getattr(settings, name) for name in settings.__struct_fields__} | changes))


def bearer(token: str) -> dict[str, str]:
    """Return the header of a signed-in user."""
    return {"Authorization": f"Bearer {token}"}


def admin(acting_as: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the header with the admin key, perhaps acting as a user."""
    identity = f":{base64.b64encode(json.dumps(acting_as).encode()).decode()}" if acting_as else ""
    return {"Authorization": f"Convex {ADMIN_KEY}{identity}"}


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """What is logged while the test runs."""
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]
