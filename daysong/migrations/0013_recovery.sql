-- After a restore: what was removed since the backup is removed again, and work that costs money waits for a go.

create table holds (
    reason       text primary key check (reason = 'restored'),
    since        timestamptz not null,
    snapshot_at  timestamptz not null
);

comment on table holds is
    'A row while jobs and crons wait: the database was restored from a backup. `daysong resume` deletes it.';
comment on column holds.since is 'When the database was restored.';
comment on column holds.snapshot_at is 'When the backup was taken, by the clock of the database.';


create table removals (
    id    bigint generated always as identity primary key,
    kind  text not null,
    mark  bytea not null,
    at    timestamptz not null
);

comment on table removals is
    'What people have deleted, revoked or refused, until it is written to the journal in the file storage, which '
    'outlives this database: `daysong restore` applies it again. See daysong/workflows/recovery/journal.py.';
comment on column removals.mark is 'SHA-256 of an id, or a keyed hash of a phone number or a Clerk id.';
comment on column removals.at is 'By the clock of the database.';


create function record_removal(kind text, mark bytea) returns void
    language sql as
$$
    insert into removals (kind, mark, at) values (kind, mark, clock_timestamp());
$$;


-- Record a row that its owner has removed, by the hash of its id. Rows that go with their account are not recorded: the
-- account is.
create function record_owned_removal() returns trigger
    language plpgsql as
$$
begin
    if coalesce(current_setting('daysong.unrecorded', true), '') <> 'on'
       and exists (select from users where id = old.user_id and deleted_at is null) then
        perform record_removal(tg_argv[0], sha256(convert_to(old.id, 'UTF8')));
    end if;
    return null;
end
$$;


create function record_other_removal() returns trigger
    language plpgsql as
$$
begin
    if coalesce(current_setting('daysong.unrecorded', true), '') = 'on' then
        return null;
    end if;
    case tg_table_name
        when 'tombstones' then
            perform record_removal('account', new.clerk_hash);
        when 'phone_numbers' then
            perform record_removal(case when new.refused_at is null then 'number_proved' else 'number_refused' end,
                                   new.number_hash);
        when 'shared_music' then
            perform record_removal(case when new.is_private then 'share_private' else 'share_public' end,
                                   sha256(convert_to(new.id, 'UTF8')));
        when 'call_settings' then
            perform record_removal(case when new.active then 'calls_on' else 'calls_off' end,
                                   sha256(convert_to(new.id, 'UTF8')));
        when 'invitations' then
            perform record_removal('invitations', sha256(convert_to(old.id, 'UTF8')));
    end case;
    return null;
end
$$;


do
$$
declare
    target text;
begin
    foreach target in array array['diaries', 'diary_media', 'music', 'music_videos', 'shared_music', 'push_tokens',
                                  'call_sessions']
    loop
        execute format('create trigger removal_delete after delete on %I
                            for each row execute function record_owned_removal(%L)', target, target);
    end loop;
end
$$;

create trigger removal_hide after update of deleted_at on music
    for each row when (old.deleted_at is null and new.deleted_at is not null)
    execute function record_owned_removal('music_hidden');
create trigger removal_words after update of words_deleted_at on call_sessions
    for each row when (old.words_deleted_at is null and new.words_deleted_at is not null)
    execute function record_owned_removal('call_words');
create trigger removal_privacy after update of is_private on shared_music
    for each row when (old.is_private <> new.is_private) execute function record_other_removal();
create trigger removal_calls after update of active on call_settings
    for each row when (old.active <> new.active) execute function record_other_removal();
create trigger removal_refusal after insert on phone_numbers
    for each row when (new.refused_at is not null) execute function record_other_removal();
create trigger removal_refused after update of refused_at on phone_numbers
    for each row when ((old.refused_at is null) <> (new.refused_at is null)) execute function record_other_removal();
create trigger removal_account after insert or update of deleted_at on tombstones
    for each row execute function record_other_removal();
create trigger removal_invitation after delete on invitations
    for each row execute function record_other_removal();
