-- A conversation is a tree of runs: a run goes on from its parent's last state, and two runs of one parent are branches.
-- The head is the leaf that is being read; a new message goes on from there.
alter table runs add column parent_run_id text references runs on delete set null;
alter table threads add column head_run_id text references runs on delete set null;
create index runs_by_parent on runs (parent_run_id);
-- What a person wants of a run at work, beside an abort: 'answer_now'.
alter table runs add column wish text;
