-- Whom to tell of a task (a run is one), and what they were told. Whoever is up sends: a row says what is still owed.
create table a2a_pushes (
    run_id      text not null references runs on delete cascade,
    push_id     text not null,
    owner       text not null,
    url         text not null,
    token       text not null default '',
    scheme      text not null default '',
    credentials text not null default '',   -- of the receiver, given by the client for this one address
    told        text not null default '',   -- status of the run that was told last
    tries       int not null default 0,     -- to tell the present one
    due_at      timestamptz not null default now(),
    over        boolean not null default false,
    made_at     timestamptz not null default now(),
    primary key (run_id, push_id)
);
create index a2a_pushes_owed on a2a_pushes (due_at) where not over;
