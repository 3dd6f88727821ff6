-- What a call without a report is taken to have cost; its report, should it come after all, corrects that once.

alter table vendor_costs
    add column estimated boolean not null default false;
