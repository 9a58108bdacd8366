-- Runs that brought down their worker: after a few, the run is ended instead of bringing down the next one.
alter table runs add column losses int not null default 0;
