-- What the functions of test mode count and list. Nobody's: they belong to no person, and outside of test mode nothing
-- reaches them. See daysong/transport/testing_functions.py.

create table testing_counters (
    key    text primary key,
    value  bigint not null
);

create table testing_todos (
    -- In the order added.
    place       bigint generated always as identity primary key,
    channel     text not null,
    text        text not null,
    created_at  timestamptz not null
);

create index testing_todos_by_channel on testing_todos (channel, place);
