-- News of changed rows for live queries, and what has been answered to clients that may ask again.

-- A notification says `<table> <owner>`; PostgreSQL keeps one of several equal ones in a transaction.
create function notify_live(table_name text, owner text) returns void
    language sql
    return pg_notify('daysong_live', table_name || ' ' || owner);


create function notify_live_owners() returns trigger
    language plpgsql as
$$
begin
    if tg_op = 'UPDATE' then
        perform notify_live(tg_table_name, user_id)
        from (select user_id from touched union select user_id from before) as owners where user_id is not null;
    else
        perform notify_live(tg_table_name, user_id)
        from (select distinct user_id from touched) as owners where user_id is not null;
    end if;
    return null;
end
$$;


-- By the id of the account, and by that of the person: who has no account yet waits for the latter.
create function notify_live_users() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, owner)
    from (select id as owner from touched union select clerk_id from touched) as owners;
    return null;
end
$$;


-- By whose it is, and by the id in its link: who waits for a link to lead somewhere knows nothing else of it.
create function notify_live_shares() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, owner)
    from (select user_id as owner from touched union select share_id from touched) as owners;
    return null;
end
$$;


-- A refund belongs to whoever was charged.
create function notify_live_refunds() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, user_id)
    from (select distinct c.user_id from touched join usage_charges c on c.id = touched.charge_id) as owners;
    return null;
end
$$;


-- Statements that change rows of `target` run `notifier`, which finds the rows in `touched` and, as they were before an
-- update, in `before`. Triggers that are there already are made anew.
create function attach_live_trigger(target regclass, notifier regproc) returns void
    language plpgsql as
$$
begin
    execute format(
        'create or replace trigger live_insert after insert on %1$s
             referencing new table as touched for each statement execute function %2$s();
         create or replace trigger live_update after update on %1$s
             referencing old table as before new table as touched for each statement execute function %2$s();
         create or replace trigger live_delete after delete on %1$s
             referencing old table as touched for each statement execute function %2$s();',
        target, notifier);
end
$$;


-- Gives all tables with a `user_id` their triggers, but for those named here, which no query shows to anybody: each
-- commit that notifies waits for those before it. Call it again after making a table.
create function attach_live_triggers() returns void
    language plpgsql as
$$
declare
    target regclass;
begin
    for target in
        select c.oid from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'user_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
              and c.relname not in ('answered_mutations')
              and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'live_insert')
    loop
        perform attach_live_trigger(target, 'notify_live_owners');
    end loop;
end
$$;


-- What mutations have answered to clients on a socket, who ask again when they do not know whether they were heard.
create table answered_mutations (
    -- Chosen by the client, as is the number of the request.
    session_id   text not null,
    request_id   bigint not null,
    -- A keyed hash of who asked: nobody else is told.
    caller       bytea not null,
    -- The account of who asked, if there is one: the answer may quote them, and goes with them.
    user_id      text references users on delete cascade,
    result       text not null,
    log_lines    text[] not null default '{}',
    -- The commit's timestamp, as the client was told it.
    ts           bigint not null check (ts > 0),
    answered_at  timestamptz not null,
    primary key (session_id, request_id)
);

create index answered_mutations_by_user on answered_mutations (user_id);
create index answered_mutations_by_time on answered_mutations (answered_at);


select attach_live_trigger('users', 'notify_live_users'),
       attach_live_trigger('shared_music', 'notify_live_shares'),
       attach_live_trigger('usage_refunds', 'notify_live_refunds');
select attach_live_triggers();
