-- Entries told in a call; who looked at a shared song.

-- One entry for a call session, however often its report is delivered.
alter table diaries add column call_session_id text unique;


-- Who looked at a share today: a mark that says nothing of the person, different for each share and each day.
-- Counting a view is one row here, so that viewers of one song do not wait for each other.
create table share_viewers (
    share_row_id  text not null references shared_music on delete cascade,
    -- The owner of the share, not the viewer.
    user_id       text not null references users on delete cascade,
    day           date not null,
    viewer        bytea not null,
    primary key (share_row_id, day, viewer)
);

create index share_viewers_by_user on share_viewers (user_id);
create index share_viewers_by_day on share_viewers (day);

-- How many looked on the days that are tallied up, and whose marks are forgotten.
create table share_views (
    share_row_id  text primary key references shared_music on delete cascade,
    user_id       text not null references users on delete cascade,
    views         bigint not null check (views >= 0)
);

create index share_views_by_user on share_views (user_id);
