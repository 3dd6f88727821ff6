-- Tables that no public query reads notify nothing: a transaction that notifies commits alone, since PostgreSQL keeps
-- notifications in the order of commits. features/test_reads.py compares the triggers with what queries read.

create or replace function attach_live_triggers() returns void
    language plpgsql as
$$
declare
    target regclass;
begin
    for target in
        select c.oid from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'user_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and c.relnamespace = current_schema()::regnamespace
              and c.relname not in (
                  'answered_mutations', 'diary_uploads', 'imported_ids', 'imported_music', 'push_occasions', 'readings',
                  'revenuecat_ids', 'subscription_log')
              and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'live_insert')
    loop
        perform attach_live_trigger(target, 'notify_live_owners');
    end loop;
end
$$;


do $$
declare
    target regclass;
begin
    foreach target in array
        array['diary_uploads', 'push_occasions', 'readings', 'revenuecat_ids', 'subscription_log']::regclass[]
    loop
        execute format('drop trigger live_insert on %1$s; drop trigger live_update on %1$s;'
                       'drop trigger live_delete on %1$s', target);
    end loop;
end
$$;
