"""The dependencies of `usual.py`: a session of the database, and the caller."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import jwt
import msgspec
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.peers.usual_models import User

ISSUER = os.environ["BENCH_ISSUER"]
KEY = jwt.PyJWK(msgspec.json.decode(Path(os.environ["BENCH_JWKS"]).read_bytes())["keys"][0], algorithm="RS256")
engine = create_async_engine("postgresql+asyncpg://", connect_args={"dsn": os.environ["BENCH_DATABASE"]})
session_factory = async_sessionmaker(engine, expire_on_commit=False)
bearer = HTTPBearer()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with session_factory() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


def get_subject(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    try:
        claims = jwt.decode(credentials.credentials, KEY, ["RS256"], audience="convex", issuer=ISSUER)
    except jwt.PyJWTError:
        raise HTTPException(401, "Could not validate credentials") from None
    return claims["sub"]


SubjectDep = Annotated[str, Depends(get_subject)]


async def get_current_user(subject: SubjectDep, session: SessionDep) -> User:
    user = await session.scalar(
        select(User).where(User.clerk_id == subject, User.deleted_at.is_(None), User.suspension.is_(None))
    )
    if user is None:
        raise HTTPException(401, "No such account")
    return user


UserDep = Annotated[User, Depends(get_current_user)]
