"""The composition root: lists the rooms, connects vendors, clock and database. Production and tests both start here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx2
from litestar.types import ASGIApp, Scope

from daysong.features.phone_calls.schedule import zones
from daysong.kernel.database import migrations
from daysong.kernel.database.replica import Replica
from daysong.kernel.database.transactions import Database
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.registry import Registry
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Queue
from daysong.kernel.jobs.worker import Worker
from daysong.kernel.limits.budgets import Budget
from daysong.kernel.limits.limits import Limits
from daysong.kernel.live import Live
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock, MovableClock, SystemClock
from daysong.surface import SURFACE
from daysong.transport import added_functions, schedule, testing_mode
from daysong.transport.callers.auth import Authenticator
from daysong.transport.callers.gate import Gate
from daysong.transport.http import app as http
from daysong.transport.http.health import Readiness
from daysong.transport.metrics.page import MetricsPage
from daysong.transport.metrics.processes import Processes
from daysong.transport.metrics.worker_app import WorkerApp
from daysong.transport.pages.console.records import Checks
from daysong.transport.sync.hub import Hub
from daysong.transport.sync.hub import Limits as SocketLimits
from daysong.transport.system import functions as system_functions
from daysong.transport.webhooks import clerk as clerk_webhook
from daysong.transport.webhooks import kie as kie_webhook
from daysong.transport.webhooks import revenuecat as revenuecat_webhook
from daysong.transport.webhooks import suno as suno_webhook
from daysong.transport.webhooks import vapi as vapi_webhook
from daysong.vendors.clerk.client import ClerkUsers, TokenVerifier
from daysong.vendors.expo.client import Expo, Notifier
from daysong.vendors.files import VIDEO_TIMEOUT, FileFetcher, VideoFetcher
from daysong.vendors.kie.client import Kie, VideoMaker
from daysong.vendors.openai.client import AnswerReader, Diarist, LyricsWriter, OpenAI
from daysong.vendors.openai.extraction import EntryReader, Reader
from daysong.vendors.openai.video_prompt import VideoPrompts, VideoPromptWriter
from daysong.vendors.revenuecat.client import RevenueCat, Subscribers
from daysong.vendors.storage import FileStore
from daysong.vendors.suno.client import SongMaker, Suno
from daysong.vendors.vapi.client import Telephone, Vapi


class App:
    """A whole daysong: `runtime` runs functions, `worker` runs jobs, `asgi` answers HTTP."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        mounts: Mapping[str, ASGIApp] | None = None,
        limits: SocketLimits | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Connect everything; nothing is opened yet.

        `transport` takes the place of the network towards the vendors, `mounts` are other ASGI apps by path prefix,
        `limits` are those of sockets, and `processes` are those that serve together.
        """
        if settings.database_url is None:
            raise DaysongError("an app needs a database")
        clock = clock or SystemClock()
        self.settings = settings
        self.clock = clock
        # Set by commands: the checks of `daysong doctor`, for the console.
        self.checks: Checks | None = None
        zones.use(settings.tzdata_dir)
        self.database = Database(
            settings.database_url,
            max_connections=settings.database_pool,
            statement_cache=settings.database_statement_cache,
            transactions_only=settings.database_direct_url is not None,
        )
        self.replica = None
        if settings.database_replica_url is not None:
            self.replica = Replica(
                settings.database_replica_url,
                self.database,
                max_lag=settings.database_replica_max_lag,
                max_connections=settings.database_pool,
            )
        self.files = FileStore(settings.storage_url)
        self.limits = Limits(settings, self.database, clock)
        self.budget = Budget(settings, self.database, clock)

        def limits_of(vendor: str) -> dict[str, Any]:
            return {"line": self.limits.line(vendor), "breaker": self.limits.breaker(vendor)}

        self._openai = OpenAI(
            settings.openai, transport=transport, clock=clock, budget=self.budget, **limits_of("openai")
        )
        self._suno = Suno(settings.suno, transport=transport, clock=clock, **limits_of("suno"))
        self._kie = Kie(settings.kie, transport=transport, clock=clock, **limits_of("kie"))
        self._fetcher = FileFetcher(
            hosts=settings.suno.file_hosts,
            allowed_origins=settings.trusted_origins,
            transport=transport,
            clock=clock,
        )
        self._video_fetcher = VideoFetcher(
            hosts=settings.kie.file_hosts,
            allowed_origins=settings.trusted_origins,
            transport=transport,
            timeout=VIDEO_TIMEOUT,
            clock=clock,
        )
        self._verifier = TokenVerifier(settings.clerk, transport=transport)
        self._clerk_users = ClerkUsers(settings.clerk, transport=transport, clock=clock, **limits_of("clerk"))
        self._revenuecat = RevenueCat(settings.revenuecat, transport=transport, clock=clock, **limits_of("revenuecat"))
        self._vapi = Vapi(settings.vapi, transport=transport, clock=clock, **limits_of("vapi"))
        self._expo = Expo(settings.expo, transport=transport, clock=clock, **limits_of("expo"))
        self._added = added_functions.load(settings)
        product = Registry(one for one in SURFACE if settings.offers(one.part))
        added = self._added.MODULES if self._added else ()
        registry = Registry((*SURFACE, *system_functions.modules(product), *added), off=settings.off)
        self.runtime = Runtime(
            settings=settings,
            registry=registry,
            database=self.database,
            replica=self.replica,
            queue=Queue(registry, self.database),
            clock=clock,
            services={
                LyricsWriter: self._openai,
                Diarist: self._openai,
                AnswerReader: self._openai,
                EntryReader: Reader(self._openai),
                VideoPromptWriter: VideoPrompts(self._openai),
                SongMaker: self._suno,
                VideoMaker: self._kie,
                FileFetcher: self._fetcher,
                VideoFetcher: self._video_fetcher,
                FileStore: self.files,
                ClerkUsers: self._clerk_users,
                Subscribers: self._revenuecat,
                Telephone: self._vapi,
                Notifier: self._expo,
                Budget: self.budget,
                Limits: self.limits,
            },
        )
        timetable = schedule.timetable(settings.off)
        self.worker = Worker(
            self.runtime,
            timetable,
            runs_on_hold=schedule.RUNS_ON_HOLD,
            each_minute=schedule.EACH_MINUTE,
            outage=self.limits.outage,
        )
        self.metrics = MetricsPage(self.runtime, timetable, processes)
        self._authenticator = authenticator = Authenticator(self._verifier, settings.admin_keys, settings.hash_key)
        self.gate = Gate(self.runtime, self.limits.buckets)
        authenticator.guard = self.gate
        self.hub = Hub(
            self.runtime, authenticator, Live(settings.listen_url, lost=self.database.renew), limits, self.gate
        )
        self.asgi = http.create(
            self.runtime,
            documented=product,
            verifier=self._verifier,
            files=self.files,
            webhooks=[
                *clerk_webhook.routes(self.runtime),
                *suno_webhook.routes(self.runtime),
                *(revenuecat_webhook.routes(self.runtime) if settings.offers("billing") else ()),
                *(kie_webhook.routes(self.runtime) if settings.offers("video") else ()),
                *(vapi_webhook.routes(self.runtime) if settings.offers("phone") else ()),
            ],
            mounts=mounts,
            pending_migrations=self._pending_migrations,
            hub=self.hub,
            gate=self.gate,
            metrics=self.metrics,
            test_controls=testing_mode.Controls(reset=self._reset, drain=self._drain),
            checks=lambda: self.checks,
            on_startup=[self.report, self.open],
            on_shutdown=[self.close],
        )
        self._users = 0

    def worker_asgi(self) -> WorkerApp:
        """Return the ASGI app of a process that only works: metrics and health."""
        readiness = Readiness(self.runtime, self._pending_migrations)

        async def may_read(scope: Scope) -> bool:
            return self.gate.may_read_metrics(scope) or await self._authenticator.is_admin(scope, self.clock.now())

        return WorkerApp(self.metrics, may_read, self.worker, readiness)

    def report(self) -> None:
        """Log what a process that serves or works was started with: which time zone data it plans calls by."""
        zones.report(self.clock.now().date())

    async def open(self) -> None:
        """Connect to the database. The server and the worker of one process may both ask; the first one does."""
        self._users += 1
        if self._users == 1:
            await self.database.open()
            if self.replica is not None:
                await self.replica.open()
            if self._added is not None:
                await self._added.create_tables(self.database)

    async def close(self) -> None:
        """Let go of the database and the vendors, when the last one asks."""
        self._users -= 1
        if self._users == 0:
            await self.hub.close()
            if self.replica is not None:
                await self.replica.close()
            await self.database.close()
            for client in (
                self._openai, self._suno, self._fetcher, self._verifier, self._clerk_users, self._revenuecat,
                self._vapi, self._expo, self._kie, self._video_fetcher,
            ):  # fmt: skip
                await client.close()

    async def call(self, name: str, args: Mapping[str, Any] | None = None, *, caller: Caller) -> Any:
        """Call a function as the wire would: checked arguments in, its result object out. Raises its errors."""
        function = self.runtime.registry.find(name, caller)
        return await self.runtime.call(function, function.parse(dict(args or {})), caller)

    async def _pending_migrations(self) -> list[str]:
        async with self.database.pool.acquire() as connection:
            return await migrations.pending(connection, migrations.FOLDER)

    async def _reset(self) -> None:
        await self.database.empty()

    async def _drain(self, until: datetime | None) -> int:
        return await self.worker.drain(until=until, clock=MovableClock(self.clock.now()))


def build(
    settings: Settings,
    *,
    clock: Clock | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    mounts: Mapping[str, ASGIApp] | None = None,
    limits: SocketLimits | None = None,
    processes: Processes | None = None,
) -> App:
    """The app for these settings; see App."""
    return App(settings, clock=clock, transport=transport, mounts=mounts, limits=limits, processes=processes)
