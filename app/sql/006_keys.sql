-- Who may call the API. A key itself is never stored, only its SHA-256; one that was revoked stays, so that taking the
-- last key away closes the door instead of opening it to everybody.
create table api_keys (
    key_id       text primary key,
    owner        text not null,
    label        text not null default '',
    sha256       text not null,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
);
