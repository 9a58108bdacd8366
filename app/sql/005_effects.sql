-- What left Sextant: an intent before, a result after. The key is equal again after kill -9, also in nested agents,
-- because LangGraph derives a task's namespace from its checkpoint and the model's answer, with its call ids, is stored.
create table effects (
    thread_id     text not null,               -- to LangGraph each run is a thread of its own: the id of the run
    checkpoint_ns text not null,
    call_id       text not null,
    run_id        text not null references runs on delete cascade,
    tool          text not null,
    args          jsonb not null,
    args_hash     text not null,               -- a fork copies state but not ids: same work is found by tool and arguments
    effect        text not null check (effect in ('keyed', 'at_most_once')),
    result        jsonb,                       -- null: begun, and nobody knows how it ended
    begun_at      timestamptz not null default now(),
    ended_at      timestamptz,
    primary key (thread_id, checkpoint_ns, call_id)
);
create index effects_by_run on effects (run_id);
create index effects_by_work on effects (thread_id, tool, args_hash);

-- Questions that a run asks a person. Answered once, by whoever comes first; used up when the run took the answer.
create table interrupts (
    interrupt_id text not null,
    run_id       text not null references runs on delete cascade,
    span_id      text not null,
    value        jsonb not null,
    asked_at     timestamptz not null default now(),
    answer       jsonb,
    answered_by  text,
    answered_at  timestamptz,
    taken_at     timestamptz,
    primary key (run_id, interrupt_id)
);
create index interrupts_open on interrupts (asked_at) where answered_at is null;
