-- A yes that was taken back stays written down: what was once approved is not taken for new, and so trusted, again.
alter table remote_pins add column withdrawn_at timestamptz;
-- Cards of remote agents: the first one that an address showed, or the last one that a person approved since.
create table peer_cards (
    peer         text not null,
    url          text not null,
    sha256       text not null,
    card         jsonb not null,
    approved_by  text not null,
    approved_at  timestamptz not null default clock_timestamp(),
    withdrawn_at timestamptz,
    primary key (peer, url)
);
