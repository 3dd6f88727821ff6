-- Feature flags ------------------------------------------------------------------------------------------------------

create table feature_flags (
    key         text primary key check (key ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    percent     smallint check (percent between 0 and 100),
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

comment on table feature_flags is 'Feature flags that an operator has set.';
comment on column feature_flags.percent is
    'Share of the accounts for which the flag is on. Null: the default of features/feature_flags/rules.py.';

-- Whose flags change is not known by account: every subscriber of flags is notified.
create function notify_live_flags() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, 'feature flags');
    return null;
end
$$;

select attach_live_trigger('feature_flags', 'notify_live_flags');


create table feature_flag_accounts (
    flag_key    text not null check (flag_key ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    user_id     text not null references users on delete cascade,
    is_on       boolean not null,
    created_at  timestamptz not null,
    primary key (flag_key, user_id)
);

comment on table feature_flag_accounts is 'Allow and deny lists of feature flags; they override the percentage.';
comment on column feature_flag_accounts.is_on is 'True: on the allow list. False: on the deny list.';

create index feature_flag_accounts_by_user on feature_flag_accounts (user_id);


-- Invitations by e-mail ----------------------------------------------------------------------------------------------

create table invitations (
    id          text primary key,
    email       text not null unique,
    is_android  boolean not null,
    source      text check (length(source) <= 100),
    created_at  timestamptz not null,
    updated_at  timestamptz not null
);

comment on table invitations is
    'E-mail addresses that asked to be notified. A row has no account; it is erased with the account of its address.';
comment on column invitations.email is 'Normalized, in lower case.';
comment on column invitations.is_android is 'Whether it asked for the Android app, once or more.';
comment on column invitations.source is 'Where in the app or on the site it was entered.';
comment on column invitations.updated_at is 'When it was entered last.';

create index invitations_by_update on invitations (updated_at);


create table invitation_attempts (
    id      bigint generated always as identity primary key,
    viewer  bytea not null,
    at      timestamptz not null
);

comment on table invitation_attempts is 'Addresses entered by each viewer in the last hours, for the limit per hour.';
comment on column invitation_attempts.viewer is 'Keyed hash of the account or address, as for views of shares.';

create index invitation_attempts_by_viewer on invitation_attempts (viewer, at);
create index invitation_attempts_by_time on invitation_attempts using brin (at);


-- Blog ---------------------------------------------------------------------------------------------------------------

create table blog_posts (
    id              text primary key,
    status          text not null check (status in ('draft', 'published', 'archived')),
    slug            text not null unique check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 100),
    title           text not null check (length(title) between 1 and 200),
    body_markdown   text not null check (length(body_markdown) <= 100000),
    excerpt         text check (length(excerpt) <= 500),
    author          text not null check (length(author) between 1 and 100),
    tags            text[] not null,
    tag_keys        text[] not null,
    reading_time    integer not null check (reading_time > 0),
    canonical_url   text check (length(canonical_url) <= 2000),
    featured_image  text check (length(featured_image) <= 2000),
    preview_hash    bytea unique,
    published_at    timestamptz,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    constraint blog_posts_published_at check (status <> 'published' or published_at is not null),
    constraint blog_posts_preview check (status = 'draft' or preview_hash is null)
);

comment on table blog_posts is 'Posts of the blog, written by operators.';
comment on column blog_posts.tag_keys is 'The tags in the form in which they are compared.';
comment on column blog_posts.reading_time is 'In minutes.';
comment on column blog_posts.preview_hash is 'SHA-256 of the token by which a draft can be read.';
comment on column blog_posts.published_at is 'When it was published first.';

create index blog_posts_published on blog_posts (published_at desc, id desc) where status = 'published';
create index blog_posts_by_tag on blog_posts using gin (tag_keys) where status = 'published';
create index blog_posts_by_creation on blog_posts (created_at desc, id desc);


create table blog_slugs (
    slug        text primary key check (slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(slug) <= 100),
    post_id     text not null references blog_posts on delete cascade,
    created_at  timestamptz not null
);

comment on table blog_slugs is 'Every slug that leads to a post: its own, and former ones, which redirect.';

create index blog_slugs_by_post on blog_slugs (post_id, created_at);


-- The blog is one for all readers: every subscriber of it is notified.
create function notify_live_blog() returns trigger
    language plpgsql as
$$
begin
    perform notify_live(tg_table_name, 'blog');
    return null;
end
$$;

select attach_live_trigger('blog_posts', 'notify_live_blog');
select attach_live_trigger('blog_slugs', 'notify_live_blog');


create table blog_viewers (
    post_id  text not null references blog_posts on delete cascade,
    seen_on  date not null,
    viewer   bytea not null,
    day      date not null,
    primary key (post_id, seen_on, viewer)
);

comment on table blog_viewers is
    'Views of a post on the days not tallied yet: one row for each viewer and day, so that none waits for another.';
comment on column blog_viewers.seen_on is 'The day of the view by the clock of the server, UTC.';
comment on column blog_viewers.viewer is 'Keyed hash of the viewer, different for each post and day.';
comment on column blog_viewers.day is 'The day that the view counts for: that day or the one before.';

create index blog_viewers_by_day on blog_viewers (seen_on);


create table blog_views (
    post_id  text not null references blog_posts on delete cascade,
    day      date not null,
    views    bigint not null check (views >= 0),
    primary key (post_id, day)
);

comment on table blog_views is 'Views of a post by day, on the days that are tallied, whose viewers are forgotten.';


select attach_live_triggers();
