-- What tools made: figures, files, results that no message should carry. They live as long as their run's steps.
create table artefacts (
    artefact_id text primary key,             -- follows from run, name and data: a repeat after a crash is the same one
    run_id      text not null references runs on delete cascade,
    owner       text not null,
    name        text not null,
    media_type  text not null,
    size        int not null check (size >= 0),
    data        bytea not null,
    kept_at     timestamptz not null default clock_timestamp()
);
alter table artefacts alter column data set storage external;  -- pictures are compressed already
create index artefacts_by_run on artefacts (run_id);
