"""Builds the ASGI app from its routes and middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

from litestar import Litestar
from litestar.plugins.core import MsgspecDIPlugin
from litestar.routes import BaseRoute
from litestar.types import ASGIApp, LifespanHook, Receive, Scope, Send

from daysong.kernel.functions.descriptions import Description, describe
from daysong.kernel.functions.registry import Registry
from daysong.kernel.functions.runtime import Runtime
from daysong.transport import testing_mode
from daysong.transport.callers.auth import Authenticator
from daysong.transport.callers.gate import Gate, GateKeeper
from daysong.transport.http import functions_api, health, media, openapi, uploads
from daysong.transport.http.addresses import BelowSite
from daysong.transport.http.edge import Edge
from daysong.transport.http.routes import Route, Routes
from daysong.transport.metrics import page as metrics_page
from daysong.transport.metrics.page import MetricsPage
from daysong.transport.pages import docs, previews, share, site, static_route, studio
from daysong.transport.pages.assets import Assets
from daysong.transport.pages.console import routes as console
from daysong.transport.pages.console.records import Checks
from daysong.transport.server.bodies import BodyLimits
from daysong.transport.server.held_bytes import UNREAD
from daysong.transport.server.proxies import Proxies
from daysong.transport.sync.endpoint import SyncEndpoint
from daysong.transport.sync.hub import Hub
from daysong.vendors.clerk.client import TokenVerifier
from daysong.vendors.storage import FileStore


class Mounts:
    """ASGI middleware: passes path prefixes to other apps, which see the paths without the prefix."""

    def __init__(self, app: ASGIApp, mounts: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._mounts = {prefix.rstrip("/"): mounted for prefix, mounted in mounts.items()}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request or a connection."""
        path = scope["path"]
        for prefix, mounted in self._mounts.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                outer = cast("dict[str, Any]", scope)
                outer["path_template"] = prefix
                inner = {
                    **outer,
                    "path": path[len(prefix) :] or "/",
                    "raw_path": (outer.get("raw_path") or b"")[len(prefix) :] or b"/",
                }
                return mounted(cast("Scope", inner), receive, send)
        return self._app(scope, receive, send)


class _Litestar(Litestar):
    """Litestar without its plugins for pydantic, which take 0.1 s and 8 MB to import and serve no handler here."""

    @staticmethod
    def _get_default_plugins(plugins: list[Any]) -> list[Any]:
        return [*plugins, MsgspecDIPlugin()]


class WebApp:
    """The whole ASGI app: its layers around Litestar, which also gets the lifespan events.

    litestar  returns Litestar, which takes long to build; a server asks for it before it serves
    """

    def __init__(self, litestar: Callable[[], Litestar], layers: ASGIApp) -> None:
        self._litestar = litestar
        self._layers = layers

    @property
    def routes(self) -> Sequence[BaseRoute]:
        """The routes of Litestar."""
        return self._litestar().routes

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        """Serve a request, a connection, or the lifespan."""
        if scope["type"] == "lifespan":
            return self._litestar()(scope, receive, send)
        return self._layers(scope, receive, send)


def create(
    runtime: Runtime,
    *,
    documented: Registry | None = None,
    verifier: TokenVerifier,
    files: FileStore,
    webhooks: Sequence[Route] = (),
    mounts: Mapping[str, ASGIApp] | None = None,
    pending_migrations: health.PendingMigrations | None = None,
    test_controls: testing_mode.Controls | None = None,
    hub: Hub | None = None,
    gate: Gate | None = None,
    metrics: MetricsPage | None = None,
    checks: Callable[[], Checks | None] = lambda: None,
    on_startup: Sequence[LifespanHook] = (),
    on_shutdown: Sequence[LifespanHook] = (),
) -> WebApp:
    """Return the app: functions, their documentation, media, share pages, health, metrics, webhooks and mounts.

    documented          the functions in /docs and /openapi.json, if not all of the runtime
    webhooks            the routes that vendors call
    mounts              other ASGI apps by path prefix
    pending_migrations  returns the migrations to apply; with any, /readyz is 503
    gate                enforces rate limits
    metrics             renders /metrics
    hub                 serves the sockets of live queries
    checks              the checks of `daysong doctor`, for the console
    test_controls       implements test mode's routes; without effect unless settings turn test mode on
    """
    settings = runtime.settings
    authenticator = Authenticator(verifier, settings.admin_keys, settings.hash_key)
    authenticator.guard = gate
    testing = settings.test_mode and not settings.production
    api = functions_api.FunctionsApi(
        runtime, authenticator, clock_for=testing_mode.clock_for if testing else None, gate=gate
    )
    assets = Assets(settings)
    largest = functions_api.largest_body(runtime.registry)
    UNREAD.fit(largest)

    @cache
    def described() -> Description:
        return describe(function for function in documented or runtime.registry if function.public)

    controls = test_controls if testing else None

    @cache
    def litestar() -> Litestar:
        return _Litestar(
            route_handlers=[
                *openapi.handlers(described, settings),
                *docs.handlers(described, assets, studio.sandbox_of(settings, assets)),
                *share.handlers(runtime, assets),
                *previews.handlers(runtime, files),
                *site.handlers(assets),
                *studio.handlers(runtime, assets),
                *static_route.handlers(),
                *console.handlers(runtime, assets, authenticator, checks),
                *health.handlers(runtime, pending_migrations),
                *metrics_page.handlers(metrics or MetricsPage(runtime)),
                *(testing_mode.handlers(authenticator, runtime.clock, controls) if controls else ()),
            ],
            exception_handlers=site.error_handlers(assets),
            request_max_body_size=largest,
            # Our document has the exact types of every function; Litestar's would describe its handlers.
            openapi_config=None,
            # Litestar would log tracebacks, which may quote users' texts.
            logging_config=None,
            debug=False,
            on_startup=on_startup,
            on_shutdown=on_shutdown,
        )

    def others(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return cast("Awaitable[None]", litestar()(scope, receive, send))

    # Around the router, since its middleware does not see requests without a route.
    direct = [*api.routes(), *webhooks]
    # Uploads have their own limits: a file takes longer than other bodies, and is not held in memory. Media requests
    # have no body.
    received = [*uploads.routes(runtime, files, gate), *media.routes(runtime, files)]
    rest: ASGIApp = Routes(received, BodyLimits(cast("ASGIApp", others)))
    inner: ASGIApp = Routes(direct, Mounts(rest, mounts) if mounts else rest, body_limits=True)
    if gate is not None:
        inner = GateKeeper(inner, gate, lambda scope: authenticator.is_admin(scope, runtime.clock.now()))
    outer: ASGIApp = cast("ASGIApp", Edge(inner))
    if hub is not None:
        outer = cast("ASGIApp", SyncEndpoint(outer, hub))
    if urlsplit(settings.site_url).path.strip("/"):
        paths = (route.path for route in (*litestar().routes, *direct, *received))
        own = {path.split("/")[1] for path in (*paths, *(mounts or {}))}
        outer = cast("ASGIApp", BelowSite(outer, settings.site_url, own))
    # Outermost, so that all layers see the client's address.
    return WebApp(litestar, cast("ASGIApp", Proxies(outer, settings.trusted_proxies)))
