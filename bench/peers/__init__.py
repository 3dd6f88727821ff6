"""daysong beside two other servers for the same functions, for `script/bench peers`.

    floor    bare ASGI, asyncpg and msgspec: what the functions cost at least in Python
    usual    FastAPI, SQLAlchemy's ORM and pydantic, as their tutorials write it

They are written for measurements only: they check identity and input, but have no limits, live queries or retries.
"""
