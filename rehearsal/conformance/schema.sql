-- The tables of the functions that clients are tried out with. They belong to no account and are no part of the
-- product's schema. May be applied again, and by several processes at once.

select pg_advisory_xact_lock(hashtext('rehearsal/conformance/schema.sql'));


create table if not exists testing_counters (
    key    text primary key,
    value  bigint not null
);


create table if not exists testing_todos (
    -- In the order added.
    place       bigint generated always as identity primary key,
    channel     text not null,
    text        text not null,
    created_at  timestamptz not null
);

create index if not exists testing_todos_by_channel on testing_todos (channel, place);


-- A subscriber depends on the key of a counter, or on the channel of a list, in place of an owner.
create or replace function notify_live_counters() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, key) from (select distinct key from touched) as keys;
    return null;
end
$$;


create or replace function notify_live_todos() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, channel) from (select distinct channel from touched) as channels;
    return null;
end
$$;


select attach_live_trigger('testing_counters', 'notify_live_counters'),
       attach_live_trigger('testing_todos', 'notify_live_todos');
