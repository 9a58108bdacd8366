-- A job that waited behind another's lock starts when the lock is freed, not at the worker's next poll (up to 5 s).
-- The queue announces only new jobs; this announces a freed lock in the same words, on the channel of workers that
-- take any queue and on that of workers that take this one.

create function sx_wake() returns trigger language plpgsql as $$
declare
    payload text := json_build_object('type', 'job_inserted', 'job_id', new.id)::text;
begin
    perform pg_notify('procrastinate_any_queue_v1', payload);
    perform pg_notify('procrastinate_queue_v1#' || new.queue_name, payload);
    return null;
end $$;

create trigger sx_wake after update of status on procrastinate_jobs for each row
    when (old.status = 'doing' and new.status <> 'doing' and new.lock is not null)
    execute function sx_wake();
