-- Threads, runs and their events: the rows that outlive every process.
-- Applied once, inside one transaction; a later change is a new file, never an edit of this one.

create table threads (
    thread_id  text primary key,
    owner      text not null default 'local',
    title      text not null,
    graph      text not null,
    metadata   jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index threads_by_owner on threads (owner, updated_at desc);

create table runs (
    run_id          text primary key,
    thread_id       text not null references threads on delete cascade,
    owner           text not null default 'local',
    graph           text not null,
    status          text not null check (status in
                        ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'lost')),
    input           jsonb not null,
    output          jsonb,
    error           jsonb,
    idempotency_key text,
    request_hash    text,                         -- same key with another request is a refusal, not a replay
    epoch           int not null default 0,       -- raised by every claim; whoever holds an older one may not write
    worker          text,
    lease_until     timestamptz,                  -- by the database's clock, so no worker's clock can own a run
    job_id          bigint,                       -- the queue's row; no foreign key, because the queue prunes its rows
    last_seq        bigint not null default 0,
    created_at      timestamptz not null default now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    unique (owner, idempotency_key),
    -- Makes `epoch` a key column: a claim, which changes it, takes the strong row lock and waits for fenced writes;
    -- a heartbeat, which doesn't, takes the weak one and never waits for them. `fence` below relies on it.
    constraint runs_epoch_is_key unique (run_id, epoch)
);
create index runs_by_thread on runs (thread_id, created_at);
create index runs_unfinished on runs (status, lease_until)
    where status in ('queued', 'running', 'waiting', 'lost');

create table run_events (
    run_id    text references runs on delete cascade,
    seq       bigint,
    at        timestamptz not null default clock_timestamp(),  -- not now(): a batch shares one transaction
    type      text not null check (length(type) <= 32),
    span_id   text not null,
    parent_id text,
    attempt   int not null default 1,
    data      jsonb not null default '{}',
    primary key (run_id, seq)
);

-- Refuse the rest of this transaction unless the caller still owns the run.
-- `for key share` conflicts with a claim (or a deletion) and nothing else, so the answer stays true until commit.
create function fence(p_run_id text, p_epoch int) returns void language plpgsql as $$
begin
    perform 1 from runs where run_id = p_run_id and epoch = p_epoch for key share;
    if not found then
        raise exception 'run % is not at epoch % any more', p_run_id, p_epoch using errcode = 'SX001';
    end if;
end $$;
