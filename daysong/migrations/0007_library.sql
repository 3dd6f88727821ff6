-- The library: the songs of a person's playlist, their own and those of others that they keep.

create table user_songs (
    id                       text primary key,
    user_id                  text not null references users on delete cascade,
    ownership_type           text not null check (ownership_type in ('owned', 'shared')),
    music_id                 text references music on delete set null,
    shared_music_id          text references shared_music on delete set null,
    linked_from_music_index  integer not null default 0 check (linked_from_music_index >= 0),
    created_at               timestamptz not null,
    updated_at               timestamptz not null,
    unique (user_id, music_id),
    constraint user_songs_owned_has_music check (ownership_type = 'shared' or music_id is not null),
    constraint user_songs_owned_has_no_share check (ownership_type = 'shared' or shared_music_id is null)
);

comment on table user_songs is
    'The songs of a playlist: own primary tracks, and songs of others kept from a share link. These outlive what they '
    'refer to, and are then unavailable.';
comment on column user_songs.created_at is 'When the track was made, or the shared song was added: the order of the playlist.';
comment on column user_songs.shared_music_id is 'The link that the song was added from; a revoked one opens it no more.';
comment on column user_songs.linked_from_music_index is 'music.music_index of the track.';

create index user_songs_playlist on user_songs (user_id, created_at desc, id desc);
create index user_songs_shared on user_songs (user_id, created_at desc, id desc) where ownership_type = 'shared';
create index user_songs_by_music on user_songs (music_id);
create index user_songs_by_share on user_songs (shared_music_id);


-- An own primary track is in the library from the moment it is made until it is deleted, whichever statement writes it.

create function add_own_song() returns trigger
    language plpgsql as
$$
begin
    insert into user_songs (id, user_id, ownership_type, music_id, created_at, updated_at)
    values ('song_' || regexp_replace(new.id, '^music_', ''), new.user_id, 'owned', new.id, new.created_at, new.created_at)
    on conflict do nothing;
    return null;
end
$$;

create trigger add_own_song after insert on music
    for each row when (new.music_index = 0 and new.deleted_at is null) execute function add_own_song();

create function remove_own_song() returns trigger
    language plpgsql as
$$
begin
    delete from user_songs where music_id = old.id and ownership_type = 'owned';
    return case tg_op when 'DELETE' then old else new end;
end
$$;

create trigger hide_own_song before update of deleted_at on music
    for each row when (new.deleted_at is not null and old.deleted_at is null) execute function remove_own_song();

create trigger remove_own_song before delete on music
    for each row execute function remove_own_song();


insert into user_songs (id, user_id, ownership_type, music_id, created_at, updated_at)
select 'song_' || regexp_replace(id, '^music_', ''), user_id, 'owned', id, created_at, created_at
from music where music_index = 0 and deleted_at is null;

select attach_live_triggers();
