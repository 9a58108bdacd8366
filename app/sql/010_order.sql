-- A message that was taken back while it waited (stopped before any worker had it) holds its place in the conversation,
-- but is no run: what was asked after it waits for what was asked before it.
create function sx_never_began(r runs) returns boolean language sql immutable as $$
    select r.status = 'cancelled' and r.started_at is null
$$;

-- Whether a run that goes on from `p_parent` has to wait.
create function sx_behind(p_parent text) returns boolean language sql stable as $$
    with recursive line as (
        select r.parent_run_id, r.status, sx_never_began(r) as passed_over from runs r where r.run_id = p_parent
        union all
        select r.parent_run_id, r.status, sx_never_began(r) from runs r join line on r.run_id = line.parent_run_id
        where line.passed_over
    )
    select exists (select 1 from line where status in ('queued', 'running', 'waiting'))
$$;
