-- What a customer has bought is kept by product: PRODUCTION/APP_STORE/<product>, where there was one line for a store.
-- Temporary grants keep their names. Where two lines become one, the later billing period stays.
create function lines_by_product(lines jsonb) returns jsonb
    language sql immutable as
$$
    select coalesce(jsonb_object_agg(name, line), '{}')
    from (select distinct on (name) name, line
          from (select case when split_part(key, '/', 3) like 'grant %' then key
                            else split_part(key, '/', 1) || '/' || split_part(key, '/', 2) || '/'
                                 || coalesce(value ->> 'product', '') end as name,
                       value as line
                from jsonb_each(lines)) as named
          order by name, (line ->> 'period')::numeric desc) as kept
$$;

update subscriptions
set lines = lines_by_product(lines),
    told = case when told ? 'answered' then jsonb_set(told, '{answered}', lines_by_product(told -> 'answered'))
                else told end
where lines <> '{}' or told ? 'answered';

update parked_customers
set lines = lines_by_product(lines),
    told = case when told ? 'answered' then jsonb_set(told, '{answered}', lines_by_product(told -> 'answered'))
                else told end
where lines <> '{}' or told ? 'answered';

drop function lines_by_product(jsonb);
