-- How large our copy of a cover is, in pixels, for previews of shared songs.

alter table music
    add column image_width integer check (image_width > 0),
    add column image_height integer check (image_height > 0);
