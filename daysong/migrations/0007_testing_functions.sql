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


-- Whoever looks at a counter waits for its key, whoever looks at a list for its channel.
create function notify_live_counters() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, key) from (select distinct key from touched) as keys;
    return null;
end
$$;


create function notify_live_todos() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, channel) from (select distinct channel from touched) as channels;
    return null;
end
$$;


select attach_live_trigger('testing_counters', 'notify_live_counters'),
       attach_live_trigger('testing_todos', 'notify_live_todos');
