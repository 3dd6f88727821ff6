-- The number of an account's charges after a moment, null if `charge` is one of them, as they are when this is called. A
-- statement that has waited for the account's lock calls it: all else in it is of before its wait. Each statement in a
-- volatile function has a snapshot of its own.

create function charges_of(account text, since timestamptz, charge text) returns bigint language plpgsql volatile as
$$
begin
    return (
        select case when bool_or(c.id = charge) then null else count(*) end
        from usage_charges c where c.user_id = account and c.charged_at > since);
end
$$;
