-- Videos of songs, and charges of more than one song.

alter table usage_charges
    add column amount integer not null default 1 constraint usage_charges_amount_check check (amount between 1 and 100);

comment on table usage_charges is
    'The ledger of songs: one row for each charge. Usage is the amounts of the current period without a refund.';
comment on column usage_charges.amount is 'Songs: one for a song, three for a video.';

alter table mailbox_usage
    add column amount integer not null default 1 constraint mailbox_usage_amount_check check (amount between 1 and 100);

comment on column mailbox_usage.amount is 'Songs, as in usage_charges.';


create table music_videos (
    id               text primary key,
    user_id          text not null references users on delete cascade,
    music_id         text not null references music on delete cascade,
    charge_id        text not null unique references usage_charges on delete cascade,
    status           text not null
                     check (status in ('queued', 'writing', 'rendering', 'ready', 'failed', 'canceled')),
    callback_secret  text not null,
    script_prompt    text,
    duration         double precision check (duration > 0),
    requested_at     timestamptz,
    task_id          text unique,
    rendering_since  timestamptz,
    next_poll_at     timestamptz,
    polls            integer not null default 0 check (polls >= 0),
    result_url       text,
    file_id          text references files on delete set null,
    is_primary       boolean not null default false,
    failure_code     text,
    failure_reason   text,
    created_at       timestamptz not null,
    updated_at       timestamptz not null,
    constraint music_videos_rendered_was_requested
        check (status not in ('rendering', 'ready') or requested_at is not null),
    constraint music_videos_failed_has_code check ((status = 'failed') = (failure_code is not null)),
    constraint music_videos_primary_is_ready check (not is_primary or status = 'ready')
);

comment on table music_videos is 'Videos of tracks. features/music/video_rules.py has the allowed steps of status.';
comment on column music_videos.callback_secret is
    'Part of the callback URL that Kie is given: authenticates its callbacks.';
comment on column music_videos.script_prompt is 'What OpenAI wrote for Kie.';
comment on column music_videos.duration is 'Seconds that were ordered.';
comment on column music_videos.requested_at is
    'Set before Kie is requested, cleared when it certainly refused: a lost answer must not buy a second video.';
comment on column music_videos.task_id is 'The task at Kie.';
comment on column music_videos.result_url is 'Where Kie keeps the video; copied at once, and never shown.';

-- At most one video in progress for a track, whatever is requested concurrently.
create unique index music_videos_one_live on music_videos (music_id) where status in ('queued', 'writing', 'rendering');
create unique index music_videos_one_primary on music_videos (music_id) where is_primary;
create index music_videos_by_music on music_videos (music_id, created_at desc, id desc);
create index music_videos_by_user on music_videos (user_id);
create index music_videos_by_file on music_videos (file_id);
create index music_videos_live on music_videos (created_at) where status in ('queued', 'writing', 'rendering');

select attach_live_triggers();
