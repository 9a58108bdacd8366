-- Retention: what a run did is removed some time after its end; its row, with question and answer, stays.
alter table runs add column pruned_at timestamptz;  -- from here on nothing may begin from its inside, or go on with it
-- What of a pruned run is still stored: `rows`, which are being deleted; `state`, its last one, kept for as long as the
-- conversation may go on from it; null, nothing.
alter table runs add column left_behind text check (left_behind in ('rows', 'state'));
create index runs_by_end on runs (finished_at) where pruned_at is null and finished_at is not null;
create index runs_left_behind on runs (left_behind, run_id) where left_behind is not null;
-- runs that began inside another one, whose ledger they still need
create index runs_by_source on runs ((coalesce(input -> 'fork', input -> 'from') ->> 'run_id'))
    where coalesce(input -> 'fork', input -> 'from') is not null;
