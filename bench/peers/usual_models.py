"""The tables of bench/peers/usual.py as SQLAlchemy maps them: the columns that its functions use."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, DateTime, ForeignKey, LargeBinary, Text, func
from sqlalchemy.dialects.postgresql import ENUM, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    """Base of all models."""

    type_annotation_map = {  # noqa: RUF012 - as SQLAlchemy reads it
        datetime: DateTime(timezone=True), str: Text, dict[str, Any]: JSONB, list[str]: ARRAY(Text), bytes: LargeBinary
    }  # fmt: skip


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    clerk_id: Mapped[str]
    email: Mapped[str | None]
    name: Mapped[str | None]
    mailbox_hash: Mapped[bytes | None]
    show_name_on_shares: Mapped[bool]
    suspension: Mapped[str | None]
    deleted_at: Mapped[datetime | None]

    subscription: Mapped[Subscription | None] = relationship(back_populates="user")
    call_settings: Mapped[CallSettings | None] = relationship()
    charges: Mapped[list[UsageCharge]] = relationship()
    talks: Mapped[list[CallMinutes]] = relationship()


class Subscription(Base):
    __tablename__ = "subscriptions"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    lines: Mapped[dict[str, Any]]
    custom_music_limit: Mapped[int | None]
    last_reset_at: Mapped[datetime]
    counted_since: Mapped[datetime | None]
    counted_until: Mapped[datetime | None]
    counted_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(back_populates="subscription")


class UsageCharge(Base):
    __tablename__ = "usage_charges"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    charged_at: Mapped[datetime]

    refund: Mapped[UsageRefund | None] = relationship()


class UsageRefund(Base):
    __tablename__ = "usage_refunds"

    charge_id: Mapped[str] = mapped_column(ForeignKey("usage_charges.id"), primary_key=True)


class CallSettings(Base):
    __tablename__ = "call_settings"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    phone_e164: Mapped[str]
    timezone: Mapped[str]
    local_minutes: Mapped[int]
    cadence: Mapped[str]
    byday_mask: Mapped[int]
    language: Mapped[str]
    active: Mapped[bool]
    consent: Mapped[str]
    paused_reason: Mapped[str | None]
    next_run_at: Mapped[datetime | None]


class CallMinutes(Base):
    __tablename__ = "call_minutes"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    reserved_at: Mapped[datetime]
    seconds: Mapped[int]


class Diary(Base):
    __tablename__ = "diaries"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    title: Mapped[str | None]
    content: Mapped[str]
    date: Mapped[datetime]
    primary_music_id: Mapped[str | None] = mapped_column(ForeignKey("music.id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    primary_music: Mapped[Music | None] = relationship(foreign_keys=[primary_music_id], post_update=True)


class Music(Base):
    __tablename__ = "music"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    diary_id: Mapped[str | None] = mapped_column(ForeignKey("diaries.id"))
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id"))
    music_index: Mapped[int]
    status: Mapped[str]
    failure_reason: Mapped[str | None]
    title: Mapped[str | None]
    lyric: Mapped[str | None]
    lyric_with_time: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), deferred=True)
    duration: Mapped[float | None]
    audio_url: Mapped[str | None]
    stream_url: Mapped[str | None]
    image_url: Mapped[str | None]
    audio_file_id: Mapped[str | None]
    image_file_id: Mapped[str | None]
    image_width: Mapped[int | None]
    image_height: Mapped[int | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class SharedMusic(Base):
    __tablename__ = "shared_music"

    id: Mapped[str] = mapped_column(primary_key=True)
    share_id: Mapped[str]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    music_id: Mapped[str] = mapped_column(ForeignKey("music.id"))
    is_private: Mapped[bool]
    created_at: Mapped[datetime]

    user: Mapped[User] = relationship()
    music: Mapped[Music] = relationship()


class Generation(Base):
    __tablename__ = "generations"

    id: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    diary_id: Mapped[str] = mapped_column(ForeignKey("diaries.id"))
    charge_id: Mapped[str] = mapped_column(ForeignKey("usage_charges.id"))
    status: Mapped[str]
    callback_secret: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    diary: Mapped[Diary] = relationship()
    charge: Mapped[UsageCharge] = relationship()
    tracks: Mapped[list[Music]] = relationship()


class WebhookEvent(Base):
    __tablename__ = "webhook_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    vendor: Mapped[str]
    event_id: Mapped[str]
    type: Mapped[str]
    subject: Mapped[str | None]
    about: Mapped[list[str]]
    body: Mapped[str]
    received_at: Mapped[datetime]
    handler: Mapped[str | None]


class Job(Base):
    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    ticket: Mapped[str]
    function: Mapped[str]
    args: Mapped[dict[str, Any]]
    due_at: Mapped[datetime]
    unique_key: Mapped[str | None]


STATUS = ENUM(name="pgqueuer_status", create_type=False)


class QueueItem(Base):
    __tablename__ = "pgqueuer"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    priority: Mapped[int]
    entrypoint: Mapped[str]
    payload: Mapped[bytes]
    dedupe_key: Mapped[str]
    status: Mapped[str] = mapped_column(STATUS)
    created: Mapped[datetime] = mapped_column(server_default=func.now())
