-- Reserves what is to be bought, in one statement: see daysong/kernel/limits/counters.py. A plain statement that waited for
-- the lock would sum up the account by its snapshot of before; in a function each statement has a snapshot of its own.

create function reserve_budget(
    -- The vendors, and last the sum of all, with their caps; null is no cap.
    vendors text[], caps bigint[], account_cap bigint,
    -- What is to be bought, in order, with a row of prices for each; null is a vendor that sells nothing of it.
    wanted text[], accounts text[], prices bigint[],
    moment timestamptz, valid_until timestamptz,
    -- For each what cap it would exceed, null for what is reserved; the counters after it, and whether they raised an alarm.
    out reached text[], out used bigint[], out is_warned boolean[]
) language plpgsql as
$$
declare
    today     constant date := (moment at time zone 'UTC')::date;
    midnight  constant timestamptz := today::timestamp at time zone 'UTC';
    total     constant integer := cardinality(vendors);
    reserved  integer[] := '{}';
    earlier   text[];  -- what an earlier run of this statement reserved
    buyers    text[];
    spent     bigint[];  -- of each buyer
    buyer     integer;
    cap       text;
begin
    -- Locked rows are the newest. Rows are missing before the day's first reservation, and of a vendor that is new today.
    loop
        select array_agg(d.amount order by d.place), array_agg(d.warned order by d.place) into used, is_warned
        from (select d.amount, d.warned, array_position(vendors, d.vendor) as place from budget_days d
              where d.day = today and d.vendor = any (vendors) order by d.vendor for update) d;
        exit when cardinality(used) = total;
        insert into budget_days (day, vendor) select today, v from unnest(vendors) v order by v
        on conflict (day, vendor) do nothing;
    end loop;

    buyers := array(select distinct a from unnest(accounts) a where a is not null);
    spent := array(
        select coalesce((select sum(c.amount)::bigint from vendor_costs c
                         where c.account = b.account and c.at >= midnight), 0)
               + coalesce((select sum(r.amount)::bigint from budget_reservations r
                           where r.account = b.account and r.day = today and r.expires_at > moment), 0)
        from unnest(buyers) with ordinality b (account, place) order by b.place);
    earlier := array(select r.reference from budget_reservations r where r.reference = any (wanted));

    reached := array_fill(null::text, array[cardinality(wanted)]);
    for i in 1 .. cardinality(wanted) loop
        continue when wanted[i] = any (earlier);
        buyer := array_position(buyers, accounts[i]);
        cap := case when spent[buyer] + prices[i][total] > account_cap then 'account' end;
        for v in 1 .. total loop
            exit when cap is not null;
            cap := case when used[v] + prices[i][v] > caps[v] then vendors[v] end;
        end loop;
        reached[i] := cap;
        continue when cap is not null;
        for v in 1 .. total loop
            used[v] := used[v] + coalesce(prices[i][v], 0);
        end loop;
        if buyer is not null then
            spent[buyer] := spent[buyer] + prices[i][total];
        end if;
        reserved := reserved || i;
    end loop;

    if reserved <> '{}' then
        insert into budget_reservations (reference, vendor, account, day, amount, expires_at)
        select wanted[i], vendors[v], accounts[i], today, prices[i][v], valid_until
        from unnest(reserved) i, generate_series(1, total - 1) v where prices[i][v] is not null;
        update budget_days d set amount = n.amount
        from unnest(vendors, used) n (vendor, amount)
        where d.day = today and d.vendor = n.vendor and d.amount <> n.amount;
    end if;
end
$$;
