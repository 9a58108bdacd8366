-- Definitions of remote tools that a person approved. What a server defines otherwise is not called.
create table remote_pins (
    server      text not null,
    tool        text not null,
    sha256      text not null,
    definition  jsonb not null,
    approved_by text not null,
    approved_at timestamptz not null default clock_timestamp(),
    primary key (server, tool)
);
