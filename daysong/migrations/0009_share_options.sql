-- What the owner of a share allows, off at first. Columns with a constant default are added without rewriting the table.
alter table shared_music
    add column allow_download boolean not null default false,
    add column listed         boolean not null default false;

comment on column shared_music.allow_download is 'Whether the share page offers the recording as a file.';
comment on column shared_music.listed is 'Whether search engines may index the share page.';
