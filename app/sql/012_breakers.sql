-- Services that are left alone for a while. A row is an open breaker; none is a closed one.
create table breakers (
    service     text primary key check (length(service) <= 300),
    why         text not null,
    opened_at   timestamptz not null default clock_timestamp(),
    retry_at    timestamptz not null,             -- by the database's clock
    probe_until timestamptz                       -- one call tries it until then; later the place is free again
);
