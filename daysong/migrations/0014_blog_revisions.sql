-- Revisions of posts --------------------------------------------------------------------------------------------------

create table blog_revisions (
    id             text primary key default 'revision_' || replace(gen_random_uuid()::text, '-', ''),
    post_id        text not null references blog_posts on delete cascade,
    title          text not null check (length(title) between 1 and 200),
    body_markdown  text not null check (length(body_markdown) <= 100000),
    created_at     timestamptz not null
);

comment on table blog_revisions is 'Earlier texts of posts, the newest 100 of each, written by a trigger of blog_posts.';
comment on column blog_revisions.created_at is 'When this text was written.';

create index blog_revisions_by_post on blog_revisions (post_id, created_at desc, id desc);


create function keep_blog_revision() returns trigger
    language plpgsql as
$$
begin
    insert into blog_revisions (post_id, title, body_markdown, created_at)
    values (old.id, old.title, old.body_markdown, old.updated_at);
    delete from blog_revisions where id in (
        select id from blog_revisions where post_id = old.id order by created_at desc, id desc offset 100);
    return null;
end
$$;

create trigger keep_revision after update of title, body_markdown on blog_posts
    for each row when ((old.title, old.body_markdown) is distinct from (new.title, new.body_markdown))
    execute function keep_blog_revision();
