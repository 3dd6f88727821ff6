-- Imports of accounts from the earlier backend -----------------------------------------------------------------------

create table import_progress (
    archive      text not null,
    step         text not null,
    line         bigint not null check (line >= 0),
    tally        jsonb not null,
    updated_at   timestamptz not null,
    finished_at  timestamptz,
    primary key (archive, step)
);

comment on table import_progress is 'How far the import of an archive has come, so that one that was killed goes on.';
comment on column import_progress.archive is 'Digest of the archive and of the choice of users.';
comment on column import_progress.line is 'The last line of the table that is imported, in the same transaction.';
comment on column import_progress.tally is 'Counts, and lines that were skipped with reasons; nothing that a person wrote.';

create index import_progress_by_time on import_progress (updated_at);


create table import_users (
    old_id               text primary key,
    clerk_hash           bytea not null,
    made_at              timestamptz not null,
    active_subscription  text,
    staged_at            timestamptz not null
);

comment on table import_users is
    'Users of the archive that is being imported: tells the oldest of several with one Clerk id. Emptied at the end.';

create index import_users_by_clerk_hash on import_users (clerk_hash, made_at, old_id);
create index import_users_by_time on import_users (staged_at);


create table import_files (
    old_id     text primary key,
    sha256     bytea not null,
    staged_at  timestamptz not null
);

comment on table import_files is 'Checksums of the stored files of the archive that is being imported. Emptied at the end.';

create index import_files_by_time on import_files (staged_at);


create table imported_ids (
    old_id   text primary key,
    user_id  text not null references users on delete cascade
);

comment on table imported_ids is 'Ids of users of the earlier backend that were merged into another account.';

create index imported_ids_by_user on imported_ids (user_id);


create table imported_music (
    music_id  text primary key references music on delete cascade,
    user_id   text not null references users on delete cascade
);

comment on table imported_music is 'Imported tracks whose files are not asked for yet.';

create index imported_music_by_user on imported_music (user_id);


-- The earlier backend kept songs whose entry was deleted.
alter table generations alter column diary_id drop not null;

-- Links of the earlier backend have other ids, and keep working.
alter table shared_music drop constraint shared_music_share_id_check;
alter table shared_music add constraint shared_music_share_id_check check (share_id ~ '^[0-9A-Za-z_-]{4,64}$');

alter table subscription_log add column imported jsonb;

comment on column subscription_log.imported is 'The event as the earlier backend logged it.';
