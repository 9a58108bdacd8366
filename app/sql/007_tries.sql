-- How often an effect was begun: each try that ended in doubt has a question of its own.
alter table effects add column tries int not null default 1;
