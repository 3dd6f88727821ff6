"""The sandbox: vendors that run here, so that everything can be tried without a key and without the network.

It is one ASGI app, mounted at `/sandbox`, and the real vendor clients are pointed at it by settings. What a vendor was
asked is at `GET /sandbox/<vendor>/log`; how to make it misbehave is in `faults.py`.
"""

from __future__ import annotations

from pathlib import Path

import httpx2

from daysong.kernel.settings import (
    ClerkSettings,
    ExpoSettings,
    KieSettings,
    OpenAISettings,
    RevenueCatSettings,
    SunoSettings,
    VapiSettings,
)
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.sandbox.clerk import api as clerk
from daysong.sandbox.clerk import webhooks as clerk_webhooks
from daysong.sandbox.expo import api as expo
from daysong.sandbox.kie import api as kie
from daysong.sandbox.kie.clips import Film, film
from daysong.sandbox.music.on_demand import compose
from daysong.sandbox.openai import api as openai
from daysong.sandbox.revenuecat import api as revenuecat
from daysong.sandbox.revenuecat import webhooks as revenuecat_webhooks
from daysong.sandbox.suno import api as suno
from daysong.sandbox.suno.callbacks import Pace
from daysong.sandbox.suno.tasks import Compose
from daysong.sandbox.vapi import api as vapi
from daysong.sandbox.vapi import calls as vapi_calls
from daysong.sandbox.vapi import exchange as vapi_exchange
from daysong.sandbox.vapi import webhooks as vapi_webhooks
from daysong.sandbox.vendor import Answer, Receive, Scope, Send, Vendor, break_off, read_call, send_answer

PREFIX = "/sandbox/"

__all__ = ["Pace", "Sandbox"]


class Sandbox:
    """All vendors on one origin.

    origin    where the app is reached, such as `http://127.0.0.1:8000`; it is written into the links it hands out
    data_dir  keeps signing keys, audio and covers over a restart
    pace      songs are delivered by themselves at this pace; without one, `settle()` delivers
    http      posts the callbacks
    compose   makes the recordings; `hum` from `hum.py` spares tests the seconds that a song takes to compute
    film      makes the videos; `glimpse` from `kie/clips.py` spares tests a second for each
    calls     the pace at which phone calls live by themselves, if there is a pace at all
    """

    def __init__(
        self,
        origin: str,
        *,
        data_dir: Path,
        pace: Pace | None = None,
        http: httpx2.AsyncClient,
        clock: Clock | None = None,
        compose: Compose = compose,
        film: Film = film,
        calls: vapi_exchange.Pace | None = None,
    ) -> None:
        self.origin = origin.rstrip("/")
        clock = clock or SystemClock()
        data_dir = data_dir / "sandbox"
        self.openai = openai.SandboxOpenAI(clock)
        self.suno = suno.SandboxSuno(clock, self.origin, data_dir, pace=pace, http=http, compose=compose)
        self.kie = kie.SandboxKie(
            clock,
            self.origin,
            data_dir,
            http=http,
            live=pace is not None,
            film=film,
            song_titled=self._song_titled,
        )
        self.clerk = clerk.SandboxClerk(clock, self.origin, data_dir, http=http, live=pace is not None)
        self.revenuecat = revenuecat.SandboxRevenueCat(clock, self.origin, http=http, live=pace is not None)
        self.vapi = vapi.SandboxVapi(
            clock, self.origin, http=http, pace=None if pace is None else calls or vapi_exchange.Pace()
        )
        self.expo = expo.SandboxExpo(clock)
        self._vendors: dict[str, Vendor] = {
            each.name: each
            for each in (self.openai, self.suno, self.kie, self.clerk, self.revenuecat, self.vapi, self.expo)
        }

    def openai_settings(self) -> OpenAISettings:
        """Return settings for a client that writes lyrics with this sandbox."""
        return OpenAISettings(api_key=openai.API_KEY, base_url=f"{self.origin}{PREFIX}openai/v1", model=openai.MODEL)

    def suno_settings(self) -> SunoSettings:
        """Return settings for a client that orders songs from this sandbox; files come from this origin alone."""
        return SunoSettings(api_key=suno.API_KEY, base_url=self.suno.base_url)

    def kie_settings(self) -> KieSettings:
        """Return settings for a client that orders videos from this sandbox."""
        return KieSettings(api_key=kie.API_KEY, base_url=self.kie.base_url, webhook_hmac_key=kie.HMAC_KEY)

    async def _song_titled(self, title: str) -> kie.Song | None:
        found = await self.suno.song_titled(title)
        return None if found is None else kie.Song(*found)

    def clerk_settings(self) -> ClerkSettings:
        """Return settings that make the sandbox's Clerk the issuer."""
        return ClerkSettings(
            issuer=self.clerk.issuer,
            secret_key=clerk.SECRET_KEY,
            base_url=f"{self.origin}{PREFIX}clerk",
            webhook_signing_secret=clerk_webhooks.SIGNING_SECRET,
        )

    def revenuecat_settings(self) -> RevenueCatSettings:
        """Return settings that make the sandbox's RevenueCat the store."""
        return RevenueCatSettings(
            api_key=revenuecat.API_KEY,
            base_url=f"{self.origin}{PREFIX}revenuecat",
            project_id=revenuecat.PROJECT,
            webhook_secret=revenuecat_webhooks.SECRET,
            webhook_hmac_secret=revenuecat_webhooks.HMAC_SECRET,
        )

    def vapi_settings(self) -> VapiSettings:
        """Return settings that place calls with the sandbox's VAPI."""
        return VapiSettings(
            api_key=vapi.API_KEY,
            base_url=self.vapi.base_url,
            phone_number_id=vapi_calls.LINE,
            webhook_secret=vapi_webhooks.SECRET,
            credential_id=vapi_webhooks.CREDENTIAL,
        )

    def expo_settings(self) -> ExpoSettings:
        """Return settings that send notifications to the sandbox's Expo."""
        return ExpoSettings(access_token=expo.ACCESS_TOKEN, base_url=f"{self.origin}{PREFIX}expo")

    async def settle(self) -> None:
        """Deliver all outstanding webhooks at once."""
        await self.vapi.exchange.settle()
        await self.suno.settle()
        await self.kie.settle()
        await self.revenuecat.webhooks.settle()
        await self.clerk.webhooks.settle()

    async def close(self) -> None:
        """Stop all background deliveries."""
        await self.vapi.exchange.close()
        await self.suno.close()
        await self.kie.close()
        await self.revenuecat.webhooks.close()
        await self.clerk.webhooks.close()

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve ASGI; the path may begin with `/sandbox` or, mounted, come without it."""
        if scope["type"] != "http":
            return
        name, _, rest = scope["path"].removeprefix(PREFIX).lstrip("/").partition("/")
        vendor = self._vendors.get(name)
        if vendor is None:
            await send_answer(send, Answer(404, b'{"error":"no such vendor"}'))
            return
        # A router that mounts apps may add a slash to the path.
        call = await read_call(scope, receive, f"/{rest.rstrip('/')}")
        try:
            answer = await vendor.handle(call)
        except httpx2.RemoteProtocolError:
            await break_off(send)
            raise
        await send_answer(send, answer, with_body=call.method != "HEAD")
