-- What agents share and keep. Versions are numbers that a writer states, so that no write is lost unseen.

-- The blackboard of a conversation, or of one run (`board` is its id then, else empty).
create table board_entries (
    thread_id  text not null references threads on delete cascade,
    board      text not null,
    key        text not null,
    owner      text not null,
    value      jsonb not null,
    version    int not null,
    author     text not null,
    once       text not null,               -- key of the write itself: after a crash it comes again and is the same one
    written_at timestamptz not null default clock_timestamp(),
    primary key (thread_id, board, key)
);

-- Who works on what. A claim whose time has passed is anybody's: dead claimers need no clean-up.
create table board_claims (
    thread_id text not null references threads on delete cascade,
    board     text not null,
    key       text not null,
    owner     text not null,
    author    text not null,
    until     timestamptz not null,
    primary key (thread_id, board, key)
);

-- What is kept for an owner: every version a row, the newest is what is found. A page belongs to a conversation.
create table memories (
    row_id     bigint generated always as identity unique,  -- what the search index knows a row by
    owner      text not null,
    key        text not null,
    version    int not null,
    kind       text not null check (kind in ('fact', 'lesson', 'page')),
    thread_id  text references threads on delete cascade,
    author     text not null,
    about      text not null default '',
    text       text not null,
    newest     boolean not null default true,
    written_at timestamptz not null default clock_timestamp(),
    embedder   text,                        -- whose vector this is; another's is made anew
    vector     bytea,                       -- null: found by its words alone until somebody makes one
    primary key (owner, key, version)
);
create index memories_newest on memories (owner, thread_id, kind) where newest;

-- Changes with every change of an owner's shelf (its facts and lessons, or one conversation's pages), so that each
-- process knows when the index that it built from the rows is old.
create table memory_marks (
    owner text not null,
    shelf text not null,
    mark  bigint not null default 1,
    primary key (owner, shelf)
);
