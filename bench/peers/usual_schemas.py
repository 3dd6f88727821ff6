"""The bodies of requests and responses of `usual.py`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Schema(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PlanOut(Schema):
    tier: str
    music_limit: float
    period_days: float | None
    price: float


class UserOut(Schema):
    id: str = Field(alias="_id")
    name: str | None
    email: str | None


class SubscriptionOut(Schema):
    tier: str
    product_id: str
    status: str
    music_generations_used: float
    music_limit: float
    period_start: float
    period_end: float
    is_active: bool
    remaining_quota: float


class CallSettingsOut(Schema):
    id: str = Field(alias="_id")
    phone_e164: str = Field(alias="phoneE164")
    timezone: str
    time_of_day: str
    cadence: str
    active: bool
    language: str
    consent: str
    days_of_week: list[int] | None = None
    paused_reason: str | None = None
    next_run_at_utc: float | None = Field(default=None, alias="nextRunAtUTC")
    minutes_used: float
    minutes_limit: float


class ProfileOut(Schema):
    user: UserOut
    subscription: SubscriptionOut | None
    call_settings: CallSettingsOut | None


class SongOut(Schema):
    id: str = Field(alias="_id")
    status: str
    reason: str | None
    title: str | None
    image_url: str | None
    audio_url: str | None
    duration: float | None
    lyric: str | None


class DiaryOut(Schema):
    id: str = Field(alias="_id")
    creation_time: float = Field(alias="_creationTime")
    user_id: str
    content: str
    date: float
    updated_at: float
    title: str | None
    primary_music_id: str | None
    primary_music: SongOut | None


class DiaryPageOut(Schema):
    page: list[DiaryOut]
    next_cursor: str | None


class SharedOut(Schema):
    found: Literal[True] = True
    title: str
    created_at: float
    is_owner: bool
    image_url: str | None
    image_width: int | None
    image_height: int | None
    audio_url: str | None
    lyric: str | None
    lyric_with_time: Any
    duration: float | None
    user_name: str | None
    owner_clerk_id: str | None


class ContentIn(Schema):
    content: str = Field(min_length=1, max_length=50_000)


class CreatedOut(Schema):
    id: str = Field(alias="_id")


class StartedOut(Schema):
    diary_id: str
    success: bool
    remaining_quota: float


class ThanksOut(Schema):
    code: str = "OK"
    message: str = "Thank you"


class RevenueCatEventIn(Schema):
    model_config = ConfigDict(extra="allow")

    id: str
    type: str
    event_timestamp_ms: int = Field(alias="event_timestamp_ms")
    app_user_id: str = Field(alias="app_user_id")
    original_app_user_id: str = Field(alias="original_app_user_id")
    aliases: list[str] = []


class RevenueCatIn(Schema):
    api_version: str = Field(alias="api_version")
    event: RevenueCatEventIn


class SunoDataIn(Schema):
    task_id: str = Field(alias="task_id")
    callback_type: str
    data: list[dict[str, Any]]


class SunoIn(Schema):
    code: int
    msg: str
    data: SunoDataIn
