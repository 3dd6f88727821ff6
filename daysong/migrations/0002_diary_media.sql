-- Photos and videos of entries, the uploads they come from, and entries that begin without words.

-- Not validated: the previous check was stricter, and a validation would read every entry under an exclusive lock.
alter table diaries
    drop constraint diaries_content_check,
    add constraint diaries_content_check check (length(content) <= 50000) not valid;

comment on column diaries.content is
    'Empty while an entry that began without words has none; such an entry is in no list.';


alter table files add column private boolean not null default false;

comment on table files is 'Objects in our file storage: copies of audio and covers, photos and videos of entries.';
comment on column files.private is
    'A photo or a video of an entry: served at signed addresses alone, and counted against the storage of the plan.';

create index files_private_by_user on files (user_id) include (size) where private;


create table diary_media (
    id          text primary key,
    user_id     text not null references users on delete cascade,
    diary_id    text not null references diaries on delete cascade,
    file_id     text not null unique references files on delete cascade,
    created_at  timestamptz not null
);

comment on table diary_media is 'Photos and videos of entries. Type and size are those of the file.';

create index diary_media_by_diary on diary_media (diary_id, created_at, id);
create index diary_media_by_user on diary_media (user_id);


create table diary_uploads (
    id           text primary key,
    user_id      text not null references users on delete cascade,
    file_id      text unique references files on delete set null,
    attempts     integer not null default 0,
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    uploaded_at  timestamptz,
    attached_at  timestamptz
);

comment on table diary_uploads is 'Upload addresses that were given out, each for one file.';
comment on column diary_uploads.file_id is 'The file that was uploaded; null before that, and after the file is deleted.';
comment on column diary_uploads.attempts is 'How many requests to the address have begun to send a file.';
comment on column diary_uploads.attached_at is 'When an entry took the file. A file that no entry takes is deleted.';

create index diary_uploads_by_user on diary_uploads (user_id, created_at);
create index diary_uploads_by_time on diary_uploads using brin (created_at);


select attach_live_triggers();
